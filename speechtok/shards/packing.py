"""Batches on their way from a worker process: one string of bytes instead of a shared file for each tensor.

torch sends every tensor between processes through shared memory of its own, whose handle takes a connection; for the
tensors of a batch of tokens, small and many, that costs several times what copying them does.

Contents: `Packing`, `unpacked`.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import get_worker_info


@dataclass(frozen=True)
class Parcel:
    """What one call of a collate function made."""

    content: bytes
    """The pickled value."""


class Packing:
    """A collate function whose results are packed where a worker process calls it.

    Args:
        collate: what is called for them.
    """

    def __init__(self, collate: Callable[[Any], Any]) -> None:
        self.collate = collate

    def __call__(self, item: Any) -> Any:
        """Return the result, as a `Parcel` in a worker."""
        made = self.collate(item)
        return made if get_worker_info() is None else packed(made)


def packed(value: Any) -> Parcel:
    """Return any value that can be pickled, tensors copied into one string of bytes."""
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=5).dump(value)
    return Parcel(buffer.getvalue())


def unpacked(item: Any) -> Any:
    """Return what was packed; other values are returned as they are."""
    if not isinstance(item, Parcel):
        return item
    # Safe because no file holds a parcel: `packed` alone makes one, in a worker that this process started, from arrays it read
    # itself, and torch hands it over through a pipe that it unpickles in any case.
    return pickle.loads(item.content)  # noqa: S301


class _Pickler(pickle.Pickler):
    """Writes tensors as arrays; those that have none (of bfloat16, on a device, with a gradient) as torch does."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is not torch.Tensor:
            return NotImplemented
        try:
            return torch.from_numpy, (value.numpy(),)
        except (TypeError, RuntimeError):
            return NotImplemented
