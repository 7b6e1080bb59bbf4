"""The stack of gated convolutions that reads prosody, and that prepares codes for the redecoder.

Source: van den Oord et al. 2016, WaveNet, arXiv:1609.03499, section 2.3 and equation 2; one conditioning
layer for all as in Prenger et al. 2018, WaveGlow, arXiv:1811.00002; entry names as in `Plachtaa/FAcodec`.

Conventions: signals are `(batch, frames, channels)`.

Contents: `WaveNet`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechtok.nets.reflect_conv import ReflectConv1d

KERNEL_SIZE = 5
"""Frames that a layer sees, four of them besides its own."""


class WaveNet(nn.Module):
    """Gated convolutions whose outputs add up. Entries: `in_layers.N`, `res_skip_layers.N`, `cond_layer`.

    Args:
        channels: in, inside and out.
        layers: number of convolutions.
        causal: whether they look back only.
        condition_channels: channels of a vector that is given to every frame of every layer; 0 for none.
    """

    def __init__(self, channels: int, layers: int, *, causal: bool, condition_channels: int = 0) -> None:
        super().__init__()
        self.channels = channels
        if condition_channels:
            self.cond_layer = ReflectConv1d(condition_channels, 2 * channels * layers, 1, causal=causal)
        self.in_layers = nn.ModuleList(
            ReflectConv1d(channels, 2 * channels, KERNEL_SIZE, causal=causal) for _ in range(layers)
        )
        self.res_skip_layers = nn.ModuleList(
            ReflectConv1d(channels, channels * (1 if last else 2), 1, causal=causal)
            for last in [False] * (layers - 1) + [True]
        )

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return the sum of the layers' outputs.

        Args:
            x: `(batch, frames, channels)`.
            condition: `(batch, condition_channels)`; None for a stack without.

        Returns:
            `(batch, frames, channels)`.
        """
        added: tuple[Tensor | float, ...] = (0.0,) * len(self.in_layers)
        if condition is not None:
            added = self.cond_layer(condition[:, None]).chunk(len(self.in_layers), dim=-1)
        total = torch.zeros_like(x)
        for gate, out, offset in zip(self.in_layers, self.res_skip_layers, added, strict=True):
            value, weight = (gate(x) + offset).chunk(2, dim=-1)
            y = out(torch.tanh(value) * torch.sigmoid(weight))
            if y.shape[-1] > self.channels:
                change, y = y.chunk(2, dim=-1)
                x = x + change
            total = total + y
        return total
