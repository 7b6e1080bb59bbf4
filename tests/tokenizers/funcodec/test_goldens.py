"""Numbers of the published implementation, with recipe weights, in float64."""

from typing import Any

import numpy as np
import pytest
import torch

from speechtok.nets.weight_norm import fold
from speechtok.tokenizers.funcodec.convert import build_codec, published_shapes
from speechtok.tokenizers.funcodec.published_config import parse_config
from speechtok.tokenizers.funcodec.quantizer import Quantizer
from speechtok.tokenizers.funcodec.segments import decode_rows, encode_rows, levels_of
from speechtok.tokenizers.funcodec.semantic import SemanticCodec
from speechtok.tokenizers.funcodec.spectrum import Spectrum
from tests.goldens import recipe
from tests.tokenizers.funcodec.published import (
    GOLDEN_OF,
    INVENTORY,
    build,
    codec,
    config_of,
    golden,
    published_config,
    semantic_config,
    signal,
)

EDGES = {
    "encodec_nq32ds640": "edges_ds640",
    "encodec_nq32ds320": "edges_ds320",
    "freqcodec_magphase_nq32ds320": "edges_freq_magphase_ds320",
    "freqcodec_magphase_nq32ds640": "edges_freq_magphase_ds640",
}
CLOSE = {"rtol": 0, "atol": 1e-10}
UPPER_HALF = "819d01102da5a9413930088050249220948888488251150a0008008212a3080800"
"""Bins of the golden recording's first frame whose angle is +π and not -π, a bit each.

A centred, reflected frame is even, so its spectrum is real, and where it is negative, rounding in the
library that transforms it, another one on each processor, says on which side of the cut it lies.
"""


def assert_wave(wave: torch.Tensor, arrays: Any, name: str, atol: float = 1e-10) -> None:
    wave = wave.reshape(-1)
    close = CLOSE | {"atol": atol}
    assert len(wave) == int(arrays[f"{name}.n"])
    np.testing.assert_allclose(wave[:1200], arrays[f"{name}.head"][: len(wave)], **close)
    np.testing.assert_allclose(wave[::41], arrays[f"{name}.stride"], **close)
    np.testing.assert_allclose(wave[-600:], arrays[f"{name}.tail"][-len(wave) :], **close)
    np.testing.assert_allclose(float(wave.abs().sum()), float(arrays[f"{name}.sumabs"]), rtol=atol)


@pytest.fixture
def _sides_of_the_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    analyse = Spectrum.analyse
    upper = np.unpackbits(np.frombuffer(bytes.fromhex(UPPER_HALF), np.uint8))

    def analyse_as_the_golden(spectrum: Spectrum, waveform: torch.Tensor) -> torch.Tensor:
        features = analyse(spectrum, waveform)
        if spectrum.domain == "mag_angle":
            angle = features[:, 1]
            real = angle.abs() > np.pi - 1e-9
            assert not real[:, 1:-1, 1:].any()  # elsewhere nothing is left to rounding
            sign = torch.ones_like(angle)
            sign[:, upper[: spectrum.bins] == 0, 0] = -1
            features[:, 1] = torch.where(real, sign * angle.abs(), angle)
        return features

    monkeypatch.setattr(Spectrum, "analyse", analyse_as_the_golden)


