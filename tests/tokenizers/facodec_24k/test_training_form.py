"""The networks as stored pass gradients to every weight, and compute what the folded ones do."""

import torch

from speechtok.checkpoints.read import load_strict
from speechtok.tokenizers.facodec_24k.config import Facodec24kConfig
from speechtok.tokenizers.facodec_24k.convert import BUILDERS
from tests.tokenizers.facodec_24k.conftest import SMALL, small_weights


def build(part):
    with torch.device("meta"):
        module = BUILDERS[part](Facodec24kConfig(**SMALL))
    content = small_weights("redecoder" if part == "redecoder" else "facodec")
    if part == "redecoder":
        weights = {f"{name}.{key}": value for name, keys in content.items() for key, value in keys.items()}
    else:
        weights = content[part]
    load_strict(module, {key: value.double() for key, value in weights.items()})
    return module.requires_grad_(True)


def without_gradient(module):
    return [name for name, value in module.named_parameters() if value.grad is None or not value.grad.any()]


def test_gradients_reach_every_weight(small, signal) -> None:
    encoder, quantizer, decoder = build("encoder"), build("quantizer").eval(), build("decoder")
    x = torch.stack([signal(seed, 1200) for seed in (1, 2)])
    made = quantizer(encoder(x), x)
    wave = decoder(made.styled)
    assert wave.shape == (2, 1200)
    read = sum(
        made.parts[name].features.square().mean() for name in ("prosody", "content")
    )  # as predictors do
    loss = (wave - x).square().mean() + read
    loss = loss + sum(part.commitment_loss + part.codebook_loss for part in made.parts.values())
    loss.backward()
    assert not without_gradient(encoder)
    assert not without_gradient(quantizer)
    assert not without_gradient(decoder)
    with torch.no_grad():
        codes = {name: part.codes for name, part in made.parts.items()}
        styled = small.quantizer.inject(small.quantized(codes), made.speaker_embedding)
        torch.testing.assert_close(styled, made.styled, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(small.decoder(styled), wave, rtol=1e-9, atol=1e-9)


def test_gradients_reach_the_redecoder(signal) -> None:
    redecoder = build("redecoder")
    codes = {"prosody": torch.randint(32, (2, 1, 30)), "content": torch.randint(32, (2, 2, 30))}
    redecoder(codes, torch.randn(2, 16, dtype=torch.float64)).square().mean().backward()
    assert not without_gradient(redecoder)


def test_the_waveform_teaches_the_residual_of_kept_items_alone(signal) -> None:
    """As the released training: prosody and content learn nothing from it."""
    encoder, quantizer, decoder = build("encoder"), build("quantizer").eval(), build("decoder")
    x = torch.stack([signal(seed, 1200) for seed in (1, 2)])
    latent = encoder(x).detach().requires_grad_(True)
    made = quantizer(latent, x, has_residual=torch.tensor([0.0, 1.0], dtype=torch.float64))
    decoder(made.styled).square().mean().backward()
    assert not latent.grad[0].any()
    assert latent.grad[1].any()
    assert not without_gradient(decoder)
    untaught = ("prosody_quantizer.", "content_quantizer.", "melspec_", "residual_quantizer.quantizers.")
    taught = [
        name for name, value in quantizer.named_parameters() if value.grad is not None and value.grad.any()
    ]
    assert all(name.startswith(("timbre_", "residual_quantizer.")) for name in taught)
    assert not [name for name in without_gradient(quantizer) if not name.startswith(untaught)]


def test_dropped_codebooks_count_neither_in_the_sum_nor_in_the_losses(signal) -> None:
    encoder, quantizer = build("encoder"), build("quantizer").eval()
    x = torch.stack([signal(seed, 1200) for seed in (1, 2, 3)])
    counts = torch.tensor([1, 3, 2])
    with torch.no_grad():
        latent = encoder(x)
        full, made = (
            quantizer(latent, x, num_codebooks=c).parts["residual"] for c in (None, {"residual": counts})
        )
        left, stages = latent, quantizer.stream("residual").stages
        for name in ("prosody", "content"):
            left = left - quantizer(latent, x).parts[name].features
        total, commitment = torch.zeros_like(left), 0.0
        for number, stage in enumerate(stages):
            projected = stage.in_proj(left)
            rows = stage.rows[made.codes[:, number]]
            value = stage.out_proj(rows)
            left = left - value
            for item in range(3):
                if number < counts[item]:
                    total[item] += value[item]
                    commitment += (projected[item] - rows[item]).square().mean() / 3
    assert torch.equal(full.codes, made.codes)
    torch.testing.assert_close(made.features, total, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(made.commitment_loss, commitment, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(made.codebook_loss, commitment, rtol=1e-9, atol=1e-12)


def test_the_timbre_of_a_padded_utterance_is_that_of_the_utterance(signal) -> None:
    quantizer = build("quantizer").eval()
    lengths = torch.tensor([1200, 720, 2401])
    padded = torch.zeros(3, 2401, dtype=torch.float64)
    for item, length in enumerate(lengths.tolist()):
        padded[item, :length] = signal(item, length)
    with torch.no_grad():
        mel = quantizer.to_mel(padded)
        got = quantizer.timbre_encoder(mel, lengths // 24)
        for item, length in enumerate(lengths.tolist()):
            alone = quantizer.timbre_encoder(mel[item : item + 1, : length // 24])
            torch.testing.assert_close(got[item : item + 1], alone, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(quantizer.speaker_of(padded, lengths), got)
