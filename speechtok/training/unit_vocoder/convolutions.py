"""Convolutions of discriminators, under weight norm or spectral norm, with the entry names of published files.

Sources: Salimans and Kingma 2016, arXiv:1602.07868, equation 2; Miyato et al. 2018, Spectral Normalization for
Generative Adversarial Networks, arXiv:1802.05957, section 2.1 and algorithm 1.

Conventions: kernels of one size convolve `(batch, channels, frames)`, of two sizes `(batch, channels, height, width)`.

Contents: `WeightNormConv`, `SpectralNormConv`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechtok.nets.weight_norm import lengths_of, normed_weight

_LEAST = 1e-12
"""Norms below this count as this."""


class _Conv(nn.Module, ABC):
    def __init__(self, channels: int, kernel: Sequence[int], stride: Sequence[int], groups: int) -> None:
        super().__init__()
        self.stride, self.groups = tuple(stride), groups
        self.padding = tuple(size // 2 for size in kernel)
        self.bias = nn.Parameter(torch.zeros(channels))

    def _draw(self, weight: Tensor) -> None:
        """Draw first values as PyTorch's own layers do."""
        nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
        bound = 1 / math.sqrt(weight[0].numel())
        nn.init.uniform_(self.bias, -bound, bound)

    @abstractmethod
    def _weight(self) -> Tensor:
        """Return the weight that acts, `(channels, channels_in / groups, *kernel)`."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution, padded with zeros by half a kernel."""
        convolve = functional.conv1d if len(self.stride) == 1 else functional.conv2d
        y: Tensor = convolve(x, self._weight(), self.bias, self.stride, self.padding, 1, self.groups)
        return y


class WeightNormConv(_Conv):
    """Weights as length and direction. Entries: `weight_g`, `weight_v`, `bias`."""

    def __init__(
        self,
        channels_in: int,
        channels: int,
        kernel: Sequence[int],
        stride: Sequence[int],
        groups: int = 1,
    ) -> None:
        super().__init__(channels, kernel, stride, groups)
        self.weight_v = nn.Parameter(torch.empty(channels, channels_in // groups, *kernel))
        self._draw(self.weight_v)
        self.weight_g = nn.Parameter(lengths_of(self.weight_v).detach())

    def _weight(self) -> Tensor:
        return normed_weight(self.weight_g, self.weight_v)


class SpectralNormConv(_Conv):
    """Weights divided by their largest singular value, which each use in training estimates a little better.

    Entries: `weight_orig`, `weight_u`, `weight_v` (the singular vectors), `bias`.
    """

    weight_u: Tensor
    weight_v: Tensor

    def __init__(
        self,
        channels_in: int,
        channels: int,
        kernel: Sequence[int],
        stride: Sequence[int],
        groups: int = 1,
    ) -> None:
        super().__init__(channels, kernel, stride, groups)
        self.weight_orig = nn.Parameter(torch.empty(channels, channels_in // groups, *kernel))
        self._draw(self.weight_orig)
        self.register_buffer("weight_u", _unit(torch.randn(channels)))
        self.register_buffer("weight_v", _unit(torch.randn(self.weight_orig[0].numel())))

    def _weight(self) -> Tensor:
        matrix = self.weight_orig.flatten(1)
        u, v = self.weight_u, self.weight_v
        if self.training:
            with torch.no_grad():
                v = _unit(matrix.T @ u)
                u = _unit(matrix @ v)
                self.weight_u.copy_(u)
                self.weight_v.copy_(v)
        return self.weight_orig / (u @ (matrix @ v))


def _unit(vector: Tensor) -> Tensor:
    return functional.normalize(vector, dim=0, eps=_LEAST)
