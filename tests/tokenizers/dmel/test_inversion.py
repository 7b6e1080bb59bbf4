import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechtok.tokenizers.dmel import inversion
from speechtok.tokenizers.dmel.config import DMelConfig
from speechtok.tokenizers.dmel.inversion import codes_to_waveform, decode_block
from speechtok.tokenizers.dmel.mel import mel_codes
from speechtok.tokenizers.dmel.scales import hann_window

CONFIG = DMelConfig()
FAST = DMelConfig(griffin_lim_iterations=2)


def encode(waveform):
    """Codes `(1, channels, frames)` and length of one utterance."""
    num_samples = torch.tensor([len(waveform)])
    return mel_codes(torch.as_tensor(waveform)[None], num_samples, CONFIG), num_samples


def intelligibility(reference, waveform):
    pystoi = pytest.importorskip("pystoi")
    return pystoi.stoi(reference, waveform.double().numpy(), 16000, extended=False)


# Seeds 0 to 4 at -26 and -45 dB measure 0.963 to 0.986; the margin is for other processors.
@pytest.mark.parametrize(("seed", "rms_db"), [(0, -26.0), (2, -26.0), (2, -45.0), (3, -14.0)])
def test_decoded_speech_is_intelligible(seed, rms_db, speech):
    waveform = speech(64000, seed=seed, rms_db=rms_db)
    decoded = codes_to_waveform(*encode(waveform), CONFIG)[0]
    assert intelligibility(waveform, decoded) > 0.95


def test_decoded_speech_has_nearly_the_same_codes(speech):
    codes, num_samples = encode(speech(64000, seed=1))
    again, _ = encode(codes_to_waveform(codes, num_samples, CONFIG)[0])
    distance = (again - codes).abs()
    assert (distance == 0).double().mean() > 0.9  # 0.93 measured
    assert (distance <= 1).double().mean() > 0.99
    assert abs((again - codes).double().mean()) < 0.1  # neither louder nor quieter on the whole


def test_blocks_join_without_a_trace(speech, monkeypatch):
    waveform = speech(96000, seed=4)
    codes, num_samples = encode(waveform)
    whole = codes_to_waveform(codes, num_samples, CONFIG)[0]
    monkeypatch.setattr(inversion, "BLOCK_FRAMES", 20)
    joined = codes_to_waveform(codes, num_samples, CONFIG)[0]
    assert intelligibility(waveform, joined) > intelligibility(waveform, whole) - 0.005
    curvature = joined.diff(n=2).abs()  # a click is a jump in the slope
    joins = torch.arange(20 * 320, 96000, 20 * 320)
    near = torch.stack([curvature[joins + shift] for shift in range(-3, 2)]).mean()
    assert near < 1.5 * curvature.mean()


def test_known_samples_come_back_unchanged(speech):
    codes, num_samples = encode(speech(20 * 320))
    known = codes_to_waveform(codes, num_samples, FAST)[0, : 8 * 320]
    block = decode_block(codes[0], 0, 20, known, FAST)
    assert block.shape == (20 * 320,)
    assert torch.equal(block[: 8 * 320], known)


@settings(max_examples=10, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 4000), min_size=1, max_size=3),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_waveforms_are_the_same_alone_and_in_any_batch(lengths, dtype):
    num_frames = math.ceil(max(lengths) / 320) + 2
    codes = torch.from_numpy(
        np.random.default_rng(sum(lengths)).integers(0, 16, (len(lengths), 80, num_frames))
    )
    together = codes_to_waveform(codes, torch.tensor(lengths), FAST, dtype=dtype)
    assert together.dtype == dtype
    assert together.shape == (len(lengths), max(lengths))
    assert together.isfinite().all()
    for row, own, length in zip(together, codes, lengths, strict=True):
        own_codes = own[None, :, : math.ceil(length / 320)]
        assert torch.equal(
            row[:length], codes_to_waveform(own_codes, torch.tensor([length]), FAST, dtype=dtype)[0]
        )
        assert not row[length:].any()


def test_silence_decodes_to_less_than_a_16_bit_step():
    silence = codes_to_waveform(torch.zeros(1, 80, 100, dtype=torch.int64), torch.tensor([32000]), CONFIG)
    assert silence.abs().max() < 1 / 32768


def test_one_frame_of_one_sample_decodes():
    codes, num_samples = encode(torch.tensor([0.5]))
    assert codes_to_waveform(codes, num_samples, CONFIG).shape == (1, 1)


@pytest.mark.parametrize("hop_length", [80, 100, 160])
def test_the_inverse_transform_undoes_the_transform(hop_length, speech):
    stft = inversion.ShortTimeTransform(30, hann_window(512), hop_length)
    waveform = torch.tensor(speech(30 * hop_length))
    again = stft.inverse(stft.forward(waveform))
    inner = slice(512, -512)
    torch.testing.assert_close(again[inner], waveform[inner], rtol=0, atol=1e-12)


def test_mel_values_between_frames_follow_a_cubic_through_the_frames():
    config = DMelConfig(synthesis_hop_length=320, synthesis_window_length=1024)
    codes = torch.randint(0, 16, (80, 9), generator=torch.Generator().manual_seed(0))
    tables = inversion.transform_tables(config, torch.float64, torch.device("cpu"))
    mel = inversion.mel_magnitudes(codes, 2, 7, tables, config)
    torch.testing.assert_close(20 * mel.log10().T, tables.magnitudes_db[codes[:, 2:7]])
    steady = inversion.mel_magnitudes(codes[:, :1], 0, 1, tables, CONFIG)
    assert steady.shape == (4, 80)
    torch.testing.assert_close(20 * steady.log10(), tables.magnitudes_db[codes[:, 0]].expand(4, -1))


@pytest.mark.parametrize(
    ("codes", "num_samples", "message"),
    [
        (torch.zeros(1, 8, 2, dtype=torch.int64), [10], r"shape \(batch, 80, frames\) .* \(1, 8, 2\)"),
        (torch.zeros(1, 80, 2), [10], "type int64, but has .* torch.float32"),
        (torch.full((1, 80, 2), 16), [10], "must be from 0 to 15, but range from 16 to 16"),
        (torch.full((1, 80, 2), -1), [10], "must be from 0 to 15, but range from -1 to -1"),
        (torch.zeros(1, 80, 2, dtype=torch.int64), [641], r"from 1 to 640, .* 2 frames, but is \[641\]"),
        (torch.zeros(1, 80, 2, dtype=torch.int64), [0], r"must hold 1 lengths from 1 to 640"),
    ],
)
def test_wrong_codes_are_refused(codes, num_samples, message):
    with pytest.raises(ValueError, match=message):
        codes_to_waveform(codes, torch.tensor(num_samples), CONFIG)
