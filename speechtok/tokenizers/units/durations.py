"""How many frames each unit of a sequence without repetitions lasts.

Source: Lee et al. 2022, Direct Speech-to-Speech Translation with Discrete Units, arXiv:2107.05604, section 3.3, after the
predictor of Ren et al. 2021, FastSpeech 2, arXiv:2006.04558, section 2.3: two convolutions, each with a rectifier and a
layer norm, and a projection to ln(frames + 1). Entry names as in the unit vocoders that fairseq published.

Contents: `DurationPredictor`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DurationPredictor(nn.Module):
    """Entries: `conv1.0`, `ln1`, `conv2.0`, `ln2`, `proj`.

    Args:
        channels: of the vectors of units.
        hidden: channels inside.
        kernel: frames each convolution sees, an odd number.
    """

    def __init__(self, channels: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv1d(channels, hidden, kernel, padding=kernel // 2), nn.ReLU())
        self.ln1 = nn.LayerNorm(hidden)
        self.conv2 = nn.Sequential(nn.Conv1d(hidden, hidden, kernel, padding=kernel // 2), nn.ReLU())
        self.ln2 = nn.LayerNorm(hidden)
        self.proj = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the frames of each unit, `(batch, units)`, int64, at least 1, of vectors `(batch, units, channels)`."""
        x = self.ln1(self.conv1(x.transpose(1, 2)).transpose(1, 2))
        x = self.ln2(self.conv2(x.transpose(1, 2)).transpose(1, 2))
        return torch.expm1(self.proj(x)[..., 0]).round().long().clamp(min=1)