@pytest.mark.usefixtures("_sides_of_the_cut")
@pytest.mark.parametrize("model", GOLDEN_OF)
def test_a_model(model: str) -> None:
    arrays, meta = golden(GOLDEN_OF[model])
    made = codec(model, meta["weights"]["seed"], meta["weights"]["gain"])
    samples = meta["signal"]["n"]
    x, lengths = signal(samples, meta["signal"]["seed"])[None], torch.tensor([samples])
    latents, _ = made.features(x, lengths)
    np.testing.assert_allclose(latents[0][:: meta["emb_stride"]], arrays["emb"], **CLOSE)
    encoded = made.encode(x, lengths)
    assert np.array_equal(encoded.codes[0], arrays["codes"])
    assert int(encoded.num_frames) == made.num_frames(samples) == arrays["codes"].shape[1]
    np.testing.assert_allclose(encoded.scale, arrays["scale"][0], rtol=1e-15)
    whole = made.decode(encoded.codes, encoded.num_frames)[0]
    assert_wave(whole, arrays, "decoded_from_codes")
    embedding = made.embed(encoded.codes, encoded.num_frames)[0].t()
    np.testing.assert_allclose(embedding[:: 4 * meta["emb_stride"]], arrays["dequant32"], **CLOSE)
    if "recon_with_scale.n" in arrays:
        restored = made.decode(encoded.codes, encoded.num_frames, encoded.scale)[0]
        assert_wave(restored[:samples], arrays, "recon_with_scale")
    if "decoded_q4.n" in arrays:
        assert_wave(made.decode(encoded.codes[:, :4], encoded.num_frames)[0], arrays, "decoded_q4")
    if "rand_codes_BTQ" in arrays:
        drawn = torch.from_numpy(arrays["rand_codes_BTQ"].astype(np.int64)).transpose(1, 2)
        assert_wave(made.decode(drawn, torch.tensor([17]))[0], arrays, "decoded_rand")


