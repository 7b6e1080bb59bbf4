"""FunCodec's convolutions, over time or over frequency and time, for utterances of unequal length.

Source: Défossez et al. 2022, EnCodec, arXiv:2210.13438, section 3.1; Wu and He 2018, arXiv:1803.08494
(group norm); repository `modelscope/FunCodec`, `funcodec/modules/normed_modules`.

Conventions: `x` is `(batch, channels, frames)` or `(batch, channels, frequency, frames)`. `lengths` is
None when every item fills the last axis, else `(batch,)` valid frames on the device of `x`; what lies
beyond an item's length is arbitrary but finite, and no valid frame of a result depends on it: padding
mirrors each item at its own end, and group norm counts valid frames only. Each layer returns its
output and the lengths of that.

Memory: on the CPU `fold_constants` lays the weights out channels last, and every layer keeps that layout
for its result, whatever the order of the axes. oneDNN convolves that form of float32 two to three times
as fast. Call it again after a change of device.

Contents: `Conv`, `ConvTranspose`, `Shared`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechtok.nets.padding import as_image, reflect_pad, valid_frames
from speechtok.nets.precision import exact_fast_matmul
from speechtok.tokenizers.funcodec import kernels
from speechtok.tokenizers.funcodec.pending import Layer, Pending, Signal, settled

EPSILON = 1e-5
"""Added to the variance in group norm."""

_Count = TypeVar("_Count", int, Tensor)
_Inner = nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d


class Shared(TypedDict):
    """Options that all convolutions of a stack share."""

    causal: bool
    """Whether they look back only."""
    num_groups: int
    """Groups of their norms; 0 for none."""


class Conv(Layer):
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

    def run(self, x: Signal, lengths: Tensor | None) -> tuple[Signal, Tensor | None]:
        """Return the normalised convolution, `(batch, out_channels, …, ceil(frames / stride))`."""
        out = None if lengths is None else -(-lengths // self.stride[-1])
        return self.conv.norm_of(_convolve(self.pad(x, lengths), self.conv.conv), out), out

    def pad(self, x: Signal, lengths: Tensor | None = None) -> Tensor:
        """Return the input with its ends reflected, as the convolution sees it."""
        *bands, excess = self.excess
        around = (bands[0] - bands[0] // 2, bands[0] // 2) if bands else (0, 0)
        if isinstance(x, Pending):
            before, after = self._ends(excess, -x.frames % self.stride[-1])
            return x.settle(before, after, bands=around)
        if lengths is None:
            return reflect_pad(x, *self._ends(excess, -x.shape[-1] % self.stride[-1]), bands=around)
        return reflect_pad(x, *self._ends(excess, -lengths % self.stride[-1]), lengths, bands=around)

    def _ends(self, excess: int, extra: _Count) -> tuple[int | _Count, int | _Count]:
        """Return the frames added before and after, of which `extra` complete the last window."""
        after = 0 if self.causal else excess // 2
        before = excess - after
        return (
            (before + extra, after) if len(self.stride) > 1 and not self.causal else (before, after + extra)
        )


class ConvTranspose(Layer):
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

    def run(self, x: Signal, lengths: Tensor | None) -> tuple[Signal, Tensor | None]:
        """Return the normalised, trimmed result, `(batch, out_channels, …, frames * stride)`."""
        x, inside = settled(x), None
        if lengths is not None:
            x = x * valid_frames(x, lengths)  # frames beyond the end must not leak into the last ones
            inside = (lengths + 1) * self.stride[-1]
        x = _convolve(x, self.convtr.convtr)
        sizes = x.shape[2:]
        y = self.convtr.norm_of(x, inside)
        for axis, (size, (before, after)) in enumerate(zip(sizes, self.trims, strict=True), start=2):
            y = y.narrow(axis, before, size - before - after)
        return y, None if lengths is None else lengths * self.stride[-1]


class _Normed(nn.Module):
    """A convolution under the name `name`, and `norm` beside it."""

    conv: _Inner
    convtr: _Inner

    def __init__(self, name: str, inner: nn.Module, num_groups: int, channels: int) -> None:
        super().__init__()
        self.add_module(name, inner)
        if num_groups:
            self.norm: nn.GroupNorm | None = nn.GroupNorm(num_groups, channels, eps=EPSILON)
        else:
            self.norm = None
        self._name = name

    def fold_constants(self) -> None:
        """Lay the weight out in memory: channels last on the CPU, as PyTorch does by itself elsewhere."""
        weight = getattr(self, self._name).weight
        form = torch.channels_last if weight.device.type == "cpu" else torch.contiguous_format
        weight.data = as_image(weight.data, lambda image: image.clone(memory_format=form))

    def norm_of(self, x: Tensor, lengths: Tensor | None) -> Signal:
        """Return `x` normalised over channels and valid positions of each item."""
        if self.norm is None:
            return x
        groups, weight, bias = self.norm.num_groups, self.norm.weight, self.norm.bias
        if lengths is None:
            if len(x) == groups == 1 and kernels.usable(x, x.shape[1]):
                return Pending.normed(x, weight, bias, EPSILON)
            return as_image(x, lambda image: functional.group_norm(image, groups, weight, bias, EPSILON))
        parts = x.reshape(len(x), groups, -1, *x.shape[2:])  # (batch, groups, channels, …, frames)
        valid, over = valid_frames(parts, lengths), tuple(range(2, parts.dim()))
        count = (lengths * math.prod(parts.shape[2:-1])).view(-1, *[1] * (parts.dim() - 1))
        centred = parts - (parts * valid).sum(over, keepdim=True) / count
        variance = (centred * centred * valid).sum(over, keepdim=True) / count
        normed = (centred * torch.rsqrt(variance + EPSILON)).flatten(1, 2)
        shape = (-1, *[1] * (x.dim() - 2))
        return normed * weight.view(shape) + bias.view(shape)


def _convolve(x: Tensor, inner: _Inner) -> Tensor:
    """Return a convolution; one over time runs as one over an image of height 1, which keeps channels last."""
    weight, bias, groups = inner.weight, inner.bias, inner.groups
    stride, dilation = inner.stride, inner.dilation
    is_transposed = isinstance(inner, nn.ConvTranspose1d | nn.ConvTranspose2d)
    if weight.dim() == 3:
        if is_heavy(x, inner):
            product = _transposed_product if is_transposed else _product
            return product(x, weight, bias, stride[0])
        weight, stride, dilation = weight[:, :, None], (1, *stride), (1, *dilation)
    if is_transposed:
        return as_image(
            x, lambda image: functional.conv_transpose2d(image, weight, bias, stride, groups=groups)
        )
    if weight.shape[2:] == (1, 1) and _has_onednn(x):  # PyTorch would take a path half as fast
        return as_image(
            x, lambda image: torch.mkldnn_convolution(image, weight, bias, (0, 0), stride, dilation, groups)
        )
    return as_image(x, lambda image: functional.conv2d(image, weight, bias, stride, 0, dilation, groups))


def is_heavy(x: Tensor, inner: _Inner) -> bool:
    """Return whether a convolution has many more weights than it has input.

    oneDNN rearranges the weights at each call, which then takes as long as the convolution itself; a matrix
    product reads them as they lie.
    """
    light = inner.groups > 1 or inner.dilation[-1] > 1 or inner.weight.numel() < 2 * x.numel()
    return not light and len(x) == 1 and _has_onednn(x)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """Return a convolution over time of one item, as a product of its windows with the weights."""
    windows = x[0].t().unfold(0, weight.shape[2], stride).transpose(1, 2)  # (frames, kernel, channels)
    rows = weight.transpose(1, 2).flatten(1)
    with exact_fast_matmul(x.device, x.dtype):
        return functional.linear(windows.flatten(1), rows, bias).t()[None]


def _transposed_product(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """Return a transposed convolution over time of one item, whose kernel is two strides long.

    Each input frame adds to two strides of output; neighbours overlap by one.
    """
    channels = weight.shape[1]
    columns = weight.transpose(1, 2).flatten(1)  # (channels in, kernel * channels out)
    with exact_fast_matmul(x.device, x.dtype):
        spread = torch.mm(x[0].t(), columns).view(-1, 2, stride, channels)
    out = functional.pad(spread[:, 0], (0, 0, 0, 0, 0, 1))  # (frames + 1, stride, channels)
    out[1:] += spread[:, 1]
    return (out.flatten(0, 1) if bias is None else out.flatten(0, 1) + bias).t()[None]


def _has_onednn(x: Tensor) -> bool:
    there = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return there and x.dtype == torch.float32 and x.device.type == "cpu"
