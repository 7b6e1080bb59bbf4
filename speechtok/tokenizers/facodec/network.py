"""The convolutional halves of FACodec: waveform to latent, embedding to waveform.

Source: Ju et al. 2024, NaturalSpeech 3, arXiv:2403.03100, section 3.2; layer sizes and entry names of
the released code, `open-mmlab/Amphion`, `models/codec/ns3_codec/facodec.py`.

Conventions: signals are `(batch, frames, channels)`; convolutions pad with zeros, activations with copies of the end (`nets.anti_aliased`).
Every convolution but the first reads an activation's output, so an activation that knows where an
item ends is all it takes to compute items of unequal length in one batch exactly: `num_valid`.

Contents: `Encoder`, `Generator`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechtok.nets.anti_aliased import AntiAliasedSnake
from speechtok.nets.residual import DILATIONS, ResidualUnit
from speechtok.nets.weight_norm import WeightNormConv1d, WeightNormConvTranspose1d

ENCODER_CONTEXT = 26
"""Frames of 200 samples that a latent frame depends on to each side: samples 200 t - 5126 to 200 t + 5277."""
GENERATOR_CONTEXT = 28
"""Frames that a frame's 200 output samples depend on to each side."""


def _residual_unit(channels: int, dilation: int) -> ResidualUnit:
    return ResidualUnit(
        AntiAliasedSnake(channels),
        WeightNormConv1d(channels, channels, 7, dilation=dilation, padding=3 * dilation),
        AntiAliasedSnake(channels),
        WeightNormConv1d(channels, channels, 1),
    )


class _EncoderBlock(nn.Module):
    """Three residual units, an activation and the strided convolution that doubles the channels."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride, self.padding = stride, -(-stride // 2)
        down = WeightNormConv1d(channels, 2 * channels, 2 * stride, stride=stride, padding=self.padding)
        self.block = nn.ModuleList(
            [*(_residual_unit(channels, d) for d in DILATIONS), AntiAliasedSnake(channels), down]
        )

    def forward(self, x: Tensor, num_valid: Tensor | None = None) -> Tensor:
        """Return `(batch, output_length(frames), 2 * channels)` for `x` `(batch, frames, channels)`."""
        for layer in self.block[:-1]:
            x = layer(x, num_valid)
        down: Tensor = self.block[-1](x)
        return down

    def output_length(self, length: Any) -> Any:
        """Return the frames after the strided convolution, of one length or of a tensor of lengths."""
        return (length + 2 * self.padding - 2 * self.stride) // self.stride + 1


class Encoder(nn.Module):
    """Waveform to latent; both versions. Entries: `block.0` … `block.6`."""

    def __init__(self, channels: int, strides: Sequence[int], latent_channels: int) -> None:
        super().__init__()
        last = channels * 2 ** len(strides)
        self.block = nn.ModuleList(
            [
                WeightNormConv1d(1, channels, 7, padding=3),
                *(_EncoderBlock(channels * 2**i, stride) for i, stride in enumerate(strides)),
                AntiAliasedSnake(last),
                WeightNormConv1d(last, latent_channels, 3, padding=1),
            ]
        )

    def forward(self, waveform: Tensor, num_samples: Tensor | None = None) -> Tensor:
        """Return the latent, unquantized.

        Args:
            waveform: `(batch, samples)`, in [-1, 1], zero past `num_samples`.
            num_samples: `(batch,)`, int64, valid samples of each item, each enough for one frame; None
                when all are valid.

        Returns:
            `(batch, num_frames(samples), latent_channels)`; frames past an item's own mean nothing.
        """
        layers: list[Any] = list(self.block)
        first, *blocks, activation, last = layers
        x, valid = first(waveform[..., None]), num_samples
        for block in blocks:
            x = block(x, valid)
            valid = None if valid is None else block.output_length(valid)
        latent: Tensor = last(activation(x, valid))
        return latent

    def num_frames(self, num_samples: int) -> int:
        """Return the latent frames that `num_samples` samples give; 0 or less when there are too few."""
        blocks: list[Any] = list(self.block)[1:-2]
        for block in blocks:
            num_samples = block.output_length(num_samples)
        return num_samples


class _DecoderBlock(nn.Module):
    """An activation, the transposed convolution that halves the channels, three residual units."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        up = WeightNormConvTranspose1d(
            channels,
            channels // 2,
            2 * stride,
            stride=stride,
            padding=-(-stride // 2),
            output_padding=stride % 2,
        )
        self.block = nn.ModuleList(
            [AntiAliasedSnake(channels), up, *(_residual_unit(channels // 2, d) for d in DILATIONS)]
        )
        self.stride = stride

    def forward(self, x: Tensor, num_valid: Tensor | None = None) -> Tensor:
        """Return `(batch, stride * frames, channels / 2)` for `x` `(batch, frames, channels)`."""
        activation, up, *units = self.block
        x = up(activation(x, num_valid))
        num_valid = None if num_valid is None else num_valid * self.stride
        for unit in units:
            x = unit(x, num_valid)
        return x


class Generator(nn.Module):
    """Embedding and speaker vector to waveform. Entries: `timbre_linear`, `model.0` … `model.6`."""

    def __init__(self, latent_channels: int, channels: int, strides: Sequence[int]) -> None:
        super().__init__()
        last = channels // 2 ** len(strides)
        self.timbre_linear = nn.Linear(latent_channels, 2 * latent_channels)
        self.model = nn.ModuleList(
            [
                WeightNormConv1d(latent_channels, channels, 7, padding=3),
                *(_DecoderBlock(channels // 2**i, stride) for i, stride in enumerate(strides)),
                AntiAliasedSnake(last),
                WeightNormConv1d(last, 1, 7, padding=3),
            ]
        )

    def forward(self, embedding: Tensor, speaker: Tensor, num_frames: Tensor | None = None) -> Tensor:
        """Return the waveform.

        Each frame of the embedding is normalised over its channels, then scaled and shifted by what the
        speaker vector says.

        Args:
            embedding: `(batch, frames, channels)`.
            speaker: `(batch, channels)`.
            num_frames: `(batch,)`, int64, valid frames of each item; None when all are.

        Returns:
            `(batch, hop_length * frames)`, in (-1, 1); samples past an item's own mean nothing.
        """
        scale, shift = self.timbre_linear(speaker)[:, None].chunk(2, dim=-1)
        x = functional.layer_norm(embedding, embedding.shape[-1:], eps=1e-5) * scale + shift
        if num_frames is not None:
            x = x * (torch.arange(x.shape[1], device=x.device) < num_frames[:, None])[..., None]
        layers: list[Any] = list(self.model)
        first, *blocks, activation, last = layers
        x, valid = first(x), num_frames
        for block in blocks:
            x = block(x, valid)
            valid = None if valid is None else valid * block.stride
        waveform: Tensor = last(activation(x, valid)).tanh()[..., 0]
        return waveform
