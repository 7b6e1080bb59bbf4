"""The constant tables of dMel: the window, the mel filters and the grid of levels, in float64.

Contents:
    `hann_window`, `mel_filters`, `level_edges`, `level_values_db`.
"""

import math

import torch
from torch import Tensor

from speechtok.nets.mel import slaney_filters
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
    """Return the filters of the channels over the bins of a Fourier transform, `(bins, channels)`, float64."""
    return slaney_filters(
        config.num_channels,
        fft_length=fft_length,
        sample_rate=config.sample_rate,
        min_hz=config.min_hz,
        max_hz=config.max_hz,
    )
