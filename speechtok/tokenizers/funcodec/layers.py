"""Layers of FunCodec's stacks, over time or over frequency and time, for utterances of unequal length.

Source: Défossez et al. 2022, EnCodec, arXiv:2210.13438, section 3.1 (stack of residual convolutions and
an LSTM); Wu and He 2018, arXiv:1803.08494 (group norm); repository `modelscope/FunCodec`,
`funcodec/models`.

Conventions: `x` is `(batch, channels, frames)` or `(batch, channels, frequency, frames)`. `lengths` is
None when every item fills the last axis, else `(batch,)` valid frames on the device of `x`; what lies
beyond an item's length is arbitrary but finite, and no valid frame of a result depends on it: padding
mirrors each item at its own end, and group norm counts valid frames only. Each layer returns its
output and the lengths of that.

Contents: `Conv`, `ConvTranspose`, `ResidualBlock`, `Lstm`, `Elu`, `SqueezeFrequency`,
`UnsqueezeFrequency`, `reflect_pad`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-5
"""Added to the variance in group norm."""

Output = tuple[Tensor, Tensor | None]
"""A layer's output and its lengths."""


class Shared(TypedDict):
    """Options that all convolutions of a stack share."""

    causal: bool
    """Whether they look back only."""
    num_groups: int
    """Groups of their norms; 0 for none."""


class Conv(nn.Module):
    """Convolution with reflected ends, then group norm. Entries: `conv.conv`, `conv.norm`.

    It has `ceil(frames / stride)` output frames. Over one axis the samples that complete the last
    window are added on the right; over two axes they are added on the left of time, and frequency is
    never completed.

    Args:
        in_channels: channels in.
        out_channels: channels out.
        kernel_size: per axis.
        stride: per axis.
        dilation: along time.
        groups: of the convolution.
        causal: whether the ends are padded in the past only.
        num_groups: groups of the norm; 0 for none.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sequence[int],
        *,
        stride: Sequence[int] | None = None,
        dilation: int = 1,
        groups: int = 1,
        causal: bool = False,
        num_groups: int = 1,
    ) -> None:
        super().__init__()
        axes = len(kernel_size)
        self.stride = tuple(stride or (1,) * axes)
        self.dilation = (*(1,) * (axes - 1), dilation)
        self.causal = causal
        kind = nn.Conv1d if axes == 1 else nn.Conv2d
        inner = kind(
            in_channels,
            out_channels,
            tuple(kernel_size),  # type: ignore[arg-type]
            self.stride,  # type: ignore[arg-type]
            dilation=self.dilation,  # type: ignore[arg-type]
            groups=groups,
        )
        self.conv = _Normed("conv", inner, num_groups, out_channels)
        self.excess = [
            (k - 1) * d - (s - 1) for k, d, s in zip(kernel_size, self.dilation, self.stride, strict=True)
        ]

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Output:
        """Return the normalised convolution, `(batch, out_channels, …, ceil(frames / stride))`."""
        x = self.pad(x, lengths)
        out = None if lengths is None else -(-lengths // self.stride[-1])
        return self.conv.norm_of(self.conv.conv(x), out), out

    def pad(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the input with its ends reflected, as the convolution sees it."""
        for axis, excess in enumerate(self.excess[:-1], start=2):
            after = excess // 2
            x = reflect_pad(x, axis, excess - after, after)
        excess, stride = self.excess[-1], self.stride[-1]
        frames: Tensor | int = x.shape[-1] if lengths is None else lengths
        extra = -frames % stride  # completes the last window
        if self.causal:
            return reflect_pad(x, -1, excess, extra, lengths)
        after = excess // 2
        if len(self.stride) == 1:
            return reflect_pad(x, -1, excess - after, after + extra, lengths)
        return reflect_pad(x, -1, excess - after + extra, after, lengths)


