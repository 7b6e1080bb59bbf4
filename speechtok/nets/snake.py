"""The Snake activation: x + sin²(αx) / α, with α per channel.

Source: Liu, Hartwig and Ueda 2020, Neural Networks Fail to Learn Periodic Functions, arXiv:2006.08195,
equation 3; as an activation of codecs with α linear in `alpha` and 1e-9 added to the divisor: Kumar et al. 2023,
arXiv:2306.06546.

Conventions: signals are `(batch, frames, channels)`. Memory, not arithmetic, limits this operation, so without
gradients it runs on pieces that stay in a core's cache.

Contents: `Snake`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_PIECE = 65_536
"""Values computed at once on the CPU."""
_LEAST = 1e-9
"""Added to α before dividing by it."""


class Snake(nn.Module):
    """Snake with linear α. Entry: `alpha` `(1, channels, 1)`, 1 at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation of `x`, `(batch, frames, channels)`."""
        alpha = self.alpha.view(-1)
        gain = (alpha + _LEAST).reciprocal()
        if torch.is_grad_enabled():
            return x + gain * torch.sin(alpha * x).square()
        out = torch.empty_like(x)
        size = x.shape[1] if x.device.type != "cpu" else max(1, _PIECE // max(1, x.shape[0] * x.shape[2]))
        for piece, target in zip(torch.split(x, size, dim=1), torch.split(out, size, dim=1), strict=True):
            sine = (piece * alpha).sin_()
            torch.addcmul(piece, sine.mul_(sine), gain, out=target)
        return out
