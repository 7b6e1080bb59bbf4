"""The residual unit of convolutional codecs, whatever its activations and convolutions are.

Source: Zeghidour et al. 2021, SoundStream, arXiv:2107.03312, section 3.1 (dilations 1, 3, 9); Kumar et al.
2023, arXiv:2306.06546, section 3.1 (a periodic activation before each convolution).

Conventions: signals are `(batch, frames, channels)`.

Contents: `ResidualUnit`, `DILATIONS`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

DILATIONS = (1, 3, 9)
"""Dilations of the residual units of a block."""


class ResidualUnit(nn.Module):
    """x + pointwise(second(dilated(first(x)))). Entries: `block.0` … `block.3`.

    Args:
        first: activation.
        dilated: convolution that keeps the number of frames.
        second: activation.
        pointwise: convolution that sees one frame.
    """

    def __init__(self, first: nn.Module, dilated: nn.Module, second: nn.Module, pointwise: nn.Module) -> None:
        super().__init__()
        self.block = nn.ModuleList([first, dilated, second, pointwise])

    def forward(self, x: Tensor, num_valid: Tensor | None = None) -> Tensor:
        """Return `(batch, frames, channels)` for `x` of the same shape.

        Args:
            x: `(batch, frames, channels)`.
            num_valid: `(batch,)`, int64, for activations that need to know where an item ends.
        """
        known = () if num_valid is None else (num_valid,)
        first, dilated, second, pointwise = self.block
        y = pointwise(second(dilated(first(x, *known)), *known))
        added: Tensor = x + y if torch.is_grad_enabled() else y.add_(x)
        return added