@pytest.mark.parametrize("model", EDGES)
def test_short_and_odd_lengths(model: str) -> None:
    arrays, meta = golden(EDGES[model])
    made = codec(model, meta["weights"]["seed"])
    for samples in arrays["lengths"].tolist():
        x, name = signal(samples, meta["signal"]["seed"])[None], f"L{samples}"
        encoded = made.encode(x, torch.tensor([samples]))
        assert np.array_equal(encoded.codes[0], arrays[f"{name}.codes"]), samples
        assert made.num_frames(samples) == encoded.codes.shape[2]
        latents, _ = made.features(x, torch.tensor([samples]))
        np.testing.assert_allclose(latents[0][0, :16], arrays[f"{name}.emb0"], **CLOSE)
        np.testing.assert_allclose(latents[0][-1, :16], arrays[f"{name}.emb_last"], **CLOSE)
        wave = made.decode(encoded.codes, encoded.num_frames)[0]
        assert len(wave) == int(arrays[f"{name}.n_decoded"])
        steps = wave[:: max(1, len(wave) // 48)][:48]
        np.testing.assert_allclose(steps, arrays[f"{name}.decoded"], **CLOSE)


@pytest.mark.parametrize("model", EDGES)
def test_silence_offset_and_impulse(model: str) -> None:
    arrays, meta = golden(EDGES[model])
    made = codec(model, meta["weights"]["seed"])
    impulse = torch.zeros(2000, dtype=torch.float64)
    impulse[777] = 0.9
    for name, x in (
        ("silence", torch.zeros_like(impulse)),
        ("dc", torch.full_like(impulse, 0.5)),
        ("impulse", impulse),
    ):
        latents, scale = made.features(x[None], torch.tensor([2000]))
        np.testing.assert_allclose(latents[0][:, :8], arrays[f"{name}.emb"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(scale, arrays[f"{name}.scale"][0], rtol=1e-12)
        if float(arrays[f"{name}.margin"]) > 1e-6:
            codes = made.encode(x[None], torch.tensor([2000])).codes[0]
            assert np.array_equal(codes, arrays[f"{name}.codes"])


@pytest.mark.parametrize(
    ("model", "name"),
    [
        pytest.param("encodec_nq32ds640", "batch_ds640", marks=pytest.mark.slow),
        ("encodec_nq32ds320", "batch_ds320"),
    ],
)
def test_batches(model: str, name: str) -> None:
    arrays, meta = golden(name)
    made = codec(model, meta["weights"]["seed"])
    equal, unequal = meta["equal"], meta["unequal"]
    x = torch.stack([signal(equal["n"], seed) for seed in equal["seeds"]])
    encoded = made.encode(x, torch.full((3,), equal["n"]))
    assert np.array_equal(encoded.codes.transpose(0, 1), arrays["equal.codes"])
    waves = torch.stack(made.decode(encoded.codes, encoded.num_frames, encoded.scale))[:, : equal["n"]]
    np.testing.assert_allclose(waves[:, ::97], arrays["equal.recon_stride"], **CLOSE)
    items = [signal(n, seed) for n, seed in zip(unequal["n"], unequal["seeds"], strict=True)]
    x = torch.nn.utils.rnn.pad_sequence(items, batch_first=True)
    for padded in (False, True):
        encoded = made.encode(x, torch.tensor(unequal["n"]), padded=padded)
        for item, codes in enumerate(encoded.codes):
            wanted = arrays[f"single.codes{item}"]
            assert np.array_equal(codes[:, : wanted.shape[1]], wanted)
            assert not codes[:, wanted.shape[1] :].any()


@pytest.mark.parametrize(
    ("model", "name"),
    [
        pytest.param("encodec_nq32ds640", "segments_ds640", marks=pytest.mark.slow),
        ("encodec_nq32ds320", "segments_ds320"),
    ],
)
def test_segments(model: str, name: str) -> None:
    arrays, meta = golden(name)
    content = published_config(model)
    conf = content["model_conf"] | {key: meta[key] for key in ("segment_dur", "overlap_ratio")}
    segments = parse_config(content | {"model_conf": conf}, model).segments
    assert segments is not None
    assert (segments.length, segments.stride) == (
        int(arrays["segment_length"]),
        int(arrays["segment_stride"]),
    )
    made = codec(model, meta["weights"]["seed"])
    x = signal(meta["signal"]["n"], meta["signal"]["seed"])
    rows = encode_rows(made, segments, [x], num_codebooks=32)
    count = int(arrays["n_segments"])
    assert len(segments.spans(len(x))) == count
    wanted = np.concatenate([arrays[f"seg{index}.codes"] for index in range(count)], axis=1)
    assert np.array_equal(rows["acoustic"][0], wanted)
    levels = np.array([arrays[f"seg{index}.scale"].item() for index in range(count)])
    assert np.array_equal(levels_of(rows["level"][0]), levels.astype(np.float32))
    (bare,) = decode_rows(made, segments, rows["acoustic"], [len(x)], None)
    assert_wave(bare, arrays, "recon_no_scale")
    (whole,) = decode_rows(made, segments, rows["acoustic"], [len(x)], rows["level"])
    start, region = int(arrays["overlap_region_start"]), arrays["overlap_region"]
    np.testing.assert_allclose(whole[start : start + len(region)], region, rtol=0, atol=1e-7)
    assert_wave(whole, arrays, "recon_with_scale", atol=1e-7)


def test_semantic_augmentation() -> None:
    arrays, meta = golden("semantic_aug_concat")
    content = semantic_config(published_config("encodec_nq32ds320"))
    config = parse_config(content, "semantic")
    entries = {
        key: torch.from_numpy(
            recipe.tensor(key, shape, "float64", seed=meta["weights"]["seed"], gain=meta["weights"]["gain"])
        )
        for key, shape in published_shapes(config).items()
    }
    made = build_codec(config, entries, dtype=torch.float64, source="semantic")
    assert isinstance(made, SemanticCodec)
    kept = config.codebooks_for(meta["bit_width"])
    for samples in meta["signal"]["n"]:
        name = f"L{samples}"
        x = signal(samples, meta["signal"]["seed"])[None]
        encoded = made.encode(x, torch.tensor([samples]), num_codebooks=kept)
        assert np.array_equal(encoded.codes[0], arrays[f"{name}.codes"])
        drawn = np.random.RandomState(502).randint(0, 86, (1, -(-samples // 160)))
        phones = torch.from_numpy(drawn)
        (latent,) = made.latents(encoded.codes, encoded.num_frames)
        joined = made.condition(latent, phones, samples)
        np.testing.assert_allclose(joined[0].t()[::7].detach(), arrays[f"{name}.cond_emb"], **CLOSE)
        arguments = (encoded.codes, encoded.num_frames, [phones], [samples])
        wave = made.decode_with_phones(*arguments, encoded.scale)[0]
        assert_wave(wave[:samples], arrays, f"{name}.recon")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_batch_of_one_to_five_seconds(dtype: torch.dtype) -> None:
    made = build("encodec_nq32ds320", dtype)
    lengths = [16_000, 47_111, 80_000, 31_234, 64_001]
    items = [signal(length, 60 + i).to(dtype) for i, length in enumerate(lengths)]
    batch = torch.nn.utils.rnn.pad_sequence(items, batch_first=True)
    alone = [made.encode(x[None], torch.tensor([len(x)])) for x in items]
    for padded in (False, True):
        together = made.encode(batch, torch.tensor(lengths), padded=padded)
        differing = total = 0
        for item, one in enumerate(alone):
            mine = together.codes[item, :, : one.codes.shape[2]]
            differing, total = differing + int((mine != one.codes[0]).sum()), total + mine.numel()
        assert differing <= (0 if dtype == torch.float64 else total / 10_000), f"{differing} of {total}"


def test_quantizers_with_projections_and_squashing() -> None:
    arrays, meta = golden("quantizer_units")
    for index, case in enumerate(meta["cases"]):
        conf = case["conf"]
        made = Quantizer(
            conf["input_size"],
            conf["num_quantizers"],
            conf["codebook_size"],
            conf.get("codec_dim", conf["input_size"]),
            conf.get("codec_range"),
        ).double()
        state = {
            key: torch.from_numpy(recipe.tensor(key, tuple(shape), "float64", seed=case["weights_seed"]))
            for key, shape in case["keys"].items()
            if not key.endswith(("inited", "cluster_size", "embed_avg"))
        }
        made.load_state_dict(state)
        fold(made)
        x = 2 * np.random.RandomState(400 + index).standard_normal((2, 11, conf["input_size"]))
        codes = made.encode(torch.from_numpy(x))
        assert np.array_equal(codes.transpose(0, 1), arrays[f"case{index}.encode_codes"])
        if "q0_ds_ratio" not in conf:  # there the one-pass mode gives codes that encoding does not
            quantized = made.decode(codes).detach()
            np.testing.assert_allclose(quantized, arrays[f"case{index}.quantized"], **CLOSE)
            vectors = made.vectors(codes).detach().permute(1, 0, 3, 2)
            np.testing.assert_allclose(vectors, arrays[f"case{index}.sub_quants"], **CLOSE)
        stored = torch.from_numpy(arrays[f"case{index}.codes"].astype(np.int64)).transpose(0, 1)
        np.testing.assert_allclose(
            made.decode(stored).detach().transpose(1, 2), arrays[f"case{index}.decode"], **CLOSE
        )


def test_blocks_of_frames_change_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Quantizer(8, 3, 16, 8).double()
    torch.nn.init.normal_(made.rq.model.embed)  # type: ignore[union-attr, arg-type]
    fold(made)
    x = torch.randn(3, 7, 8, dtype=torch.float64)
    whole = made.encode(x)
    monkeypatch.setattr("speechtok.nets.residual_codebooks.BLOCK_FRAMES", 5)
    assert torch.equal(made.encode(x), whole)


@pytest.mark.parametrize("model", ["encodec_nq32ds640", "encodec_nq32ds320"])
def test_bit_rates(model: str) -> None:
    arrays, _ = golden(GOLDEN_OF[model])
    config = config_of(model)
    for rate, codebooks in zip(
        arrays["bit_width"].tolist(), arrays["n_q_for_bit_width"].tolist(), strict=True
    ):
        assert config.codebooks_for(None if rate == -1 else rate) == codebooks


def test_bit_rates_of_other_rates_and_sizes() -> None:
    from dataclasses import replace

    arrays, meta = golden("quantizer_units")
    base = config_of("encodec_nq32ds320")
    for index, case in enumerate(meta["cases"]):
        conf = case["conf"]
        config = replace(
            base,
            num_codebooks=conf["num_quantizers"],
            codebook_size=conf["codebook_size"],
            bandwidth_rate=conf["sampling_rate"],
        )
        for rate, codebooks in zip(case["bandwidths"], arrays[f"case{index}.n_q"].tolist(), strict=True):
            assert config.codebooks_for(None if rate == -1 else rate) == codebooks


@pytest.mark.parametrize("model", [name for name in INVENTORY if name != "training_only"])
def test_inventories_match_the_configuration(model: str) -> None:
    unread = ("inited", "cluster_size", "embed_avg")
    wanted = {key: tuple(shape) for key, shape in INVENTORY[model].items() if not key.endswith(unread)}
    assert published_shapes(config_of(model)) == wanted
