"""FACodec against numbers of the published implementation, in float64."""

import json

import numpy as np
import pytest
import torch

TOLERANCE = 1e-9


def close(ours: torch.Tensor, want: dict[str, np.ndarray], name: str, every: int = 1) -> None:
    """Compare with a stored array, which may be a slice of ours; `every` means `name_every_k`."""
    cut = json.loads(str(want["meta"])).get("slices", {}).get(name, {}).get("slice", "").strip("[]")
    if cut:
        parts = [part.split(":") for part in cut.split(",")]
        ours = ours[tuple(slice(None, None, int(part[-1]) if part[-1].strip() else None) for part in parts)]
    ours = ours[..., ::every].reshape(want[name].shape)
    np.testing.assert_allclose(ours.numpy(), want[name], rtol=TOLERANCE, atol=TOLERANCE)


def encode(codec, *signals):
    lengths = torch.tensor([len(s) for s in signals])
    return codec.encode(torch.nn.utils.rnn.pad_sequence(list(signals), batch_first=True), lengths)


def stacked(encoded, item=0):
    frames = int(encoded.num_frames[item])
    return torch.cat(list(encoded.codes.values()), dim=1)[item, :, :frames].numpy()


def decode(codec, encoded, samples, **options):
    return codec.decode(
        encoded.codes, encoded.num_frames, encoded.speaker_embedding, torch.tensor([samples]), **options
    )[0]


def hooked(model, run):
    """Return the outputs of all modules during `run`, by name, as (batch, channels, frames)."""
    seen = {}

    def keep(name):
        def hook(module, inputs, output):
            seen[name] = output.transpose(1, 2).clone() if output.dim() == 3 else output.clone()

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in model.named_modules()]
    with torch.no_grad():
        run()
    for handle in handles:
        handle.remove()
    return seen


def test_one_second(codec, golden, signal) -> None:
    want, model, x = golden("v1_full_1s"), codec(1), signal(0, 16000)
    np.testing.assert_array_equal(x[:32], want["signal_head"])
    got = encode(model, x)
    assert np.array_equal(stacked(got), want["codes"][:, 0])
    close(got.speaker_embedding, want, "spk_embs")
    close(model.embed(got.codes, got.num_frames), want, "vq_post_emb")
    close(model.embed(got.codes, got.num_frames), want, "vq2emb_all")
    for stream, codes in got.codes.items():
        close(model.embed({stream: codes}, got.num_frames), want, f"quantized_{stream}")
    close(decode(model, got, 16000), want, "wav")
    close(decode(model, got, 16000), want, "wav_from_codes_every_5", 5)
    close(decode(model, got, 16000, use_residual=False), want, "wav_from_codes_noresidual")


def test_inner_activations(codec, golden, signal) -> None:
    want, model, x = golden("v1_full_1s"), codec(1), signal(0, 16000)
    latent = model.encoder(x[None]).transpose(1, 2)
    close(latent, want, "enc_out")
    seen = hooked(model, lambda: decode(model, encode(model, x), 16000))
    ours = {
        name.replace("factors.", "").replace("generator.", "decoder."): value for name, value in seen.items()
    }
    compared = [name for name in want if name in ours and "." in name]
    for name in compared:
        close(ours[name], want, name)
    assert len(compared) > 18, compared


def test_inner_activations_v2(codec, golden, signal) -> None:
    want, model = golden("v2_full"), codec(2)
    seen = hooked(model, lambda: encode(model, signal(0, 16000)))
    ours = {name.replace("factors.", ""): value for name, value in seen.items()}
    compared = [name for name in want if name in ours]
    for name in compared:
        close(ours[name], want, name)
    assert len(compared) >= 6, compared


def test_lengths(codec, golden, signal) -> None:
    want, model = golden("v1_lengths"), codec(1)
    names = sorted(key.removeprefix("codes_") for key in want if key.startswith("codes_"))
    assert len(names) == 13
    for name in names:
        samples, seed = (int(part[1:]) for part in name.split("_"))
        got = encode(model, signal(seed, samples))
        assert np.array_equal(stacked(got), want[f"codes_{name}"][:, 0])
        close(got.speaker_embedding, want, f"spk_{name}")
        stored = next(key for key in want if key.startswith(f"wav_{name}_every_"))
        close(decode(model, got, 200 * int(got.num_frames[0])), want, stored, int(stored.rsplit("_", 1)[1]))


