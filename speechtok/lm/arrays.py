"""What the layouts need so that one function serves numpy arrays and torch tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from array_api_compat import array_namespace, device

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

ArrayT = TypeVar("ArrayT", "np.ndarray[Any, Any]", "Tensor")
"""A numpy array or a torch tensor; what goes in comes out."""


def filled(like: ArrayT, shape: Sequence[int], value: int) -> ArrayT:
    """Return an array of one value, of the kind, type and device of `like`."""
    full: ArrayT = array_namespace(like).full(tuple(shape), value, dtype=like.dtype, device=device(like))
    return full


def concatenated(parts: Sequence[ArrayT], axis: int = -1) -> ArrayT:
    """Return arrays joined along an axis."""
    joined: ArrayT = array_namespace(parts[0]).concat(list(parts), axis=axis)
    return joined


def where(condition: ArrayT, chosen: ArrayT, other: ArrayT) -> ArrayT:
    """Return `chosen` where the condition holds, else `other`."""
    picked: ArrayT = array_namespace(other).where(condition, chosen, other)
    return picked
