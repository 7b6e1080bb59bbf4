"""Durations of units: how many frames each unit of a unit vocoder lasts.

Written from the method described in FastSpeech 2 (arXiv:2006.04558, section 2.3) and
Lee et al. 2022 (arXiv:2107.05604, section 3.3). Inference only, so there is no dropout.

Contents: `DurationPredictor`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DurationPredictor(nn.Module):
    """Frames of each unit, predicted from the vectors of units. Entries: `conv1.0`, `ln1`, `conv2.0`, `ln2`, `proj`.

    Args:
        channels: of the vectors.
        hidden: channels inside.
        kernel: units each convolution sees, an odd number.
    """

    def __init__(self, channels: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.conv1 = _same_conv_relu(channels, hidden, kernel)
        self.ln1 = nn.LayerNorm(hidden)
        self.conv2 = _same_conv_relu(hidden, hidden, kernel)
        self.ln2 = nn.LayerNorm(hidden)
        self.proj = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the frames of each unit, `(batch, units)`, int64, at least 1, for `x` `(batch, units, channels)`."""
        features = _convolve_and_normalise(x, self.conv1, self.ln1)
        features = _convolve_and_normalise(features, self.conv2, self.ln2)
        log_frames_plus_one: Tensor = self.proj(features).squeeze(-1)
        return torch.expm1(log_frames_plus_one).round().long().clamp(min=1)


def _same_conv_relu(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Return a convolution that keeps the length, and a ReLU."""
    return nn.Sequential(nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2), nn.ReLU())


def _convolve_and_normalise(x: Tensor, conv: nn.Sequential, norm: nn.LayerNorm) -> Tensor:
    """Return `x` `(batch, units, channels)` convolved along the units, rectified and normalised over the channels."""
    normalised: Tensor = norm(conv(x.mT).mT)
    return normalised
