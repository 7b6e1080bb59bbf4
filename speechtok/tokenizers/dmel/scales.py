"""The constant tables of dMel: the window, the mel filters and the grid of levels, in float64.

Contents:
    `hann_window`, `mel_filters`, `level_edges`, `level_values_db`.
"""

import math

import torch
from torch import Tensor

from speechtok.tokenizers.dmel.config import DMelConfig


def level_values_db(config: DMelConfig) -> Tensor:
    """Return the mel value that each level stands for in synthesis.

    The middle of the level, `min_db + (level + 0.5) * step_db`, but `silence_db` for level 0.

    Args:
        config: which grid.

    Returns:
        `(levels,)`, float64, in dB.
    """
    values = config.min_db + (torch.arange(config.num_levels, dtype=torch.float64) + 0.5) * config.step_db
    values[0] = config.silence_db
    return values


def level_edges(config: DMelConfig) -> Tensor:
    """Return the smallest magnitude of each level but the lowest.

    Comparing magnitudes with these constants equals rounding the logarithm, and needs no logarithm.

    Args:
        config: which grid.

    Returns:
        `(levels - 1,)`, float64, increasing.
    """
    edges_db = config.min_db + torch.arange(1, config.num_levels, dtype=torch.float64) * config.step_db
    return torch.pow(10.0, edges_db / 20)


def hann_window(length: int) -> Tensor:
    """Return a Hann window that is symmetric about its middle and sums to 2.

    Args:
        length: samples, at least 2.

    Returns:
        `(length,)`, float64.
    """
    middle = torch.arange(length, dtype=torch.float64) + 0.5
    return (1 - torch.cos(2 * math.pi * middle / length)) * (2 / length)


def mel_filters(config: DMelConfig, fft_length: int) -> Tensor:
    """Return triangular filters of height 1, equally spaced on Slaney's mel scale.

    The scale is linear up to 1000 Hz (15 mel) and logarithmic above, 27 mel to a factor of 6.4.

    Args:
        config: number of filters and their frequency range.
        fft_length: points of the Fourier transform whose bins are weighted.

    Returns:
        `(bins, channels)`, float64, in [0, 1], with `bins` = `fft_length / 2 + 1`.

    Source:
        Slaney 1998, Auditory Toolbox, Interval Research technical report 1998-010, `mfcc`.
    """
    ends = [_hz_to_mel(config.min_hz), _hz_to_mel(config.max_hz)]
    mel = torch.linspace(ends[0], ends[1], config.num_channels + 2, dtype=torch.float64)
    hz = torch.where(mel < 15, mel * 200 / 3, 1000 * torch.exp((mel - 15) * (math.log(6.4) / 27)))
    low, centre, high = hz[:-2], hz[1:-1], hz[2:]
    bins = torch.arange(fft_length // 2 + 1, dtype=torch.float64)[:, None]
    bins_hz = bins * config.sample_rate / fft_length
    rising, falling = (bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre)
    return torch.minimum(rising, falling).clamp(min=0)


def _hz_to_mel(hz: float) -> float:
    return hz * 3 / 200 if hz < 1000 else 15 + math.log(hz / 1000) * 27 / math.log(6.4)
