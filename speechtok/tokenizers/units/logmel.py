"""Log-mel features of Kaldi's kind, the reader that needs no weights.

Source: Povey et al. 2011, The Kaldi Speech Recognition Toolkit, ASRU (`compute-fbank-feats`), with 80 bands and
the other options at their defaults; Lakhotia et al. 2021, GSLM, arXiv:2102.01192, section 2.1.

Conventions: waveforms are `(batch, samples)` at 16 kHz in [-1, 1]; features are `(batch, frames, 80)`. A frame
depends on its own 400 samples only, so batches and chunks cannot change it.

Contents: `LogMel`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_WINDOW = 400
_HOP = 160
_FFT = 512
_PRE_EMPHASIS = 0.97
_MIN_HZ = 20.0
_FLOOR = float(torch.finfo(torch.float32).eps)
"""Smallest energy, also in float64."""


class LogMel(nn.Module):
    """25 ms windows every 10 ms, natural logarithm of 80 mel bands from 20 Hz to 8 kHz. No entries."""

    hop_length = _HOP
    min_samples = _WINDOW
    window: Tensor
    bank: Tensor

    def __init__(self, channels: int = 80, sample_rate: int = 16_000) -> None:
        super().__init__()
        self.channels = channels
        # float64 buffers: `forward` brings them to the type of its input
        hann = torch.hann_window(_WINDOW, periodic=False, dtype=torch.float64)
        self.register_buffer("window", hann**0.85, persistent=False)
        self.register_buffer("bank", _mel_bank(channels, sample_rate), persistent=False)

    def num_frames(self, num_samples: int) -> int:
        """Return the frames that lie wholly inside `num_samples` samples."""
        return max(0, (num_samples - _WINDOW) // _HOP + 1)

    def forward(self, waveform: Tensor, num_samples: Tensor) -> Tensor:
        """Return log energies.

        Args:
            waveform: `(batch, samples)`, at least 400 samples.
            num_samples: `(batch,)`, int64, valid samples of each.

        Returns:
            `(batch, frames, channels)`; past an utterance's `num_frames` the values mean nothing.
        """
        dtype = waveform.dtype
        frames = waveform.unfold(1, _WINDOW, _HOP)  # (batch, frames, window)
        frames = frames - frames.mean(dim=2, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], dim=2)
        frames = (frames - _PRE_EMPHASIS * before) * self.window.to(dtype)
        power = torch.fft.rfft(frames, n=_FFT).abs().square()
        energy: Tensor = power @ self.bank.to(dtype)
        return energy.clamp(min=_FLOOR).log()


def _mel_bank(channels: int, sample_rate: int) -> Tensor:
    """Return triangles on the mel axis, `(fft bins, channels)`, float64; the bin at Nyquist belongs to none."""

    def mel(hz: Tensor) -> Tensor:
        return 1127.0 * torch.log1p(hz / 700.0)

    edges = mel(torch.tensor([_MIN_HZ, sample_rate / 2], dtype=torch.float64))
    points = torch.linspace(float(edges[0]), float(edges[1]), channels + 2, dtype=torch.float64)
    bins = mel(torch.arange(_FFT // 2 + 1, dtype=torch.float64) * sample_rate / _FFT)[:, None]
    left, center, right = points[:-2], points[1:-1], points[2:]
    bank = torch.minimum((bins - left) / (center - left), (right - bins) / (right - center)).clamp(min=0)
    bank[-1] = 0
    return bank
