"""Layers stored with weight norm, folded to plain weights once after loading.

Source: Salimans and Kingma 2016, Weight Normalization, arXiv:1602.07868, equation 2: the effective
weight is `g * v / ||v||`, the norm taken over every axis but the first.

Conventions: state-dict entries carry the names of PyTorch's first implementation, `weight_g` and
`weight_v`, which published checkpoints use. After `fold` they are replaced by one entry `weight`; a
network saved in that form is loaded by folding it before loading, which costs nothing on the meta
device. A folded layer computes exactly what the unfolded one does, without the norm at each call.

Signals are `(batch, frames, channels)` here, and weights keep PyTorch's layout. oneDNN convolves that
form of float32 two to four times as fast on a CPU as `(batch, channels, frames)`, which it would first
have to rearrange; for other types and devices the axes are swapped and PyTorch's own layers are used.

Contents: `WeightNormConv1d`, `WeightNormConvTranspose1d`, `WeightNormLinear`, `fold`, `fold_weight_norm`,
`fold_parametrized`, `normed_weight`, `lengths_of`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations


@runtime_checkable
class Foldable(Protocol):
    """A module that prepares constants from its loaded entries."""

    def fold_constants(self) -> None:
        """Compute everything that does not depend on the input; calling it again is harmless."""


def fold(module: nn.Module) -> None:
    """Prepare a loaded network for inference: fold weight norm, activation constants and tables.

    Call it after loading and after every change of dtype, so that constants are computed at full precision.

    Args:
        module: Network whose sub-modules are folded in place.
    """
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, Foldable):
                part.fold_constants()


def fold_weight_norm(module: nn.Module) -> None:
    """Fold the weight norm of every layer and nothing else: the form that folded state dicts fit.

    Args:
        module: Network whose layers are folded in place; may live on the meta device.
    """
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, _WeightNormed):
                part.fold_constants()


def fold_parametrized(module: nn.Module) -> None:
    """Fold the weight norm of torch's own layers, in networks that come from other packages.

    Args:
        module: Network whose layers are folded in place, after loading.
    """
    for layer in module.modules():
        if is_parametrized(layer, "weight"):
            remove_parametrizations(layer, "weight", leave_parametrized=True)
            layer._load_state_dict_pre_hooks.clear()  # what weight norm leaves there cannot be pickled


def normed_weight(length: Tensor, direction: Tensor, axes: Sequence[int] | None = None) -> Tensor:
    """Return the weight that a length and a direction stand for: length · direction / ‖direction‖.

    Args:
        length: broadcast against `direction`.
        direction: any shape.
        axes: of the norm; None takes all but the first.
    """
    return direction * (length / lengths_of(direction, axes))


def lengths_of(direction: Tensor, axes: Sequence[int] | None = None) -> Tensor:
    """Return the norm over all axes but the first, or over those given; the axes remain."""
    dim = list(range(1, direction.dim()) if axes is None else axes)
    lengths: Tensor = torch.linalg.vector_norm(direction, dim=dim, keepdim=True)
    return lengths


class _WeightNormed(nn.Module):
    """A weight as length `weight_g` and direction `weight_v`, or plainly as `weight`; with a bias."""

    bias: Tensor

    def __init__(self, weight_shape: tuple[int, ...], bias_size: int, *, normed: bool = True) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(bias_size))
        if not normed:
            self.weight = nn.Parameter(torch.empty(weight_shape))
            if not self.weight.is_meta:
                nn.init.normal_(self.weight)
            return
        self.weight_g = nn.Parameter(torch.ones(weight_shape[0], *[1] * (len(weight_shape) - 1)))
        self.weight_v = nn.Parameter(torch.empty(weight_shape))
        if not self.weight_v.is_meta:
            nn.init.normal_(self.weight_v)

    def effective_weight(self) -> Tensor:
        """Return the weight that acts, in the layout of the plain layer."""
        if hasattr(self, "weight_v"):
            return normed_weight(self.weight_g, self.weight_v)
        weight: Tensor = self.weight
        return weight

    def fold_constants(self) -> None:
        """Replace `weight_g` and `weight_v` by `weight`, laid out in memory as `_image` wants it."""
        weight = self.effective_weight().detach()
        if hasattr(self, "weight_v"):
            del self.weight_g, self.weight_v
        if weight.dim() == 3 and not weight.is_meta:
            weight = weight.transpose(1, 2).contiguous().transpose(1, 2)
        self.weight = nn.Parameter(weight, requires_grad=False)


class WeightNormConv1d(_WeightNormed):
    """Convolution over time, zero padding, with weight norm unless `normed` is False."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        normed: bool = True,
    ) -> None:
        super().__init__((out_channels, in_channels, kernel_size), out_channels, normed=normed)
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution.

        Args:
            x: `(batch, frames, in_channels)`.

        Returns:
            `(batch, output_length(frames), out_channels)`.
        """
        weight = self.effective_weight()
        if takes_channels_last(x):
            y = functional.conv2d(
                _image(x),
                weight[:, :, None],
                self.bias,
                (1, self.stride),
                (0, self.padding),
                (1, self.dilation),
            )
            return y[:, :, 0].transpose(1, 2)
        y = functional.conv1d(x.transpose(1, 2), weight, self.bias, self.stride, self.padding, self.dilation)
        return y.transpose(1, 2)

    def output_length(self, length: int) -> int:
        """Return the number of output frames for `length` input frames."""
        reach = self.dilation * (self.kernel_size - 1) + 1
        return (length + 2 * self.padding - reach) // self.stride + 1


class WeightNormConvTranspose1d(_WeightNormed):
    """Transposed convolution over time, with weight norm; its lengths are taken per *input* channel."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int,
        padding: int = 0,
        output_padding: int = 0,
    ) -> None:
        super().__init__((in_channels, out_channels, kernel_size), out_channels)
        self.stride, self.padding, self.output_padding = stride, padding, output_padding

    def forward(self, x: Tensor) -> Tensor:
        """Return the transposed convolution.

        Args:
            x: `(batch, frames, in_channels)`.

        Returns:
            `(batch, stride * frames, out_channels)` when `2 * padding - output_padding` is
            `kernel_size - stride`.
        """
        weight = self.effective_weight()
        if takes_channels_last(x):
            y = functional.conv_transpose2d(
                _image(x),
                weight[:, :, None],
                self.bias,
                (1, self.stride),
                (0, self.padding),
                (0, self.output_padding),
            )
            return y[:, :, 0].transpose(1, 2)
        y = functional.conv_transpose1d(
            x.transpose(1, 2), weight, self.bias, self.stride, self.padding, self.output_padding
        )
        return y.transpose(1, 2)


class WeightNormLinear(_WeightNormed):
    """Linear layer with weight norm."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__((out_features, in_features), out_features)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(..., out_features)` for `x` of shape `(..., in_features)`."""
        return functional.linear(x, self.effective_weight(), self.bias)


def takes_channels_last(x: Tensor) -> bool:
    """Return whether oneDNN convolves `x` with channels last in memory."""
    there = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return there and x.dtype == torch.float32 and x.device.type == "cpu"


def _image(x: Tensor) -> Tensor:
    """Return `(batch, frames, channels)` as an image `(batch, channels, 1, frames)`, channels last in memory."""
    return x.contiguous().transpose(1, 2)[:, :, None]
