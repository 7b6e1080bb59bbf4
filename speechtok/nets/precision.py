"""Computing at full precision on every device, whatever the caller chose for the rest of the program.

Conventions: torch rounds float32 to TF32's 10 bits or bfloat16's 7 where it is told to
(`torch.set_float32_matmul_precision`, `torch.backends.*.fp32_precision`, `torch.autocast`), and convolutions on an
NVIDIA GPU do so unless told otherwise; either changes codes. All but autocast hold for a whole process, so who computes
exactly is counted: the first one in sets full precision, the last one out brings back what was set before.

On the CPU, float32 products go to MKL unless `torch.set_float32_matmul_precision("medium")` lets oneDNN have them, which
is up to twice as fast on processors MKL was not written for. On some processors "medium" means bfloat16 inside; a
measured error decides, once per process.

Contents: `exact`, `full_precision`, `exact_fast_matmul`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

_LARGEST_ERROR = 5e-6
"""Relative error above which a product no longer counts as float32; MKL's own is below 1e-6."""
_backends: Any = torch.backends  # whose types torch does not state
_OPERATIONS = (
    _backends.cuda.matmul,
    _backends.cudnn.conv,
    _backends.cudnn.rnn,
    _backends.mkldnn.matmul,
    _backends.mkldnn.conv,
    _backends.mkldnn.rnn,
)
"""What has a precision of its own for float32, under `fp32_precision`."""


class _Shared:
    """A setting of the whole process, as long as somebody is inside.

    Args:
        set_up: sets it, and returns what brings back what was there before.
    """

    lock = threading.Lock()
    """Of all settings, since they touch the same switches."""

    def __init__(self, set_up: Callable[[], Callable[[], None]]) -> None:
        self._set_up = set_up
        self._inside = 0
        self._restore: Callable[[], None] | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self.lock:
            if self._inside == 0:
                self._restore = self._set_up()
            self._inside += 1
        try:
            yield
        finally:
            with self.lock:
                self._inside -= 1
                if self._inside == 0 and self._restore is not None:
                    self._restore()


os.register_at_fork(
    before=_Shared.lock.acquire,
    after_in_parent=_Shared.lock.release,
    after_in_child=_Shared.lock.release,
)


def _set_full() -> Callable[[], None]:
    """Compute float32 as float32 in every operation."""
    before = [operation.fp32_precision for operation in _OPERATIONS]
    products = _older(torch.get_float32_matmul_precision, "highest")
    convolutions = _older(lambda: torch.backends.cudnn.allow_tf32, True)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    for operation in _OPERATIONS:
        operation.fp32_precision = "ieee"

    def restore() -> None:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions
        for operation, value in zip(_OPERATIONS, before, strict=True):
            operation.fp32_precision = value

    return restore


def _older(switch: Callable[[], Any], default: Any) -> Any:
    """Return a switch from before each operation had its own; torch does not tell it where the two differ."""
    try:
        return switch()
    except RuntimeError:
        return default


def _set_fast() -> Callable[[], None]:
    """Let oneDNN have products on the CPU; only inside `_full_precision`."""
    torch.set_float32_matmul_precision("medium")
    return lambda: torch.set_float32_matmul_precision("highest")


_full_precision = _Shared(_set_full)
_fast_products = _Shared(_set_fast)


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Compute without gradients, otherwise as in `full_precision`."""
    with torch.no_grad(), full_precision(device):
        yield


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Compute at full precision, in this thread and every other.

    Args:
        device: Where tensors are; autocast is switched off there and on the CPU, for this thread alone.
    """
    with (
        torch.autocast("cpu", enabled=False),
        torch.autocast(device.type, enabled=False),
        _full_precision(),
    ):
        yield


@contextmanager
def exact_fast_matmul(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Let float32 products on the CPU use oneDNN inside this block, if that keeps them float32.

    Args:
        device: Where the products run; anything but the CPU is left alone.
        dtype: Their type; anything but float32 is left alone.
    """
    if device.type != "cpu" or dtype != torch.float32 or not _medium_is_float32():
        yield
        return
    with _full_precision(), _fast_products():
        yield


@cache
def _medium_is_float32() -> bool:
    """Multiply matrices of a transformer's size both ways and compare with float64."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(128, 768, generator=generator)
    b = torch.randn(768, 256, generator=generator)
    exactly = a.double() @ b.double()
    with torch.autocast("cpu", enabled=False), _full_precision(), _fast_products():
        error = (a @ b - exactly).abs().max() / exactly.abs().max()
    return bool(error < _LARGEST_ERROR)
