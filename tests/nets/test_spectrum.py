"""Short-time spectra against torch's own, and stretches of a signal against the whole."""

import pytest
import torch

from speechtok.nets.spectrum import centred, log_mel, magnitude, power, spectra, stretch_of

SIZE, HOP, BEFORE = 64, 24, 20


@pytest.fixture
def waveform():
    return torch.randn(2, 500, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_spectra_are_those_of_torch(waveform):
    window = torch.hann_window(SIZE)
    expected = torch.stft(waveform, SIZE, HOP, window=window.double(), return_complex=True).transpose(1, 2)
    found = spectra(centred(waveform, SIZE), window, HOP)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(magnitude(found), expected.abs(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(power(found), expected.abs().square(), rtol=1e-12, atol=1e-12)
    assert spectra(waveform, window, HOP, fft_length=128).shape == (2, (500 - SIZE) // HOP + 1, 65)


def test_stretches_hold_the_frames_of_the_whole(waveform):
    last = 500 // HOP + 1
    whole = stretch_of(waveform, 0, last, size=SIZE, hop_length=HOP, before=BEFORE)
    assert torch.equal(whole[:, BEFORE : BEFORE + 500], waveform)
    assert torch.equal(whole[:, :BEFORE], waveform[:, 1 : BEFORE + 1].flip(1))
    frames = whole.unfold(1, SIZE, HOP)
    assert frames.shape[1] == last
    for first, stop in ((0, 3), (3, 9), (last - 4, last), (last - 1, last)):
        start = max(0, HOP * first - SIZE)
        end = min(500, HOP * stop + SIZE)
        part = stretch_of(
            waveform[:, start:end], first, stop, size=SIZE, hop_length=HOP, before=BEFORE, start=start,
            is_end=end == 500,
        )  # fmt: skip
        assert torch.equal(part.unfold(1, SIZE, HOP), frames[:, first:stop])


def test_log_mel_has_a_floor_and_gradients_in_silence():
    silence = torch.zeros(1, 256, requires_grad=True)
    filters = torch.eye(SIZE // 2 + 1, dtype=torch.float64)
    mel = log_mel(silence, torch.hann_window(SIZE), filters, HOP)
    torch.testing.assert_close(mel, torch.full_like(mel, 1e-9**0.5).log())
    assert float(log_mel(silence.detach(), torch.hann_window(SIZE), 0 * filters, HOP).max()) == pytest.approx(
        -11.5129, abs=1e-3
    )
    mel.sum().backward()
    assert bool(silence.grad.isfinite().all())
