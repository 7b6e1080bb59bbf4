"""Faster float32 matrix products on the CPU, where they are not less exact.

Conventions: torch sends float32 products to MKL unless `torch.set_float32_matmul_precision("medium")` lets
oneDNN have them, which is up to twice as fast on processors MKL was not written for. On some processors
"medium" means bfloat16 inside; a measured error decides, once per process.

Contents: `exact_fast_matmul`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

_LARGEST_ERROR = 5e-6
"""Relative error above which a product no longer counts as float32; MKL's own is below 1e-6."""


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
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@cache
def _medium_is_float32() -> bool:
    """Multiply matrices of a transformer's size both ways and compare with float64."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(128, 768, generator=generator)
    b = torch.randn(768, 256, generator=generator)
    exact = a.double() @ b.double()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        error = (a @ b - exact).abs().max() / exact.abs().max()
    finally:
        torch.set_float32_matmul_precision(before)
    return bool(error < _LARGEST_ERROR)
