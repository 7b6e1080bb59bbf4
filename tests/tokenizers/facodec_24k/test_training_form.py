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
    loss = (wave - x).square().mean() + sum(
        part.commitment_loss + part.codebook_loss for part in made.parts.values()
    )
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
