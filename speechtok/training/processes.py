"""What several processes of one run tell each other; with one process nothing happens.

Contents: `summed`, `all_of`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def _are_several() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


class _Sum(torch.autograd.Function):
    """The sum over processes; the gradient of each process's loss reaches the values of all of them."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        return _added(values)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return _added(gradient)


def _added(values: Tensor) -> Tensor:
    total = values.clone()
    torch.distributed.all_reduce(total)
    return total


def summed(values: Tensor) -> Tensor:
    """Return the sum of `values` over all processes, differentiable."""
    if not _are_several():
        return values
    total: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return total


def all_of(rows: Tensor) -> Tensor:
    """Return the rows of all processes, which have as many each; those of the first process first. Without gradients."""
    if not _are_several():
        return rows.detach()
    parts = [torch.empty_like(rows) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, rows.detach().contiguous())
    return torch.cat(parts)
