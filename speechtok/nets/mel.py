"""Mel filters.

Source: Slaney 1998, Auditory Toolbox, Interval Research technical report 1998-010, `mfcc`; O'Shaughnessy 1987, Speech
Communication (the scale of HTK).

Contents: `slaney_filters`, `htk_filters`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def slaney_filters(
    num_channels: int,
    *,
    fft_length: int,
    sample_rate: int,
    min_hz: float,
    max_hz: float,
    equal_area: bool = False,
) -> Tensor:
    """Return triangular filters of height 1, equally spaced on Slaney's mel scale.

    The scale is linear up to 1000 Hz (15 mel) and logarithmic above, 27 mel to a factor of 6.4.

    Args:
        num_channels: number of filters.
        fft_length: points of the Fourier transform whose bins are weighted.
        sample_rate: Hz.
        min_hz: where the first filter begins.
        max_hz: where the last filter ends.
        equal_area: whether each is divided by half its width in Hz, as librosa does unless told otherwise.

    Returns:
        `(bins, channels)`, float64, at least 0, with `bins` = `fft_length / 2 + 1`.
    """
    mel = torch.linspace(_hz_to_mel(min_hz), _hz_to_mel(max_hz), num_channels + 2, dtype=torch.float64)
    hz = torch.where(mel < 15, mel * 200 / 3, 1000 * torch.exp((mel - 15) * (math.log(6.4) / 27)))
    low, centre, high = hz[:-2], hz[1:-1], hz[2:]
    bins_hz = torch.arange(fft_length // 2 + 1, dtype=torch.float64)[:, None] * sample_rate / fft_length
    rising, falling = (bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre)
    filters = torch.minimum(rising, falling).clamp(min=0)
    return filters * (2 / (high - low)) if equal_area else filters


def htk_filters(
    num_channels: int, *, fft_length: int, sample_rate: int, min_hz: float, max_hz: float
) -> Tensor:
    """Return triangular filters of height 1, equally spaced on HTK's mel scale, 2595 · log10(1 + Hz / 700).

    They are computed in float32, in the order in which torchaudio does: to the bit the filters in published files.

    Args:
        num_channels: as for `slaney_filters`, like the others.
        fft_length: points of the Fourier transform.
        sample_rate: Hz.
        min_hz: where the first filter begins.
        max_hz: where the last filter ends.

    Returns:
        `(bins, channels)`, float32, in [0, 1].
    """
    low, high = (2595 * math.log10(1 + hz / 700) for hz in (min_hz, max_hz))
    hz = 700 * (10 ** (torch.linspace(low, high, num_channels + 2) / 2595) - 1)
    width = hz[1:] - hz[:-1]
    distance = hz - torch.linspace(0, sample_rate // 2, fft_length // 2 + 1)[:, None]
    return torch.minimum(-distance[:, :-2] / width[:-1], distance[:, 2:] / width[1:]).clamp(min=0)


def _hz_to_mel(hz: float) -> float:
    return hz * 3 / 200 if hz < 1000 else 15 + math.log(hz / 1000) * 27 / math.log(6.4)
