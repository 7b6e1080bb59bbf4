"""What FunCodec's stacks hold beside plain convolutions.

Source: Défossez et al. 2022, EnCodec, arXiv:2210.13438, section 3.1 (stack of residual convolutions and
an LSTM); repository `modelscope/FunCodec`, `funcodec/models`.

Conventions: `x`, `lengths` and what a layer returns are as in `convolutions`.

Contents: `ResidualBlock`, `Lstm`, `Elu`, `SqueezeFrequency`, `UnsqueezeFrequency`, `groups_for`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechtok.tokenizers.funcodec import kernels
from speechtok.tokenizers.funcodec.convolutions import Conv, Shared
from speechtok.tokenizers.funcodec.pending import Layer, Pending, Signal, added, settled


class ResidualBlock(Layer):
    """ELU, convolution, ELU, 1×1 convolution, around them a shortcut. Entries: `block.N`, `shortcut`.

    Args:
        channels: in and out.
        kernel_size: of the first convolution, per axis.
        dilation: of the first convolution, along time.
        compress: how many times fewer channels lie in between.
        true_skip: whether the shortcut is the identity.
        group_ratio: see `groups_for`.
        causal: as in `Conv`.
        num_groups: as in `Conv`.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: Sequence[int],
        *,
        dilation: int,
        compress: int,
        true_skip: bool,
        group_ratio: int,
        causal: bool,
        num_groups: int,
    ) -> None:
        super().__init__()
        hidden, point = channels // compress, (1,) * len(kernel_size)
        inner = groups_for(min(channels, hidden), group_ratio)
        shared = Shared(causal=causal, num_groups=num_groups)
        self.block = nn.ModuleList(
            [
                Elu(keep=True),
                Conv(channels, hidden, kernel_size, dilation=dilation, groups=inner, **shared),
                Elu(),
                Conv(hidden, channels, point, groups=inner, **shared),
            ]
        )
        if true_skip:
            self.shortcut: Conv | None = None
        else:
            self.shortcut = Conv(
                channels, channels, point, groups=groups_for(channels, group_ratio), **shared
            )

    def run(self, x: Signal, lengths: Tensor | None) -> tuple[Signal, Tensor | None]:
        """Return shortcut plus block, of the shape of `x`."""
        y = x
        for layer in self.block:
            y, _ = layer.run(y, lengths)  # type: ignore[operator]
        if self.shortcut is not None:
            x, _ = self.shortcut.run(x, lengths)
        return added(x, y), lengths


class Lstm(Layer):
    """LSTM over frames, from a zero state, with its input added. Entries: `lstm`."""

    def __init__(self, channels: int, layers: int, skip: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, layers)
        self.skip = skip
        self._packed: kernels.PackedLstm | None = None

    @property
    def is_packed(self) -> bool:
        """Whether the kernel computes it, one utterance at a time."""
        return self._packed is not None

    def fold_constants(self) -> None:
        """Lay the weights out as the kernel reads them, where there is one."""
        with torch.no_grad():
            usable = kernels.usable(next(self.lstm.parameters()), self.lstm.hidden_size)
        self._packed = kernels.PackedLstm(self.lstm) if usable else None

    def run(self, x: Signal, lengths: Tensor | None) -> tuple[Signal, Tensor | None]:
        """Return `(batch, channels, frames)`; it looks back only, so lengths do not matter."""
        steps = settled(x).permute(2, 0, 1)  # (frames, batch, channels)
        if self._packed is not None and steps.shape[1] == 1 and kernels.usable(steps, steps.shape[2]):
            y = self._packed(steps[:, 0])[:, None]
        else:
            y, _ = self.lstm(steps)
        if self.skip:
            y = y + steps
        return y.permute(1, 2, 0), lengths


class Elu(Layer):
    """max(0, x) + min(0, exp(x) - 1). Source: Clevert et al. 2015, arXiv:1511.07289, equation 15.

    Args:
        keep: whether the input is still needed; otherwise its memory holds the result.
    """

    def __init__(self, *, keep: bool = False) -> None:
        super().__init__()
        self.keep = keep

    def run(self, x: Signal, lengths: Tensor | None) -> tuple[Signal, Tensor | None]:
        """Return the activation, of the shape of `x`."""
        if isinstance(x, Pending):
            return x.active(), lengths
        return functional.elu(x, inplace=not (self.keep or torch.is_grad_enabled())), lengths


class SqueezeFrequency(Layer):
    """Drops the frequency axis, of which one bin is left after the encoder's strides."""

    def run(self, x: Signal, lengths: Tensor | None) -> tuple[Signal, Tensor | None]:
        """Return `(batch, channels, frames)` for `(batch, channels, 1, frames)`."""
        return settled(x).squeeze(2), lengths


class UnsqueezeFrequency(Layer):
    """Adds a frequency axis of one bin."""

    def run(self, x: Signal, lengths: Tensor | None) -> tuple[Signal, Tensor | None]:
        """Return `(batch, channels, 1, frames)` for `(batch, channels, frames)`."""
        return settled(x).unsqueeze(2), lengths


def groups_for(channels: int, ratio: int) -> int:
    """Return the groups of a convolution: 1 when `ratio` is -1, else floor(floor(channels / 2) / ratio)."""
    return 1 if ratio < 0 else channels // 2 // ratio
