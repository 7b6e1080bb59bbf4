"""FAcodec against numbers of the published implementation, in float64."""

import json

import numpy as np
import pytest
import torch

from speechtok.checkpoints.read import load_strict
from speechtok.nets.windows import JoinedBlocks
from speechtok.tokenizers.facodec_24k import codec as codec_module
from speechtok.tokenizers.facodec_24k.quantizer import Quantizer
from tests.goldens.facodec_24k.weights import published_weights

TOLERANCE = 1e-9
ORDER = ("prosody", "content", "residual")


def meta(want):
    return json.loads(str(want["meta"]))


def close(ours, want, name, *, channels_last=False, stride=None):
    """Compare with a stored array, which may be every `stride`-th value of ours."""
    if channels_last:
        ours = ours.transpose(1, 2)
    values = ours.detach().reshape(-1).numpy()
    if f"{name}_s" in want:
        stored = want[f"{name}_s"]
        values = values[:: stride or meta(want)["strides"][name]["stride"]]
    else:
        stored = want[name].reshape(-1)
    np.testing.assert_allclose(values, stored, rtol=TOLERANCE, atol=TOLERANCE)


def encode(codec, *signals, **options):
    return codec.encode([JoinedBlocks([x]) for x in signals], **options)


def stacked(got, item=0):
    return torch.cat([got.codes[name] for name in ORDER], dim=1)[item, :, : int(got.num_frames[item])].numpy()


def decode(codec, got, samples, streams=ORDER, speaker=None):
    codes = {name: got.codes[name] for name in streams}
    speaker = got.speaker_embedding if speaker is None else speaker
    return codec.decode(codes, got.num_frames, speaker, torch.tensor([samples] * len(speaker)))


def hooked(codec, run):
    """Return the outputs of all modules during `run`, by name, as (batch, channels, frames)."""
    seen = {}

    def keep(name):
        def hook(module, inputs, output):
            output = output[0] if isinstance(output, tuple) else output
            seen[name] = output.transpose(1, 2).clone() if output.dim() == 3 else output.clone()

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in codec.named_modules()]
    with torch.no_grad():
        run()
    for handle in handles:
        handle.remove()
    return seen


@pytest.fixture(scope="module")
def main(codec, signal):
    """Tokens and waveform of the main signal in one window, and what every module made on the way."""
    found = []

    def run():
        got = encode(codec, signal(3, 30_000))
        found.extend([got, decode(codec, got, 30_000)])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec_module, "WINDOW", 100)
        seen = hooked(codec, run)
    return (*found, seen)


def test_main(codec, main, golden, signal) -> None:
    want, (got, wave, seen) = golden("main"), main
    for name in ORDER:
        assert np.array_equal(got.codes[name].numpy(), want[f"codes_{name}"])
        close(codec.embed({name: got.codes[name]}, got.num_frames), want, f"quantized_{name}")
    assert np.array_equal(got.codes["content"][:, 0], want["cleanest_content"])
    close(seen["encoder.block.7"], want, "encoder_out")
    close(seen["quantizer.to_mel"], want, "mel80")
    close(seen["quantizer.timbre_linear"], want, "style")
    close(got.speaker_embedding, want, "timbre")
    styled = codec.quantizer.inject(codec.quantized(got.codes), got.speaker_embedding)
    close(styled, want, "decoder_in", channels_last=True)
    close(wave[:, :1500], want, "wav_head")
    close(wave[:, -1500:], want, "wav_tail")
    close(wave, want, "wav")


def test_inner_activations(main, golden) -> None:
    want, seen = golden("main"), main[-1]
    names = [key.removeprefix("act/").removesuffix("_s") for key in want if key.startswith("act/")]
    for name in names:
        if name in seen:  # a projection whose module is called in parts has no output of its own
            close(seen[name], want, f"act/{name}")
    assert len(set(names) & set(seen)) > 45


def test_one_content_codebook(codec, golden, signal) -> None:
    want = golden("main")
    got = encode(codec, signal(3, 30_000), limits={"content": 1})
    for name in ORDER:
        assert np.array_equal(got.codes[name].numpy(), want[f"nc1_codes_{name}"])
    styled = codec.quantizer.inject(codec.quantized(got.codes), got.speaker_embedding)
    close(styled, want, "nc1_decoder_in", channels_last=True)


