"""The convolutional VQ-VAE that codes pitch contours, and raw audio in one of the published models.

Source: Dhariwal et al. 2020, Jukebox, arXiv:2005.00341, section 3; Polyak et al. 2021, arXiv:2104.00355, sections
2.2 and 2.1. Entry names as in the checkpoints that `facebookresearch/speech-resynthesis` writes.

Conventions: signals are `(batch, 1, samples or frames)`; codes are `(batch, frames)`, int64.

Contents: `VqVaeSettings`, `VqEncoder`, `VqDecoder`, `Codebook`, `F0VqVae`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechtok.nets.vector_quantizer import half_norms_of, nearest


@dataclass(frozen=True, kw_only=True)
class VqVaeSettings:
    """Sizes; the defaults are the published pitch quantizer."""

    strides: tuple[int, ...] = (2, 2, 2, 2)
    """Down-sampling of the encoder's blocks, in order."""
    width: int = 32
    """Channels inside."""
    channels: int = 128
    """Channels of a code."""
    codebook_size: int = 20
    """Number of codes."""
    depth: int = 4
    """Residual units per block."""
    dilation_growth: int = 3
    """Factor from one residual unit's dilation to the next."""

    @property
    def hop_length(self) -> int:
        """Inputs per code."""
        return math.prod(self.strides)


class _Residual(nn.Module):
    """Two convolutions, the first dilated, added to the input. Entries: `model.1`, `model.3`."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.ReLU(),
            nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation),
            nn.ReLU(),
            nn.Conv1d(width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.model(x)
        return out


class _Stack(nn.Module):
    """Residual units of growing dilation. Entries: `model.N`."""

    def __init__(self, s: VqVaeSettings) -> None:
        super().__init__()
        self.model = nn.Sequential(*(_Residual(s.width, s.dilation_growth**n) for n in range(s.depth)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out


def _resampling(stride: int) -> tuple[int, int]:
    """Return kernel and padding: 2 s and s / 2 for even strides, 2 s + 1 and s // 2 + 1 for odd ones."""
    return (2 * stride, stride // 2) if stride % 2 == 0 else (2 * stride + 1, stride // 2 + 1)


class _Level(nn.Module):
    """Entry: `model`."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out


class VqEncoder(nn.Module):
    """Down-sample to features. Entries: `level_blocks.0.model.{block}.{0: convolution, 1: stack}`."""

    def __init__(self, s: VqVaeSettings) -> None:
        super().__init__()
        self.hop_length = s.hop_length
        blocks: list[nn.Module] = []
        for index, stride in enumerate(s.strides):
            kernel, padding = _resampling(stride)
            conv = nn.Conv1d(s.width if index else 1, s.width, kernel, stride, padding)
            blocks.append(nn.Sequential(conv, _Stack(s)))
        blocks.append(nn.Conv1d(s.width, s.channels, 3, padding=1))
        self.level_blocks = nn.ModuleList([_Level(*blocks)])

    def forward(self, x: Tensor) -> Tensor:
        """Return `(batch, channels, floor(inputs / hop_length))` of `(batch, 1, inputs)`."""
        out: Tensor = self.level_blocks[0](x)
        return out


class VqDecoder(nn.Module):
    """Up-sample from code vectors. Entries: `level_blocks.0.model.{0, block}.{0: stack, 1: convolution}`, `out`."""

    def __init__(self, s: VqVaeSettings) -> None:
        super().__init__()
        blocks: list[nn.Module] = [nn.Conv1d(s.channels, s.width, 3, padding=1)]
        for index, stride in enumerate(reversed(s.strides), start=1):
            kernel, padding = _resampling(stride)
            out_channels = s.channels if index == len(s.strides) else s.width
            conv = nn.ConvTranspose1d(s.width, out_channels, kernel, stride, padding)
            blocks.append(nn.Sequential(_Stack(s), conv))
        self.level_blocks = nn.ModuleList([_Level(*blocks)])
        self.out = nn.Conv1d(s.channels, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(batch, 1, hop_length · frames)` of `(batch, channels, frames)`."""
        out: Tensor = self.out(self.level_blocks[0](x))
        return out


class _Bottleneck(nn.Module):
    """Entry: `k` `(codebook_size, channels)`."""

    k: Tensor

    def __init__(self, s: VqVaeSettings) -> None:
        super().__init__()
        self.register_buffer("k", torch.zeros(s.codebook_size, s.channels))


class Codebook(nn.Module):
    """Nearest code vectors. Entry: `level_blocks.0.k`."""

    def __init__(self, s: VqVaeSettings) -> None:
        super().__init__()
        self.level_blocks: list[_Bottleneck] = nn.ModuleList([_Bottleneck(s)])  # type: ignore[assignment]

    @property
    def vectors(self) -> Tensor:
        """`(codebook_size, channels)`."""
        return self.level_blocks[0].k

    def encode(self, features: Tensor) -> Tensor:
        """Return the nearest code of each frame: `(batch, frames)` of `(batch, channels, frames)`."""
        return nearest(features.transpose(1, 2), self.vectors.T, half_norms_of(self.vectors))

    def decode(self, codes: Tensor) -> Tensor:
        """Return code vectors: `(batch, channels, frames)` of `(batch, frames)`."""
        return functional.embedding(codes, self.vectors).transpose(1, 2)


class F0VqVae(nn.Module):
    """Pitch contours to codes and back. Entries: `encoder`, `vq`, `decoder`.

    A code depends on about 77 codes' worth of contour to each side, so contours are coded whole.
    """

    def __init__(self, settings: VqVaeSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or VqVaeSettings()
        self.encoder = VqEncoder(self.settings)
        self.vq = Codebook(self.settings)
        self.decoder = VqDecoder(self.settings)

    def encode(self, f0: Tensor) -> Tensor:
        """Return the codes of contours of equal length.

        Args:
            f0: `(batch, frames)`, normalised; at least `hop_length` frames.

        Returns:
            `(batch, floor(frames / hop_length))`, int64.

        Raises:
            ValueError: when there are too few frames.
        """
        if f0.shape[1] < self.settings.hop_length:
            raise ValueError(
                f"`f0` must have at least {self.settings.hop_length} frames to give a code, got {f0.shape[1]}."
            )
        return self.vq.encode(self.encoder(f0[:, None]))

    def decode(self, codes: Tensor) -> Tensor:
        """Return contours `(batch, hop_length · codes)`, normalised as they were, of `(batch, codes)`."""
        contour: Tensor = self.decoder(self.vq.decode(codes))
        return contour[:, 0]