class ConvTranspose(nn.Module):
    """Transposed convolution, group norm, then trimming to `frames * stride`. Entries: `convtr.convtr`, `convtr.norm`.

    Args:
        in_channels: channels in.
        out_channels: channels out.
        stride: per axis; the kernel is twice as long.
        groups: of the convolution.
        causal: whether the surplus along time is trimmed from the right.
        num_groups: groups of the norm; 0 for none.
        trim_right_ratio: share of the surplus that a causal layer trims from the right.
        out_padding: how much less is trimmed (before, after), per axis.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: Sequence[int],
        *,
        groups: int = 1,
        causal: bool = False,
        num_groups: int = 1,
        trim_right_ratio: float = 1.0,
        out_padding: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        super().__init__()
        axes = len(stride)
        self.stride = tuple(stride)
        kind = nn.ConvTranspose1d if axes == 1 else nn.ConvTranspose2d
        kernel = tuple(2 * step for step in stride)
        inner = kind(in_channels, out_channels, kernel, self.stride, groups=groups)  # type: ignore[arg-type]
        self.convtr = _Normed("convtr", inner, num_groups, out_channels)
        self.trims = []
        for axis, step in enumerate(stride):
            after = math.ceil(step * trim_right_ratio) if causal and axis == axes - 1 else step // 2
            less = (0, 0) if out_padding is None else out_padding[axis]
            self.trims.append((step - after - less[0], after - less[1]))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Output:
        """Return the normalised, trimmed result, `(batch, out_channels, …, frames * stride)`."""
        inside = None
        if lengths is not None:
            x = x * _valid(x, lengths)  # frames beyond the end must not leak into the last ones
            inside = (lengths + 1) * self.stride[-1]
        x = self.convtr.norm_of(self.convtr.convtr(x), inside)
        for axis, (before, after) in enumerate(self.trims, start=2):
            x = x.narrow(axis, before, x.shape[axis] - before - after)
        return x, None if lengths is None else lengths * self.stride[-1]


class _Normed(nn.Module):
    """A convolution under the name `name`, and `norm` beside it."""

    conv: nn.Module
    convtr: nn.Module

    def __init__(self, name: str, inner: nn.Module, num_groups: int, channels: int) -> None:
        super().__init__()
        self.add_module(name, inner)
        if num_groups:
            self.norm: nn.GroupNorm | None = nn.GroupNorm(num_groups, channels, eps=EPSILON)
        else:
            self.norm = None

    def norm_of(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Return `x` normalised over channels and valid positions of each item."""
        if self.norm is None:
            return x
        if lengths is None:
            normed: Tensor = self.norm(x)
            return normed
        groups = x.reshape(
            len(x), self.norm.num_groups, -1, *x.shape[2:]
        )  # (batch, groups, channels, …, frames)
        valid = _valid(groups, lengths)
        over = tuple(range(2, groups.dim()))
        count = lengths * math.prod(groups.shape[2:-1])
        count = count.view(-1, *[1] * (groups.dim() - 1))
        centred = groups - (groups * valid).sum(over, keepdim=True) / count
        variance = (centred * centred * valid).sum(over, keepdim=True) / count
        out = (centred * torch.rsqrt(variance + EPSILON)).flatten(1, 2)
        shape = (-1, *[1] * (x.dim() - 2))
        weight, bias = self.norm.weight.view(shape), self.norm.bias.view(shape)
        return out * weight + bias


class ResidualBlock(nn.Module):
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
                Elu(),
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

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Output:
        """Return shortcut plus block, of the shape of `x`."""
        y = x
        for layer in self.block:
            y, _ = layer(y, lengths)
        if self.shortcut is not None:
            x, _ = self.shortcut(x, lengths)
        return x + y, lengths


class Lstm(nn.Module):
    """LSTM over frames, from a zero state, with its input added. Entries: `lstm`."""

    def __init__(self, channels: int, layers: int, skip: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, layers)
        self.skip = skip

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Output:
        """Return `(batch, channels, frames)`; it looks back only, so lengths do not matter."""
        steps = x.permute(2, 0, 1)  # (frames, batch, channels)
        y, _ = self.lstm(steps)
        if self.skip:
            y = y + steps
        return y.permute(1, 2, 0), lengths


