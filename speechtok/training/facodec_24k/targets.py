"""What the predictors must say, from audio alone.

Source: `Plachtaa/FAcodec`: a mel spectrogram, loudness from it, and F0 on a logarithmic scale, standardised for each
clip.

Conventions: frames are those of the codec, 300 samples; F0 is in Hz, at most 5 where unvoiced.

Contents: `TargetMel`, `energy_of`, `normalize_f0`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechtok.nets.mel import htk_filters
from speechtok.tokenizers.facodec_24k.mel import MEAN, SCALE, LogMel

LEAST_HZ = 5.0
"""F0 at or below this is unvoiced."""
UNVOICED = -10.0
"""Target of unvoiced frames."""
_FILTER_RATE = 16_000
"""Hz that the filters are built for, although audio has 24 kHz: so were those the F0 network was trained on."""


class TargetMel(nn.Module):
    """Log-mel spectrogram that loudness and the F0 network are read from.

    Frame t is centred on sample `hop_length * t`, the ends mirrored.

    Args:
        hop_length: samples per frame.
        fft_length: points of the Fourier transform.
        window_length: samples of the window.
        num_mels: bands.
    """

    def __init__(self, hop_length: int, fft_length: int, window_length: int, num_mels: int) -> None:
        super().__init__()
        self.log_mel = LogMel(hop_length, fft_length, window_length, num_mels)
        self.log_mel.mel_scale.fb = htk_filters(
            num_mels, fft_length=fft_length, sample_rate=_FILTER_RATE, min_hz=0.0, max_hz=_FILTER_RATE / 2
        )

    def forward(self, waveform: Tensor) -> Tensor:
        """Return `(batch, samples // hop_length + 1, num_mels)` for `waveform` `(batch, samples)`."""
        mel: Tensor = self.log_mel(waveform, 0, waveform.shape[-1] // self.log_mel.hop_length + 1)
        return mel


def energy_of(mel: Tensor) -> Tensor:
    """Return the logarithm of loudness, `(batch, frames)`, of a `TargetMel` `(batch, frames, num_mels)`."""
    loudness: Tensor = torch.linalg.vector_norm((SCALE * mel + MEAN).exp(), dim=-1)
    return loudness.log()


def normalize_f0(f0_hz: Tensor) -> Tensor:
    """Return F0 as predictors are asked for it: log2, with mean 0 and deviation 1 over the clip's voiced frames.

    Args:
        f0_hz: `(batch, frames)`.

    Returns:
        `(batch, frames)`; −10 where unvoiced, and throughout a clip in which less than two frames are voiced or
        all have the same F0.
    """
    is_voiced = f0_hz > LEAST_HZ
    values = f0_hz.clamp(min=LEAST_HZ).log2()
    count = is_voiced.sum(dim=1, keepdim=True)
    mean = (values * is_voiced).sum(dim=1, keepdim=True) / count.clamp(min=1)
    variance = ((values - mean).square() * is_voiced).sum(dim=1, keepdim=True) / (count - 1).clamp(min=1)
    normal = (values - mean) / variance.sqrt()
    return torch.where(is_voiced & normal.isfinite(), normal, UNVOICED)
