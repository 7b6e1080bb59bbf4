import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechtok.tokenizers.dmel.config import DMelConfig
from speechtok.tokenizers.dmel.mel import BLOCK_FRAMES, MelCodeStream, mel_codes
from speechtok.tokenizers.dmel.scales import hann_window, level_edges, level_values_db, mel_filters

CONFIG = DMelConfig()
HOP = CONFIG.hop_length
BLOCK = BLOCK_FRAMES * HOP


def encode(waveform, config=CONFIG):
    """Codes `(channels, frames)` of one utterance, alone."""
    waveform = torch.as_tensor(waveform)
    return mel_codes(waveform[None], torch.tensor([len(waveform)]), config)[0]


def stream_codes(waveform, cuts):
    stream = MelCodeStream(CONFIG, dtype=waveform.dtype)
    ends = [0, *sorted(cuts), len(waveform)]
    pieces = [stream.push(waveform[a:b]) for a, b in pairwise(ends)]
    return torch.cat([*pieces, stream.finish()], dim=1)


def slow_levels(waveform, config=CONFIG):
    """Levels before rounding, frame by frame and from the definitions, in float64."""

    def hz(mel):
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    top_mel = 15 + 27 * math.log(config.max_hz / 1000, 6.4)
    corners = [hz(top_mel * i / (config.num_channels + 1)) for i in range(config.num_channels + 2)]
    length, hop = config.window_length, config.hop_length
    time = np.arange(length)
    bins = np.arange(config.fft_length // 2 + 1)
    fourier = np.exp(-2j * np.pi * np.outer(bins, time) / config.fft_length)
    bins_hz = bins * config.sample_rate / config.fft_length
    window = np.sin(np.pi * (time + 0.5) / length) ** 2
    window *= 2 / window.sum()
    levels = []
    for frame in range(math.ceil(len(waveform) / hop)):
        start = frame * hop + hop // 2 - length // 2
        seen = [waveform[i] if 0 <= i < len(waveform) else 0.0 for i in range(start, start + length)]
        spectrum = np.abs(fourier @ (np.array(seen) * window))
        mel = [
            np.interp(bins_hz, corners[c : c + 3], [0, 1, 0]) @ spectrum for c in range(config.num_channels)
        ]
        decibels = 20 * np.log10(np.maximum(mel, 1e-20))
        levels.append((decibels - config.min_db) / (config.max_db - config.min_db) * config.num_levels)
    return np.stack(levels, axis=1)


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        DMelConfig(num_channels=40, num_levels=32, hop_length=160, window_length=400, fft_length=512),
        DMelConfig(window_length=320, fft_length=640, min_db=-80.0, max_db=0.0, max_hz=7000.0),
    ],
)
def test_codes_equal_a_slow_computation_from_the_definitions(config, speech):
    waveform = speech(20123, seed=3)
    levels = slow_levels(waveform, config)
    np.testing.assert_array_less(1e-9, np.abs(levels - np.round(levels)))  # no value sits on an edge
    expected = np.clip(np.floor(levels), 0, config.num_levels - 1)
    np.testing.assert_array_equal(encode(waveform, config).numpy(), expected)


@settings(max_examples=20, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9000), min_size=1, max_size=4),
    padding=st.integers(0, 700),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_codes_are_the_same_alone_and_in_any_batch(lengths, padding, dtype, speech):
    utterances = [torch.tensor(speech(n, seed=n), dtype=dtype) for n in lengths]
    batch = torch.full((len(lengths), max(lengths) + padding), 0.7, dtype=dtype)  # junk past the end
    for row, utterance in zip(batch, utterances, strict=True):
        row[: len(utterance)] = utterance
    together = mel_codes(batch, torch.tensor(lengths), CONFIG)
    assert together.dtype == torch.int64
    assert together.shape == (len(lengths), 80, math.ceil(max(lengths) / HOP))
    for codes, utterance in zip(together, utterances, strict=True):
        num_frames = math.ceil(len(utterance) / HOP)
        assert torch.equal(codes[:, :num_frames], encode(utterance))
        assert not codes[:, num_frames:].any()


