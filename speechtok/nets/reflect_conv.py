"""Convolutions over mirrored ends, as EnCodec pads them, which may look back only.

Source: Défossez et al. 2022, EnCodec, arXiv:2210.13438, section 3.1 and its released layers, whose entry names
(`conv.conv`, `convtr.convtr`) these keep.

Conventions: signals are `(batch, frames, channels)`. With reach k = (kernel_size - 1) · dilation + 1, a
convolution pads k - stride frames, all on the left when it is causal, else the smaller half on the right, and on
the right as many more as complete the last stride: `ceil(frames / stride)` come out. The padding mirrors the
signal without repeating its end point (`nets.padding`), so the first frames of a causal convolution do depend
on frames that follow. A transposed convolution pads nothing and cuts one stride.

Contents: `ReflectConv1d`, `TrimmedConvTranspose1d`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechtok.nets.padding import reflect_pad
from speechtok.nets.weight_norm import WeightNormConv1d, WeightNormConvTranspose1d


class ReflectConv1d(nn.Module):
    """Convolution over mirrored ends. Entries: `conv.conv`.

    Args:
        in_channels: channels in.
        out_channels: channels out.
        kernel_size: frames of the kernel.
        stride: frames between windows.
        dilation: frames between taps.
        causal: whether it looks back only.
        normed: whether the weight is stored with weight norm.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        causal: bool = True,
        normed: bool = True,
    ) -> None:
        super().__init__()
        self.stride = stride
        excess = (kernel_size - 1) * dilation + 1 - stride
        self.after = 0 if causal else excess // 2
        self.before = excess - self.after
        """Frames padded on the left, which are also those to remember from piece to piece."""
        self.conv = nn.Module()
        self.conv.conv = WeightNormConv1d(
            in_channels, out_channels, kernel_size, stride=stride, dilation=dilation, normed=normed
        )

    def forward(self, x: Tensor, past: Tensor | None = None) -> Tensor:
        """Return the convolution.

        Args:
            x: `(batch, frames, in_channels)`.
            past: `(batch, before, in_channels)`, the frames that precede `x`; None mirrors its start. Only
                for causal convolutions of stride 1.

        Returns:
            `(batch, ceil(frames / stride), out_channels)`.
        """
        extra = -x.shape[1] % self.stride
        y: Tensor = self.conv.conv(self._pad(x, past, self.after + extra))  # type: ignore[operator]
        return y

    def _pad(self, x: Tensor, past: Tensor | None, after: int) -> Tensor:
        if self.before == after == 0:
            return x
        if past is None:
            return reflect_pad(x.transpose(1, 2), self.before, after).transpose(1, 2)
        return torch.cat([past, x], dim=1)


class TrimmedConvTranspose1d(nn.Module):
    """Transposed convolution of kernel `2 * stride`, less one stride. Entries: `convtr.convtr`.

    Args:
        in_channels: channels in.
        out_channels: channels out.
        stride: how many times more frames come out.
        causal: whether all that is cut is cut from the right.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, *, causal: bool = True) -> None:
        super().__init__()
        self.stride = stride
        self.first = 0 if causal else stride - stride // 2
        self.convtr = nn.Module()
        self.convtr.convtr = WeightNormConvTranspose1d(in_channels, out_channels, 2 * stride, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(batch, stride * frames, out_channels)` for `x` `(batch, frames, in_channels)`."""
        y: Tensor = self.convtr.convtr(x)  # type: ignore[operator]
        return y[:, self.first : self.first + self.stride * x.shape[1]]
