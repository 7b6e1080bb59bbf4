"""The anti-aliased SnakeBeta activation: up-sample by 2, activate, down-sample by 2.

Source: Lee et al. 2023, BigVGAN, arXiv:2206.04658, section 3.2 (anti-aliased periodic activation);
SnakeBeta with logarithmic parameters and the 12-tap Kaiser filter as in the released FACodec:
`open-mmlab/Amphion`, `models/codec/ns3_codec/alias_free_torch`.

Conventions: signals are `(batch, frames, channels)`. With h the 12 taps and x clamped to its ends, the up-sampled signal has two phases,

    u[2m]     = 2 * sum over i = -3..2 of h[5 - 2i] x[m + i]
    u[2m + 1] = 2 * sum over i = -2..3 of h[6 - 2i] x[m + i]

SnakeBeta is v = u + sin^2(e^alpha u) / (e^beta + 1e-9), per channel, and the output is
y[j] = sum over k = 0..11 of h[k] v[2j - 5 + k], with v clamped to its own ends. One output depends
on 5 inputs to each side.

A batch may hold items of unequal length: `num_valid` says how many frames of each count. Clamping
then happens at the item's own end and the output is zero after it, which is exactly what the zero
padding of the next convolution expects; so ragged batches equal items alone.

Memory, not arithmetic, limits this operation. `anti_aliased_snake` runs it as one C kernel in float32
on the CPU (`native.py`), else in plain torch on pieces that stay in the cache.

Contents: `AntiAliasedSnake`, `anti_aliased_snake`, `plain_anti_aliased_snake`, `native_kernel`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from speechtok.nets import native
from speechtok.nets.windows import plan_windows

TAPS = 12
_REACH = 5
"""Frames of input that an output frame depends on, to each side."""
PIECE = 262_144
"""Values per tensor in one piece of the plain form on the CPU, so that its few buffers fit a core's cache."""
_BLOCK = 128
"""Frames per block of the C kernel."""
THREAD_VALUES = 262_144
"""Values below which a second thread does not pay."""