@pytest.mark.parametrize(("seed", "samples"), [(6, 160000), (7, 97531)])
def test_long_codes(codec, golden, signal, seed: int, samples: int) -> None:
    want = golden("v1_long_codes")
    got = encode(codec(1), signal(seed, samples))
    assert np.array_equal(stacked(got), want[f"codes_n{samples}_s{seed}"][:, 0])
    close(got.speaker_embedding, want, f"spk_n{samples}_s{seed}")


def test_batch_is_each_alone(codec, golden, signal) -> None:
    want, model = golden("v1_batch2"), codec(1)
    got = encode(model, signal(2, 8000), signal(3, 8000))
    for item in range(2):
        assert np.array_equal(stacked(got, item), want["codes"][:, item])
    close(got.speaker_embedding, want, "spk_embs_each_alone")
    wav = model.decode(got.codes, got.num_frames, got.speaker_embedding, torch.tensor([8000, 8000]))
    close(wav, want, "wav_each_alone_every_5", 5)
    swapped = got.speaker_embedding.flip(0)
    prosody = [model.redecoder.prosody(got.codes["prosody"][i : i + 1], swapped[i : i + 1]) for i in range(2)]
    rest = model.redecoder.look_up({"content": got.codes["content"]})
    close((torch.cat(prosody) + rest).transpose(1, 2), want, "redecoder_emb_swapped_each_alone")


def test_fewer_codebooks(codec, golden, signal) -> None:
    want, model = golden("v1_batch2"), codec(1)
    batch = torch.stack([signal(2, 8000), signal(3, 8000)])
    got = model.encode(batch, torch.tensor([8000, 8000]), num_codebooks=1)
    assert np.array_equal(
        torch.cat(list(got.codes.values()), dim=1).transpose(0, 1), want["n_quantizers_1_codes"]
    )
    close(model.embed(got.codes, got.num_frames), want, "n_quantizers_1_vq_post_emb")


def test_voice_conversion_v1(codec, golden, signal) -> None:
    want, model = golden("v1_redecoder_vc"), codec(1)
    a, b = encode(model, signal(0, 16000)), encode(model, signal(1, 12345))
    assert np.array_equal(stacked(a), want["codes_a"][:, 0])
    assert np.array_equal(stacked(b), want["codes_b"][:, 0])
    close(a.speaker_embedding, want, "spk_a")
    close(b.speaker_embedding, want, "spk_b")

    def convert(source, target, **options):
        lengths = 200 * source.num_frames
        return model.convert_voice(
            source.codes, source.num_frames, target.speaker_embedding, lengths, **options
        )

    close(convert(a, b), want, "wav_a_to_b")
    close(convert(b, a), want, "wav_b_to_a_every_3", 3)
    close(convert(a, a), want, "wav_a_to_a_every_3", 3)
    close(convert(a, b, use_residual=True), want, "wav_a_to_b_with_residual_every_7", 7)


def test_version_2(codec, golden, signal) -> None:
    want, model = golden("v2_full"), codec(2)
    a, b = encode(model, signal(0, 16000)), encode(model, signal(1, 12345))
    for got, name, x in ((a, "a", signal(0, 16000)), (b, "b", signal(1, 12345))):
        close(model.mel(x).T, want, f"prosody_feature_{name}")
        assert np.array_equal(stacked(got), want[f"codes_{name}"][:, 0])
        close(got.speaker_embedding, want, f"spk_{name}")
        close(model.embed(got.codes, got.num_frames), want, f"vq_post_emb_{name}")
    close(decode(model, a, 16000), want, "wav_a_every_3", 3)

    def convert(source, target):
        lengths = 200 * source.num_frames
        return model.convert_voice(source.codes, source.num_frames, target.speaker_embedding, lengths)

    close(convert(a, b), want, "wav_a_to_b")
    close(convert(b, a), want, "wav_b_to_a_every_5", 5)


def test_batch_is_each_alone_v2(codec, golden, signal) -> None:
    want = golden("v2_batch2")
    got = encode(codec(2), signal(2, 8000), signal(3, 8000))
    for item in range(2):
        assert np.array_equal(stacked(got, item), want["codes_each_alone"][:, item])
    close(got.speaker_embedding, want, "spk_each_alone")
