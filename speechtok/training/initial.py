"""First values of layers that PyTorch does not fill.

Source: He et al. 2015, Delving Deep into Rectifiers, arXiv:1502.01852, with slope √5: the defaults of PyTorch's layers.

Contents: `draw_convolutions`.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from speechtok.nets.weight_norm import WeightNormConv1d, WeightNormConvTranspose1d, lengths_of


@torch.no_grad()
def draw_convolutions(network: nn.Module) -> None:
    """Draw weights and biases of every convolution with weight norm, from torch's random numbers."""
    for part in network.modules():
        if isinstance(part, (WeightNormConv1d, WeightNormConvTranspose1d)):
            _draw(part)


def _draw(layer: WeightNormConv1d | WeightNormConvTranspose1d) -> None:
    """Draw uniform weights and biases; with weight norm the length starts as that of the direction."""
    direction = layer.weight_v if hasattr(layer, "weight_v") else layer.weight
    nn.init.kaiming_uniform_(direction, a=math.sqrt(5))
    bound = 1 / math.sqrt(direction[0].numel())
    nn.init.uniform_(layer.bias, -bound, bound)
    if hasattr(layer, "weight_v"):
        layer.weight_g.copy_(lengths_of(direction))