def test_losses(golden, signal, codec) -> None:
    """In the form for training, where nothing is folded."""
    want, x = golden("main"), signal(3, 30_000)[None]
    with torch.device("meta"):
        quantizer = Quantizer(codec.config)
    load_strict(quantizer, {k: v.double() for k, v in published_weights("facodec", "quantizer").items()})
    with torch.no_grad():
        got = quantizer.eval()(codec.encoder(x), x)
    for name in ("commitment", "codebook"):
        total = sum(getattr(part, f"{name}_loss") for part in got.parts.values())
        close(total, want, f"{name}_loss")
    for name, part in got.parts.items():
        assert np.array_equal(part.codes.numpy(), want[f"codes_{name}"])
        close(part.features, want, f"quantized_{name}", channels_last=True)
    close(got.speaker_embedding, want, "timbre")
    close(got.styled, want, "decoder_in", channels_last=True)


def test_lengths(codec, golden, signal) -> None:
    want = golden("lengths")
    items = meta(want)["items"]
    assert len(items) == 10
    for item in items:
        x, name = signal(item["seed"], item["samples"]), f"L{item['samples']}"
        got = encode(codec, x)
        assert np.array_equal(stacked(got), want[f"{name}/codes"][0])
        close(got.speaker_embedding, want, f"{name}/timbre", stride=item["timbre_stride"])
        with torch.no_grad():
            latent = codec.encoder(x[None])
        assert latent.shape[1] == item["encoder_frames"]
        close(latent, want, f"{name}/encoder_out", channels_last=True, stride=item["encoder_out_stride"])
        wave = decode(codec, got, item["wav_samples"])
        close(wave, want, f"{name}/wav", stride=item["wav_stride"])


def test_batches(codec, golden, signal) -> None:
    want = golden("batch")
    got = encode(codec, signal(11, 9600), signal(12, 9600))
    for item in range(2):
        assert np.array_equal(stacked(got, item), want["codes"][item])
    close(got.speaker_embedding, want, "timbre")
    close(decode(codec, got, 9600), want, "wav")
    got = encode(codec, signal(13, 9600), signal(14, 6000))
    for item in range(2):
        assert np.array_equal(stacked(got, item), want[f"uneq_codes_alone_{item}"][0])
        close(got.speaker_embedding[item], want, f"uneq_timbre_alone_{item}")


def test_voice_conversion(codec, golden, signal) -> None:
    want = golden("voice_conversion")
    source, reference = encode(codec, signal(21, 12_000)), encode(codec, signal(22, 9300))
    assert np.array_equal(stacked(source), want["source_codes"][0])
    assert np.array_equal(stacked(reference), want["reference_codes"][0])
    close(source.speaker_embedding, want, "source_timbre")
    close(reference.speaker_embedding, want, "reference_timbre")
    voice, samples = reference.speaker_embedding, torch.tensor([12_000])

    def same(wave, name):
        close(wave[:, :600], want, f"{name}_wav_head")
        close(wave, want, f"{name}_wav")

    same(decode(codec, source, 12_000, speaker=voice), "swap_pcr")
    same(decode(codec, source, 12_000, ("prosody", "content"), voice), "swap_pc")
    first = {"content": source.codes["content"][:, :1]}
    same(codec.redecode(first, source.num_frames, source.speaker_embedding, samples), "redecoder_self")
    seen = hooked(
        codec.redecoder,
        lambda: same(codec.redecode(first, source.num_frames, voice, samples), "redecoder_vc"),
    )
    close(seen["encoder"], want, "redecoder_vc_z")
    compared = 0
    for key in want:
        if key.startswith("act/"):
            name = key.removeprefix("act/redecoder.").removesuffix("_s")
            name = {"encoder.wn": "encoder.encoder"}.get(
                name, name.replace("encoder.", "encoder.encoder.", 1)
            )
            close(seen[name], want, key.removesuffix("_s"))
            compared += 1
    assert compared == 12
    both = {name: source.codes[name] for name in ("prosody", "content")}
    same(codec.redecode(both, source.num_frames, voice, samples), "redecoder_vc_p_nc2")


@pytest.mark.slow
def test_long(codec, golden, signal) -> None:
    want, x = golden("long"), signal(31, 192_137)
    got = encode(codec, x)
    assert np.array_equal(stacked(got), want["codes"][0])
    close(got.speaker_embedding, want, "timbre")
    close(decode(codec, got, 192_000), want, "wav")
    with torch.no_grad():
        latent = codec.encoder(x[None])
    close(latent, want, "encoder_out", channels_last=True)