class Elu(nn.Module):
    """max(0, x) + min(0, exp(x) - 1). Source: Clevert et al. 2015, arXiv:1511.07289, equation 15."""

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Output:
        """Return the activation, of the shape of `x`."""
        return functional.elu(x), lengths


class SqueezeFrequency(nn.Module):
    """Drops the frequency axis, of which one bin is left after the encoder's strides."""

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Output:
        """Return `(batch, channels, frames)` for `(batch, channels, 1, frames)`."""
        return x.squeeze(2), lengths


class UnsqueezeFrequency(nn.Module):
    """Adds a frequency axis of one bin."""

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Output:
        """Return `(batch, channels, 1, frames)` for `(batch, channels, frames)`."""
        return x.unsqueeze(2), lengths


def groups_for(channels: int, ratio: int) -> int:
    """Return the groups of a convolution: 1 when `ratio` is -1, else floor(floor(channels / 2) / ratio)."""
    return 1 if ratio < 0 else channels // 2 // ratio


def reflect_pad(
    x: Tensor, axis: int, before: Tensor | int, after: Tensor | int, lengths: Tensor | None = None
) -> Tensor:
    """Mirror an axis at its ends, without repeating the end points.

    An end that is too short to mirror is first extended by zeros, which are cut off afterwards.

    Args:
        x: `(batch, channels, …, frames)`.
        axis: which one.
        before: how many are added in front; `(batch,)` when it differs between items.
        after: how many are added behind the (valid) end; likewise.
        lengths: `(batch,)` valid frames when the axis is the last one and items are of unequal length.

    Returns:
        The longer tensor; item i is valid up to `before + lengths[i] + after`.
    """
    size = x.shape[axis]
    if lengths is None and isinstance(before, int) and isinstance(after, int):
        if before == after == 0:
            return x
        if size > max(before, after) and axis in (-1, x.dim() - 1):
            flat = x.flatten(0, -2)[None] if x.dim() > 3 else x
            return functional.pad(flat, (before, after), mode="reflect").view(
                *x.shape[:-1], before + size + after
            )
        source = _reflected(size, before, after, torch.arange(before + size + after, device=x.device))
        return x.index_select(axis, source.clamp(0, size - 1)) * _column(source < size, x, axis)
    frames = torch.as_tensor(x.shape[-1] if lengths is None else lengths, device=x.device)
    first, last = torch.as_tensor(before, device=x.device), torch.as_tensor(after, device=x.device)
    place = torch.arange(int((first + frames + last).max()), device=x.device)
    source = _reflected(frames[:, None], first.reshape(-1, 1), last.reshape(-1, 1), place)  # (batch, padded)
    inside = (source >= 0) & (source < frames[:, None])
    shape = (len(x), *[1] * (x.dim() - 2), source.shape[1])
    index = (source.clamp(min=0).minimum(frames[:, None] - 1)).view(shape)
    return x.gather(-1, index.expand(*x.shape[:-1], -1)) * inside.view(shape).to(x.dtype)


def _reflected(size: Tensor | int, before: Tensor | int, after: Tensor | int, place: Tensor) -> Tensor:
    """Return, for places in the padded axis, where they lie in the axis extended by zeros."""
    longest = torch.as_tensor(before).maximum(torch.as_tensor(after)).to(place.device)
    extended = (longest + 1).maximum(torch.as_tensor(size).to(place.device))
    position = (place - before).abs()
    return torch.where(position < extended, position, 2 * (extended - 1) - position)


def _column(valid: Tensor, x: Tensor, axis: int) -> Tensor:
    shape = [1] * x.dim()
    shape[axis] = len(valid)
    return valid.view(shape).to(x.dtype)


def _valid(x: Tensor, lengths: Tensor) -> Tensor:
    """Return 1 for valid frames and 0 beyond, broadcast against `x`."""
    inside = torch.arange(x.shape[-1], device=x.device) < lengths[:, None]
    return inside.view(len(x), *[1] * (x.dim() - 2), -1).to(x.dtype)
