"""FunCodec's C kernels: group norm, ELU and mirrored padding in one pass, and the recurrent part of an LSTM.

Conventions: a signal is `(rows, columns, channels)`, one utterance, float32 on the CPU: frequency and time, or one
row of time. `usable` says whether the kernels can be had; who calls them holds the same computation in torch.

Contents: `usable`, `native_kernels`, `moments`, `settle`, `Term`, `PackedLstm`.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from speechtok.nets import native

_LANES = 16
"""Channels that a kernel takes at a time."""
_BLOCK = 4096
"""Values whose mean is taken at once, as in the C file."""
_THREAD_VALUES = 262_144
"""Values below which a second thread does not pay."""


def usable(x: Tensor, channels: int) -> bool:
    """Return whether the kernels take a tensor of this kind with so many channels."""
    suits = x.dtype == torch.float32 and x.device.type == "cpu" and channels % _LANES == 0
    return suits and not torch.is_grad_enabled() and native_kernels() is not None


def moments(x: Tensor) -> tuple[float, float]:
    """Return mean and variance of a contiguous signal, summed in an order that its size alone decides."""
    blocks = -(-x.numel() // _BLOCK)
    found = torch.empty(blocks, 2, dtype=torch.float64)
    fixed = (x.data_ptr(), found.data_ptr(), x.numel())
    native.spread(_library().moments, fixed, blocks, _threads(x.numel()))
    means, squares = found.unbind(1)
    sizes = torch.full_like(means, _BLOCK)
    sizes[-1] = x.numel() - _BLOCK * (blocks - 1)
    mean = torch.dot(means, sizes) / x.numel()
    variance = (squares.sum() + torch.dot((means - mean).square(), sizes)) / x.numel()
    return float(mean), float(variance)


@dataclass(frozen=True, kw_only=True)
class Term:
    """A signal to be scaled and shifted by channel."""

    signal: Tensor
    """`(rows, columns, channels)`; rows may lie apart."""
    scale: Tensor
    """`(channels,)`."""
    shift: Tensor
    """`(channels,)`."""


def settle(
    terms: tuple[Term, ...], active: bool, rows: tuple[int, int] = (0, 0), columns: tuple[int, int] = (0, 0)
) -> Tensor:
    """Return the sum of one or two terms with mirrored ends.

    Args:
        terms: signals of one shape.
        active: whether the sum goes through ELU.
        rows: rows added before and after; fewer than there are.
        columns: columns likewise.

    Returns:
        `(rows, columns, channels)`, contiguous.
    """
    height, width, channels = terms[0].signal.shape
    out = torch.empty(sum(rows) + height, sum(columns) + width, channels)
    pointers: list[int | None] = []
    for term in terms:
        tensors = (term.signal, term.scale, term.shift)
        pointers += [*(tensor.data_ptr() for tensor in tensors), term.signal.stride(0)]
    pointers += [None, None, None, 0][: 8 - len(pointers)]
    fixed = (
        *pointers,
        out.data_ptr(),
        channels,
        height,
        width,
        rows[0],
        columns[0],
        out.shape[1],
        int(active),
    )
    native.spread(_library().settle, fixed, out.shape[0] * out.shape[1], _threads(out.numel()))
    return out


class PackedLstm:
    """Weights of an LSTM in the order in which the kernel reads them.

    Blocks of 16 cells, in a block by what is multiplied, then by gate.

    Args:
        lstm: float32 on the CPU, over all layers; later changes of it go unseen.
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        self._layers: list[tuple[Tensor, Tensor, Tensor]] = []
        for layer in range(lstm.num_layers):
            w_input, w_state, *biases = (part.detach() for part in lstm.all_weights[layer])
            w_input, w_state, bias = (_blocked(part) for part in (w_input, w_state, biases[0] + biases[1]))
            state = w_state.permute(0, 3, 1, 2).contiguous()  # (blocks, channels, gates, cells)
            self._layers.append((w_input.flatten(0, 2), bias.flatten(), state))

    def __call__(self, x: Tensor) -> Tensor:
        """Return `(frames, channels)` for `x` of the same shape, from a zero state."""
        for w_input, bias, w_state in self._layers:
            inputs = torch.addmm(bias, x, w_input.t())
            x, cells = torch.empty_like(x, memory_format=torch.contiguous_format), torch.zeros(x.shape[1])
            pointers = (tensor.data_ptr() for tensor in (w_state, inputs, x, cells))
            _library().lstm(*pointers, *x.shape)
        return x


def _blocked(part: Tensor) -> Tensor:
    """Return `(gates * channels, …)` as `(blocks, gates, cells, …)`."""
    return part.reshape(4, -1, _LANES, *part.shape[1:]).transpose(0, 1)


def _threads(values: int) -> int:
    return torch.get_num_threads() if values >= _THREAD_VALUES else 1


def _library() -> ctypes.CDLL:
    """Return the kernels, once `usable` said that they are there."""
    return cast("ctypes.CDLL", native_kernels())


@cache
def native_kernels() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None where none can be had."""
    library = native.load_kernel(Path(__file__).with_suffix(".c"))
    if library is not None:
        pointer, count = ctypes.c_void_p, ctypes.c_long
        library.moments.argtypes = [pointer] * 2 + [count] * 3
        library.settle.argtypes = [*[pointer] * 3, count, *[pointer] * 3, count, pointer, *[count] * 9]
        library.lstm.argtypes = [pointer] * 4 + [count] * 2
        for function in (library.moments, library.settle, library.lstm):
            function.restype = None
    return library
