"""Batches and windows change nothing: zero differing codes in float64."""

import pytest
import torch
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from speechtok.tokenizers.facodec import codec as codec_module

few = settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
VERSIONS = pytest.mark.parametrize("version", [1, 2])


def encode_alone(model, x, **options):
    return model.encode(x[None], torch.tensor([len(x)]), **options)


def assert_same(got, item, want) -> None:
    frames = int(want.num_frames[0])
    assert int(got.num_frames[item]) == frames
    for name, codes in want.codes.items():
        assert torch.equal(got.codes[name][item, :, :frames], codes[0, :, :frames])
        assert not got.codes[name][item, :, frames:].any()
    torch.testing.assert_close(got.speaker_embedding[item], want.speaker_embedding[0], rtol=1e-10, atol=1e-10)


@VERSIONS
@pytest.mark.parametrize("windows_per_pass", [None, 3])
@given(lengths=st.lists(st.integers(413, 6000), min_size=2, max_size=3), seed=st.integers(0, 99))
@few
def test_a_batch_equals_each_alone(codec, signal, version, windows_per_pass, lengths, seed) -> None:
    model = codec(version)
    rows = [signal(seed + i, length) for i, length in enumerate(lengths)]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=0.7)
    alone = [encode_alone(model, row) for row in rows]
    try:
        model.windows_per_pass = windows_per_pass
        got = model.encode(padded, torch.tensor(lengths))
    finally:
        model.windows_per_pass = None
    for item, want in enumerate(alone):
        assert_same(got, item, want)


@pytest.mark.parametrize("windows_per_pass", [None, 3])
def test_a_decoded_batch_equals_each_alone(codec, signal, monkeypatch, windows_per_pass) -> None:
    model, lengths = codec(1), [3000, 1234, 201]
    monkeypatch.setattr(model, "windows_per_pass", windows_per_pass)
    padded = torch.nn.utils.rnn.pad_sequence([signal(i, length) for i, length in enumerate(lengths)], True)
    got = model.encode(padded, torch.tensor(lengths))
    wave = model.decode(got.codes, got.num_frames, got.speaker_embedding, torch.tensor(lengths))
    for item, length in enumerate(lengths):
        want = encode_alone(model, signal(item, length))
        alone = model.decode(want.codes, want.num_frames, want.speaker_embedding, torch.tensor([length]))
        torch.testing.assert_close(wave[item, :length], alone[0], rtol=1e-9, atol=1e-9)
        assert not wave[item, length:].any()


@VERSIONS
@given(length=st.integers(9000, 16000), chunk=st.integers(2000, 12000), seed=st.integers(0, 99))
@few
def test_chunks_equal_the_whole(codec, signal, version, length, chunk, seed) -> None:
    model, x = codec(version), signal(seed, length)
    assert_same(encode_alone(model, x, chunk_samples=chunk), 0, encode_alone(model, x, chunk_samples=10**9))


def test_one_frame_chunks_in_ragged_passes(codec, signal) -> None:
    model, x = codec(1), signal(5, 3000)
    want = encode_alone(model, x)
    try:
        model.windows_per_pass = 7
        assert_same(encode_alone(model, x, chunk_samples=1), 0, want)
    finally:
        model.windows_per_pass = None


@example(length=21_234, block=3_000, chunk=4_000, seed=1)
@given(
    length=st.integers(152, 16000),
    block=st.integers(150, 9000),
    chunk=st.none() | st.integers(1000, 9000),
    seed=st.integers(0, 99),
)
@few
def test_blocks_equal_the_whole(codec, signal, length, block, chunk, seed) -> None:
    model, x = codec(1), signal(seed, length)
    stream, want = model.stream(chunk_samples=chunk), encode_alone(model, x)
    with torch.no_grad():
        parts = [stream.feed(piece) for piece in x.split(block)]
        last, speaker = stream.finish()
    for name, codes in want.codes.items():
        assert torch.equal(torch.cat([part[name] for part in [*parts, last]], dim=1), codes[0])
    torch.testing.assert_close(speaker, want.speaker_embedding, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("windows_per_pass", [None, 4])
def test_generation_in_windows_equals_the_whole(codec, signal, monkeypatch, windows_per_pass) -> None:
    model, x = codec(1), signal(3, 13100)
    got = encode_alone(model, x)
    arguments = (got.codes, got.num_frames, got.speaker_embedding, torch.tensor([13100]))
    monkeypatch.setattr(codec_module, "GENERATOR_WINDOW", 10_000)
    want = model.decode(*arguments)
    monkeypatch.setattr(codec_module, "GENERATOR_WINDOW", 23)
    monkeypatch.setattr(model, "windows_per_pass", windows_per_pass)
    torch.testing.assert_close(model.decode(*arguments), want, rtol=1e-10, atol=1e-10)
    assert want.shape == (1, 13100)


def test_every_length_of_a_frame(codec, signal) -> None:
    """Version 2 has a result where the published code fails: L mod 200 of 152 and more."""
    model = codec(2)
    for length in (413, 599, 600, 751, 752, 799):
        got = encode_alone(model, signal(1, length))
        assert got.codes["content"].shape[-1] == length // 200 == model.num_frames(length)
        wave = model.decode(got.codes, got.num_frames, got.speaker_embedding, torch.tensor([length]))
        assert wave.shape == (1, length)
    model = codec(1)
    for length in (152, 351, 352, 1000, 1151, 1152):
        assert encode_alone(model, signal(1, length)).codes["content"].shape[-1] == model.num_frames(length)
        assert model.num_frames(length) == model.encoder.num_frames(length)


def test_long_timbre_is_averaged_by_length(codec, monkeypatch) -> None:
    model, latent = codec(1), torch.randn(1, 50, 256, dtype=torch.float64)
    monkeypatch.setattr(codec_module, "TIMBRE_FRAMES", 20)
    collected = model.timbre()
    with torch.no_grad():
        for part in latent.split(7, dim=1):
            collected.add(part)
        parts = [model.factors.timbre(part) * part.shape[1] for part in latent.split(20, dim=1)]
        torch.testing.assert_close(collected.vector(), sum(parts) / 50)