class _SnakeBeta(nn.Module):
    """Holds `alpha` and `beta`, both stored as logarithms."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))


class _Filter(nn.Module):
    """Holds the 12 taps of one filter."""

    filter: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filter", kaiser_sinc().view(1, 1, TAPS))


class _Downsample(nn.Module):
    """Holds the low-pass filter of the way down, one level deeper in the published names."""

    def __init__(self) -> None:
        super().__init__()
        self.lowpass = _Filter()


class AntiAliasedSnake(nn.Module):
    """SnakeBeta between an up-sampler and a down-sampler; entries as published.

    Entries: `act.alpha`, `act.beta` `(channels,)`; `upsample.filter`, `downsample.lowpass.filter`
    `(1, 1, 12)`. Call `fold` before use.
    """

    scale: Tensor
    gain: Tensor
    up: Tensor
    down: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.act = _SnakeBeta(channels)
        self.upsample = _Filter()
        self.downsample = _Downsample()
        for name, size in (("scale", channels), ("gain", channels), ("up", TAPS), ("down", TAPS)):
            self.register_buffer(name, torch.empty(size), persistent=False)

    def fold_constants(self) -> None:
        """Compute `scale` = e^alpha, `gain` = 1 / (e^beta + 1e-9) and the flat taps."""
        self.scale = self.act.alpha.detach().exp()
        self.gain = (self.act.beta.detach().exp() + 1e-9).reciprocal()
        self.up = self.upsample.filter.reshape(TAPS).clone()
        self.down = self.downsample.lowpass.filter.reshape(TAPS).clone()

    def forward(self, x: Tensor, num_valid: Tensor | None = None) -> Tensor:
        """Return the activation of `x`; shapes and meaning as in `anti_aliased_snake`."""
        return anti_aliased_snake(x, self.scale, self.gain, self.up, self.down, num_valid)


def kaiser_sinc() -> Tensor:
    """Return the low-pass filter, `(12,)`, float32: cutoff 0.25, half width 0.3, unit gain at 0 Hz."""
    attenuation = 2.285 * (TAPS // 2 - 1) * np.pi * (4 * 0.3) + 7.95
    window = np.kaiser(TAPS, 0.1102 * (attenuation - 8.7))
    taps = 0.5 * window * np.sinc(0.5 * (np.arange(TAPS) - (TAPS - 1) / 2))
    return torch.tensor((taps / taps.sum()).tolist(), dtype=torch.float32)


def anti_aliased_snake(
    x: Tensor, scale: Tensor, gain: Tensor, up: Tensor, down: Tensor, num_valid: Tensor | None = None
) -> Tensor:
    """Return the anti-aliased SnakeBeta of `x`, as the module's conventions define it.

    Args:
        x: `(batch, frames, channels)`, at least one frame.
        scale: `(channels,)`, e^alpha.
        gain: `(channels,)`, 1 / (e^beta + 1e-9).
        up: `(12,)`, taps of the up-sampler.
        down: `(12,)`, taps of the down-sampler.
        num_valid: `(batch,)`, int64, frames of each item, at least 1; None when all frames count.

    Returns:
        `(batch, frames, channels)`, zero past `num_valid`.
    """
    if x.dtype == torch.float32 and x.device.type == "cpu" and not torch.is_grad_enabled():
        kernel = native_kernel()
        if kernel is not None:
            return _native(kernel, x.contiguous(), scale, gain, up, down, num_valid)
    taps_up, taps_down, frames = up.tolist(), down.tolist(), x.shape[1]
    size = max(_REACH, PIECE // x.shape[2])
    if x.device.type != "cpu" or num_valid is not None or torch.is_grad_enabled() or frames <= size:
        return plain_anti_aliased_snake(x, scale, gain, taps_up, taps_down, num_valid)
    out = torch.empty_like(x)
    for item, target in zip(x[:, None], out[:, None], strict=True):
        for window in plan_windows(frames, size, _REACH):
            piece = item[:, window.start : window.end]
            piece = plain_anti_aliased_snake(piece, scale, gain, taps_up, taps_down)
            target[:, window.first : window.stop] = piece[:, window.kept]
    return out


def plain_anti_aliased_snake(
    x: Tensor,
    scale: Tensor,
    gain: Tensor,
    up: Sequence[float],
    down: Sequence[float],
    num_valid: Tensor | None = None,
) -> Tensor:
    """Return the same as `anti_aliased_snake`, in differentiable torch operations, all of `x` at once."""
    frames = x.shape[1]
    if num_valid is None:
        x = torch.cat([x[:, :1].expand(-1, 3, -1), x, x[:, -1:].expand(-1, 3, -1)], dim=1)
    else:
        at = torch.arange(-3, frames + 3, device=x.device).clamp(min=0)
        at = torch.minimum(at, num_valid[:, None] - 1)  # (batch, frames + 6)
        x = x.gather(1, at[..., None].expand(-1, -1, x.shape[2]))
    even = _weighted_shifts(x, [2.0 * tap for tap in up[11::-2]], 0, frames)
    odd = _weighted_shifts(x, [2.0 * tap for tap in up[10::-2]], 1, frames)
    even, odd = _snake_beta(even, scale, gain), _snake_beta(odd, scale, gain)
    first, last = even[:, :1], odd[:, -1:]
    inside = None
    if num_valid is not None:
        last = odd.gather(1, (num_valid[:, None, None] - 1).expand(-1, 1, x.shape[2]))
        inside = (torch.arange(frames, device=x.device) < num_valid[:, None])[..., None]
        even, odd = torch.where(inside, even, last), torch.where(inside, odd, last)
    even = torch.cat([first, first, even, last, last, last], dim=1)
    odd = torch.cat([first, first, first, odd, last, last], dim=1)
    y = _weighted_shifts(even, down[1::2], 0, frames) + _weighted_shifts(odd, down[::2], 0, frames)
    return y if inside is None else y * inside


def _snake_beta(u: Tensor, scale: Tensor, gain: Tensor) -> Tensor:
    """Return u + gain * sin^2(scale * u), in the memory of `u` where no gradient is wanted."""
    if torch.is_grad_enabled():
        return u + gain * torch.sin(u * scale).square()
    sine = (u * scale).sin_()
    return u.addcmul_(sine.mul_(sine), gain)


def _weighted_shifts(x: Tensor, taps: Sequence[float], first: int, frames: int) -> Tensor:
    """Return the sum over k of `taps[k] * x[:, first + k : first + k + frames]`."""
    if x.dtype == torch.float32 and x.device.type == "cpu" and not torch.is_grad_enabled():
        kernel = torch.tensor(taps).repeat(x.shape[2], 1)[:, None, None]  # (channels, 1, 1, taps)
        image = x[:, first : first + frames + len(taps) - 1].transpose(1, 2)[:, :, None]
        y = functional.conv2d(image, kernel, groups=x.shape[2])  # oneDNN does this in one pass
        return y[:, :, 0].transpose(1, 2)
    out = x[:, first : first + frames] * taps[0]
    for k, tap in enumerate(taps[1:], start=first + 1):
        out = torch.add(out, x[:, k : k + frames], alpha=tap, out=None if out.requires_grad else out)
    return out


@cache
def native_kernel() -> ctypes.CDLL | None:
    """Return the compiled kernel, or None where none can be had."""
    library = native.load_kernel(Path(__file__).with_suffix(".c"))
    if library is not None:
        library.anti_aliased_snake.argtypes = (
            [ctypes.c_void_p] * 6 + [ctypes.c_long] * 2 + [ctypes.c_void_p] + [ctypes.c_long] * 2
        )
        library.anti_aliased_snake.restype = None
    return library


def _native(
    kernel: ctypes.CDLL,
    x: Tensor,
    scale: Tensor,
    gain: Tensor,
    up: Tensor,
    down: Tensor,
    num_valid: Tensor | None,
) -> Tensor:
    """Run the C kernel, its blocks spread over torch's threads when there is enough to do."""
    y = torch.empty_like(x)
    blocks, valid = (
        x.shape[0] * -(-x.shape[1] // _BLOCK),
        None if num_valid is None else num_valid.contiguous(),
    )
    held = [x, y, scale.contiguous(), gain.contiguous(), up, down]
    fixed = [t.data_ptr() for t in held] + [
        x.shape[2],
        x.shape[1],
        None if valid is None else valid.data_ptr(),
    ]
    threads = torch.get_num_threads() if x.numel() >= THREAD_VALUES else 1
    native.spread(kernel.anti_aliased_snake, tuple(fixed), blocks, threads)
    return y
