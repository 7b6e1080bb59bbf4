"""What several processes of one run tell each other; with one process nothing happens.

Contents: `summed`, `averaged`, `mean_of_all`, `all_of`, `average_gradients`, `from_first`,
`are_alike`, `first_before_others`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn

_PATIENCE = timedelta(days=7)
"""How long processes wait for the first one: preparing a large corpus takes days."""


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


def mean_of_all(value: Tensor) -> Tensor:
    """Return the mean of a number over all processes, as a constant: what a loss is divided by.

    Where no gradients are computed, as in validation, which one process does alone, it is the number itself.
    """
    if not _are_several() or not torch.is_grad_enabled():
        return value.detach()
    return _added(value.detach()) / torch.distributed.get_world_size()


def all_of(rows: Tensor) -> Tensor:
    """Return the rows of all processes, which have as many each; those of the first process first. Without gradients."""
    if not _are_several():
        return rows.detach()
    parts = [torch.empty_like(rows) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, rows.detach().contiguous())
    return torch.cat(parts)


def averaged(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the mean over all processes of numbers `()` by name, which all processes have."""
    if not values or not _are_several():
        return dict(values)
    total = torch.stack([value.detach().float() for value in values.values()])
    torch.distributed.all_reduce(total)
    return dict(zip(values, total / torch.distributed.get_world_size(), strict=True))


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Give all processes the mean of their gradients; one that has none for a parameter counts as 0 there.

    A parameter that no process has a gradient for keeps none, so that an optimizer passes it over as with one process.
    """
    if not parameters or not _are_several():
        return
    has = torch.tensor([float(item.grad is not None) for item in parameters], device=parameters[0].device)
    torch.distributed.all_reduce(has)
    learning = [item for item, count in zip(parameters, has.tolist(), strict=True) if count]
    by_kind: dict[torch.dtype, list[nn.Parameter]] = {}
    for item in learning:
        by_kind.setdefault(item.dtype, []).append(item)
    for kind in by_kind.values():
        gradients = [torch.zeros_like(item) if item.grad is None else item.grad for item in kind]
        together = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(together)
        together /= torch.distributed.get_world_size()
        parts = torch.split(together, [item.numel() for item in kind])
        for item, part in zip(kind, parts, strict=True):
            item.grad = part.view_as(item)


@torch.no_grad()
def from_first(network: nn.Module) -> None:
    """Give all processes the parameters and buffers of the first one."""
    if not _are_several():
        return
    for value in (*network.parameters(), *network.buffers()):
        torch.distributed.broadcast(value.data, 0)


@torch.no_grad()
def are_alike(networks: Iterable[nn.Module]) -> bool:
    """Return whether all processes have the same networks: each parameter to the last bit, buffers but for rounding.

    Buffers are computed in each process, which may run on another processor; parameters move by what all have agreed on.
    """
    if not _are_several():
        return True
    parts = list(networks)
    alike = [torch.equal(value, _of_first(value)) for part in parts for value in part.parameters()]
    alike += [
        torch.allclose(value.double(), _of_first(value).double(), rtol=1e-3, atol=1e-5)
        for part in parts
        for value in part.buffers()
    ]
    device = next((value.device for part in parts for value in part.parameters()), torch.device("cpu"))
    return float(_added(torch.tensor(float(not all(alike)), device=device))) == 0


def _of_first(value: Tensor) -> Tensor:
    """Return the first process's values."""
    first = value.detach().clone()
    torch.distributed.broadcast(first, 0)
    return first


@contextmanager
def first_before_others(device: str) -> Iterator[None]:
    """Let the first process do what is inside before the others do, who then find its files.

    Args:
        device: "cpu" or "cuda", as for `training.loop.train`.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    from accelerate import PartialState

    with PartialState(cpu=device == "cpu", timeout=_PATIENCE).main_process_first():
        yield
