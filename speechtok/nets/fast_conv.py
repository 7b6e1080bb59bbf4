"""A convolution over time with fewer multiplications: four outputs and four taps from nine products.

Source: Karatsuba and Ofman 1962; Mou and Duhamel 1991, Short-length FIR filters and their use in fast
nonrecursive filtering, IEEE Transactions on Signal Processing 39(6), section III (two-by-two, nested).

Two outputs of two taps, y0 = d0 h0 + d1 h1 and y1 = d1 h0 + d2 h1, need three products instead of four:

    A = (d0 - d1) h0,  B = d1 (h0 + h1),  C = (d2 - d1) h1;  y0 = A + B,  y1 = B + C

The same again on pairs of pairs gives four outputs of four taps from nine products instead of sixteen. Here d
are frames and h matrices, so that each product is a convolution with a quarter of the taps on a quarter of the
frames; a tap that is missing from the last four saves its product too. Kernels of 3, 7 and 11 taps need 2,
4.25 and 6.5 products per output. All factors are 1 or -1, so float32 stays as exact as oneDNN makes it: the shorter sums
make up for the added terms.

Conventions: signals are `(batch, frames, channels)`. With dilation, `dilation` neighbouring frames take the place
of one. Memory limits the additions, so they run as two C kernels (`fast_conv.c`, `native.py`), on pieces that stay
in the cache, and only for float32 on the CPU; otherwise the convolution is computed as it is defined.

Contents: `FastConv1d`, `native_kernels`.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from speechtok.nets import native
from speechtok.nets.weight_norm import WeightNormConv1d, takes_channels_last

PIECE = 2**20
"""Values per input signal in one piece, so that what is added up is still in the cache."""
SHORTEST, FEWEST_CHANNELS = 7, 64
"""Kernels and channels from which the saved products outweigh the additions: measured."""


class FastConv1d(WeightNormConv1d):
    """x + convolution(leaky_relu(x)) and its like, with weight norm; as many frames come out as go in.

    Entries as in `WeightNormConv1d`; call `fold` before use, in any type and on any device.
    """

    def __init__(self, channels: int, kernel_size: int, *, dilation: int = 1, slope: float) -> None:
        super().__init__(
            channels, channels, kernel_size, padding=(kernel_size - 1) // 2 * dilation, dilation=dilation
        )
        self.slope = slope
        self._parts: list[Tensor] = []

    @property
    def is_native(self) -> bool:
        """Whether the nine kernels were prepared, as `fold` does where they pay."""
        return bool(self._parts)

    def fold_constants(self) -> None:
        """Fold the weight norm, and prepare the nine kernels where they will be used."""
        super().fold_constants()
        self._parts = []
        pays = self.kernel_size >= SHORTEST and self.weight.shape[0] >= FEWEST_CHANNELS
        here = self.weight.device.type == "cpu" and self.weight.dtype == torch.float32
        if pays and here and native_kernels() is not None:
            self._parts = _nine_kernels(self.weight)

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """Return `convolution(leaky_relu(x)) + added`.

        Args:
            x: `(batch, frames, channels)`.
            added: the same shape; nothing is added without it.
        """
        kernels = native_kernels() if self._parts else None
        if kernels is not None and takes_channels_last(x) and not torch.is_grad_enabled():
            return self._fast(kernels, x.contiguous(), None if added is None else added.contiguous())
        y = super().forward(functional.leaky_relu(x, self.slope))
        if added is None:
            return y
        return y + added if torch.is_grad_enabled() else y.add_(added)

    def _fast(self, kernels: ctypes.CDLL, x: Tensor, added: Tensor | None) -> Tensor:
        batch, frames, channels = x.shape
        width = self.dilation * channels
        groups = -(-self.kernel_size // 4)
        tiles = -(-frames // (4 * self.dilation))
        size = min(tiles, max(groups, PIECE // width))
        signals = x.new_empty(9, size + groups - 1, width)
        spare = x.new_empty(7 * width)
        y = torch.empty_like(x)
        for item in range(batch):
            for first in range(0, tiles, size):
                count = min(size, tiles - first)
                start = 4 * first * width
                kernels.split(
                    x[item].data_ptr(),
                    signals.data_ptr(),
                    spare.data_ptr(),
                    frames * channels,
                    self.padding * channels - start,
                    width,
                    count + groups - 1,
                    signals.stride(0),
                    self.slope,
                )
                products = [self._product(signals[p], p, count) for p in range(9)]
                kernels.join(
                    (ctypes.c_void_p * 9)(*(product.data_ptr() for product in products)),
                    None if added is None else added[item].data_ptr() + 4 * start,
                    y[item].data_ptr() + 4 * start,
                    spare.data_ptr(),
                    frames * channels - start,
                    width,
                    count,
                )
        return y

    def _product(self, signal: Tensor, number: int, tiles: int) -> Tensor:
        """Return `(tiles · dilation, channels)`, one product of each tile."""
        kernel = self._parts[number]
        channels, taps = kernel.shape[0], kernel.shape[3]
        if not taps:
            return signal.new_zeros(tiles * self.dilation, channels)
        rows = signal[: tiles + taps - 1].view(1, -1, 1, channels).permute(0, 3, 2, 1)
        y = functional.conv2d(
            rows, kernel, self.bias if number == _CENTRE else None, dilation=(1, self.dilation)
        )
        return y.permute(0, 3, 2, 1).contiguous()


_CENTRE = 4
"""The product that is part of all four outputs."""


def _nine_kernels(weight: Tensor) -> list[Tensor]:
    """Return the kernels of the products, `(out, in, 1, taps)`, channels last in memory, without taps that no weight fills."""
    groups = -(-weight.shape[2] // 4)
    filled = weight.shape[2] - 4 * (groups - 1)  # of the last four taps
    h = functional.pad(weight.double(), (0, 4 - filled))
    h = h.view(*weight.shape[:2], groups, 4)
    pairs = {(0, 1): (h[..., 0], h[..., 1]), (2, 3): (h[..., 2], h[..., 3])}
    kernels = []
    for outer in ([(0, 1)], [(0, 1), (2, 3)], [(2, 3)]):
        for inner in ((0,), (0, 1), (1,)):
            kernel = torch.stack([pairs[pair][i] for pair in outer for i in inner]).sum(0)
            empty = min(pair[i] for pair in outer for i in inner) >= filled
            kernel = kernel[..., : groups - empty].to(weight.dtype)[:, :, None]
            kernels.append(kernel.contiguous(memory_format=torch.channels_last))
    return kernels


@cache
def native_kernels() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None where none can be had."""
    library = native.load_kernel(Path(__file__).with_suffix(".c"))
    if library is not None:
        pointer, number = ctypes.c_void_p, ctypes.c_long
        library.split.argtypes = [pointer] * 3 + [number] * 5 + [ctypes.c_float]
        library.join.argtypes = [pointer] * 4 + [number] * 3
        library.split.restype = library.join.restype = None
    return library