@settings(max_examples=20, deadline=None)
@given(data=st.data(), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_streaming_gives_the_codes_of_the_whole(data, dtype, speech):
    num_samples = data.draw(st.one_of(st.integers(1, 2000), st.integers(BLOCK - 500, 2 * BLOCK + 700)))
    cuts = data.draw(st.lists(st.integers(0, num_samples), max_size=6))
    waveform = torch.tensor(speech(num_samples, seed=1), dtype=dtype)
    assert torch.equal(stream_codes(waveform, cuts), encode(waveform))


@pytest.mark.parametrize("num_samples", [BLOCK - 1, BLOCK, BLOCK + 1, BLOCK + 159, BLOCK + 160, BLOCK + 320])
def test_the_last_frame_is_there_at_every_block_edge(num_samples, speech):
    waveform = torch.tensor(speech(num_samples))
    codes = encode(waveform)
    assert codes.shape[1] == math.ceil(num_samples / HOP)
    assert torch.equal(codes[:, -3:], encode(waveform[-6 * HOP - num_samples % HOP :])[:, -3:])


def test_a_stream_begins_anew_after_finish_and_emits_whole_blocks(speech):
    waveform = torch.tensor(speech(2 * BLOCK + 5000), dtype=torch.float32)
    stream = MelCodeStream(CONFIG)
    for _ in range(2):
        pushed, rest = stream.push(waveform), stream.finish()
        assert pushed.shape == (80, 2 * BLOCK_FRAMES)
        assert torch.equal(torch.cat([pushed, rest], dim=1), encode(waveform))
    assert stream.finish().shape == (80, 0)


@settings(max_examples=10, deadline=None)
@given(hops=st.integers(1, 40))
def test_a_frame_sees_only_its_window(hops, speech):
    waveform = torch.tensor(speech(50 * HOP, seed=2))
    assert torch.equal(encode(waveform)[:, hops + 1 :], encode(waveform[hops * HOP :])[:, 1:])
    assert torch.equal(encode(waveform)[:, : hops - 1], encode(waveform[: hops * HOP])[:, :-1])


def test_float32_differs_from_float64_in_at_most_one_code_of_ten_thousand(speech):
    waveform = speech(30 * 16000, seed=5)
    single, double = encode(waveform.astype(np.float32)), encode(waveform)
    assert (single != double).sum() <= single.numel() / 10_000


def test_digital_silence_and_one_sample_have_codes():
    assert not encode(torch.zeros(4000)).any()
    assert encode(torch.zeros(1)).shape == (80, 1)
    assert encode(torch.ones(1)).any()


def test_a_gain_of_one_step_is_one_level_and_the_grid_clips(speech):
    waveform = speech(32000, rms_db=-35.0)
    codes = encode(waveform)
    louder = encode(waveform * 10 ** (CONFIG.step_db / 20))
    inside = (codes > 0) & (codes < 15)
    assert torch.equal(louder[inside], codes[inside] + 1)
    assert (louder[codes == 15] == 15).all()
    assert encode(waveform * 1e6).unique().tolist() == [15]
    assert not encode(waveform * 1e-6).any()


def test_level_values_lie_in_the_middle_of_their_levels():
    edges_db = 20 * level_edges(CONFIG).log10()
    values = level_values_db(CONFIG)
    assert values.tolist() == [-120.0, *np.arange(-82.5, -10, 5)]
    torch.testing.assert_close(edges_db + CONFIG.step_db / 2, values[1:])


def test_a_full_scale_sine_has_magnitude_one_in_its_bin():
    sine = torch.cos(2 * math.pi * 1000 / 16000 * torch.arange(640, dtype=torch.float64))
    spectrum = torch.fft.rfft(sine * hann_window(640)).abs()
    assert spectrum[40].item() == pytest.approx(1)
    weights = mel_filters(CONFIG, 640)
    assert weights.max() <= 1
    assert (weights.sum(0) > 0.5).all()  # no filter falls between the bins


@pytest.mark.parametrize(
    ("waveform", "num_samples", "message"),
    [
        (torch.zeros(10), [10], r"`waveform` must have shape \(batch, samples\) .* has \(10,\)"),
        (torch.zeros(1, 10, dtype=torch.int16), [10], "float32 or float64, but has .* torch.int16"),
        (torch.zeros(1, 10), [11], r"must hold 1 lengths from 1 to 10, but is \[11\]"),
        (torch.zeros(1, 10), [0], r"must hold 1 lengths from 1 to 10, but is \[0\]"),
        (torch.zeros(2, 10), [10], r"must hold 2 lengths from 1 to 10, but is \[10\]"),
    ],
)
def test_wrong_waveforms_are_refused(waveform, num_samples, message):
    with pytest.raises(ValueError, match=message):
        mel_codes(waveform, torch.tensor(num_samples), CONFIG)


def test_a_stream_takes_one_channel():
    with pytest.raises(ValueError, match=r"shape \(samples,\), but has \(1, 10\)"):
        MelCodeStream(CONFIG).push(torch.zeros(1, 10))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_levels": 1}, "num_levels must be at least 2, but is 1"),
        ({"num_channels": 0}, "num_channels must be at least 1, but is 0"),
        ({"window_length": 641}, "window_length must be hop_length .320. plus an even number"),
        ({"fft_length": 512}, "fft_length must be even and at least window_length .640., but is 512"),
        ({"max_hz": 9000.0}, "min_hz and max_hz must be in order and within 0 to 8000 Hz"),
        ({"max_db": -90.0}, "max_db must be above min_db .-90., but is -90.0"),
        ({"synthesis_hop_length": 100}, "synthesis_hop_length must be a divisor of hop_length .320."),
        ({"synthesis_window_length": 511}, "synthesis_window_length must be even, at least twice"),
    ],
)
def test_impossible_configurations_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        DMelConfig(**fields)
