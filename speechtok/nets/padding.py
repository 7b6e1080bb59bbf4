"""Mirroring the ends of signals, each item of a batch at its own end.

Conventions: `x` is `(batch, channels, frames)` or `(batch, channels, frequency, frames)`; `lengths` is None
when every item fills the last axis, else `(batch,)` valid frames. The end points are not repeated. An end too short to mirror is first extended by zeros, which
are cut off afterwards.

Contents: `reflect_pad`, `as_image`, `valid_frames`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def reflect_pad(
    x: Tensor,
    before: Tensor | int,
    after: Tensor | int,
    lengths: Tensor | None = None,
    *,
    bands: tuple[int, int] = (0, 0),
) -> Tensor:
    """Mirror the ends of time, and of frequency.

    Args:
        x: see above.
        before: frames added in front; `(batch,)` when it differs between items.
        after: frames added behind the (valid) end; likewise.
        lengths: `(batch,)` valid frames when items are of unequal length.
        bands: frequencies added below and above.

    Returns:
        The longer tensor; item i is valid up to `before + lengths[i] + after` frames.
    """
    alike = lengths is None and isinstance(before, int) and isinstance(after, int)
    if alike and before == after == 0 and bands == (0, 0):
        return x
    if alike and x.shape[-1] > max(before, after) and (bands == (0, 0) or x.shape[2] > max(bands)):
        ends = (int(before), int(after), *bands)
        return as_image(x, lambda image: functional.pad(image, ends, mode="reflect"))
    if bands != (0, 0):
        x = _reflect_bands(x, *bands)
    frames = torch.full((len(x),), x.shape[-1], device=x.device) if lengths is None else lengths
    first = torch.as_tensor(before, device=x.device).expand(len(x))
    last = torch.as_tensor(after, device=x.device).expand(len(x))
    place = torch.arange(int((first + frames + last).max()), device=x.device)
    source = _reflected(frames[:, None], first[:, None], last[:, None], place)  # (batch, padded)
    inside = (source >= 0) & (source < frames[:, None])
    shape = (len(x), *[1] * (x.dim() - 2), len(place))
    index = source.clamp(min=0).minimum(frames[:, None] - 1).view(shape)
    return x.gather(-1, index.expand(*x.shape[:-1], -1)) * inside.view(shape)


def as_image(x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Return a function of images applied to `x`, which becomes one of height 1 when it has no frequencies."""
    return function(x) if x.dim() == 4 else function(x[:, :, None])[:, :, 0]


def valid_frames(x: Tensor, lengths: Tensor) -> Tensor:
    """Return 1 for valid frames and 0 beyond, of the type of `x` and broadcast against it."""
    inside = torch.arange(x.shape[-1], device=x.device) < lengths[:, None]
    return inside.view(len(x), *[1] * (x.dim() - 2), -1).to(x.dtype)


def _reflect_bands(x: Tensor, below: int, above: int) -> Tensor:
    size = torch.tensor(x.shape[2], device=x.device)
    place = torch.arange(below + x.shape[2] + above, device=x.device)
    first, last = torch.tensor([below, above], device=x.device)
    source = _reflected(size, first, last, place)
    return x.index_select(2, source.clamp(0, x.shape[2] - 1)) * (source < size)[:, None]


def _reflected(size: Tensor, before: Tensor, after: Tensor, place: Tensor) -> Tensor:
    """Return, for places on the padded axis, where they lie on the axis extended by zeros."""
    extended = (before.maximum(after) + 1).maximum(size)
    position = (place - before).abs()
    return torch.where(position < extended, position, 2 * (extended - 1) - position)
