"""The convolutional halves of FAcodec: waveform to latent, embedding to waveform.

Source: Kumar et al. 2023, arXiv:2306.06546 (residual units with Snake), Défossez et al. 2022, EnCodec,
arXiv:2210.13438 (mirrored padding, LSTM); layer sizes and entry names as in `Plachtaa/FAcodec`.

Conventions: signals are `(batch, frames, channels)`. Encoder and decoder of the codec look back only, but
for the mirrored start. Each is cut at its LSTM into a convolutional part, which sees a few frames back
(`Facodec24kConfig.encoder_context`, `decoder_context`), and a recurrent part, which goes on from a `Memory` of the
frames before: so an utterance can be computed piece by piece, exactly. A memory is made by a call and
handed to the next by the caller; the networks keep none.

Contents: `Encoder`, `Decoder`, `Memory`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from speechtok.nets.reflect_conv import ReflectConv1d, TrimmedConvTranspose1d
from speechtok.nets.residual import DILATIONS, ResidualUnit
from speechtok.nets.snake import Snake
from speechtok.tokenizers.facodec_24k.config import KERNEL_SIZE


@dataclass(frozen=True)
class Memory:
    """What a recurrent part remembers of the frames before."""

    hidden: Tensor
    """`(layers, batch, channels)`, the LSTM's state."""
    cell: Tensor
    """`(layers, batch, channels)`, the LSTM's cells."""
    past: Tensor
    """`(batch, frames, channels)`, the last frames its convolution has seen."""

    def of(self, items: list[int]) -> Self:
        """Return the memory of some items of the batch."""
        return type(self)(self.hidden[:, items], self.cell[:, items], self.past[items])


class _Lstm(nn.Module):
    """LSTM over frames, with its input added. Entries: `lstm`."""

    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, layers)

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return `(batch, frames, channels)` and the state after the last frame."""
        y, state = self.lstm(x.transpose(0, 1), state)
        return x + y.transpose(0, 1), state


def _residual_unit(channels: int, dilation: int, *, causal: bool) -> ResidualUnit:
    return ResidualUnit(
        Snake(channels),
        ReflectConv1d(channels, channels, KERNEL_SIZE, dilation=dilation, causal=causal),
        Snake(channels),
        ReflectConv1d(channels, channels, 1, causal=causal),
    )


class _Block(nn.Module):
    """Layers one after the other. Entries: `block.0` …."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return y


class Encoder(nn.Module):
    """Waveform to latent. Entries: `block.0` … `block.7`."""

    def __init__(self, channels: int, strides: Sequence[int], lstm_layers: int) -> None:
        super().__init__()
        blocks, width = [], channels
        for stride in strides:
            units = [_residual_unit(width, dilation, causal=True) for dilation in DILATIONS]
            down = ReflectConv1d(width, 2 * width, 2 * stride, stride=stride)
            blocks.append(_Block(*units, Snake(width), down))
            width *= 2
        self.block = nn.ModuleList(
            [
                ReflectConv1d(1, channels, KERNEL_SIZE),
                *blocks,
                _Lstm(width, lstm_layers),
                Snake(width),
                ReflectConv1d(width, width, 3),
            ]
        )

    def forward(self, waveform: Tensor) -> Tensor:
        """Return the latent of whole utterances, unquantized.

        Args:
            waveform: `(batch, samples)`, in [-1, 1].

        Returns:
            `(batch, ceil(samples / hop_length), channels)`.
        """
        return self.recur(self.analyse(waveform))[0]

    def analyse(self, waveform: Tensor) -> Tensor:
        """Return what the LSTM reads: the convolutional part, of the shape of the latent."""
        x = waveform[..., None]
        for layer in self.block[:-3]:
            x = layer(x)
        return x

    def recur(self, x: Tensor, memory: Memory | None = None) -> tuple[Tensor, Memory]:
        """Return the latent of `analyse`'s frames, and the memory for those that follow.

        Args:
            x: `(batch, frames, channels)`; at least 3 frames when the utterance starts here and goes on.
            memory: of the frames before; None when the utterance starts here.
        """
        layers: list[Any] = list(self.block)
        lstm, activation, last = layers[-3:]
        x, (hidden, cell) = lstm(x, None if memory is None else (memory.hidden, memory.cell))
        x = activation(x)
        latent: Tensor = last(x, None if memory is None else memory.past)
        return latent, Memory(hidden, cell, _last_frames(x, last.before, memory))


class Decoder(nn.Module):
    """Styled embedding to waveform; the codec's, or without LSTM and memory the redecoder's. Entries: `model.N`.

    Args:
        in_channels: of the embedding.
        channels: after the first convolution.
        strides: up-sampling of the blocks.
        lstm_layers: of the LSTM; 0 for none.
        causal: whether it looks back only.
    """

    def __init__(
        self, in_channels: int, channels: int, strides: Sequence[int], *, lstm_layers: int, causal: bool
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [ReflectConv1d(in_channels, channels, KERNEL_SIZE, causal=causal)]
        if lstm_layers:
            layers.append(_Lstm(channels, lstm_layers))
        for stride in strides:
            up = TrimmedConvTranspose1d(channels, channels // 2, stride, causal=causal)
            channels_out = channels // 2
            units = [_residual_unit(channels_out, dilation, causal=causal) for dilation in DILATIONS]
            layers.append(_Block(Snake(channels), up, *units))
            channels = channels_out
        layers += [Snake(channels), ReflectConv1d(channels, 1, KERNEL_SIZE, causal=causal), nn.Tanh()]
        self.model = nn.ModuleList(layers)
        self._first_block = 2 if lstm_layers else 1

    def forward(self, styled: Tensor) -> Tensor:
        """Return the waveform of whole utterances.

        Args:
            styled: `(batch, frames, in_channels)`.

        Returns:
            `(batch, hop_length * frames)`, in (-1, 1).
        """
        if self._first_block == 1:
            return self.synthesise(self.model[0](styled))
        return self.synthesise(self.recur(styled)[0])

    def recur(self, styled: Tensor, memory: Memory | None = None) -> tuple[Tensor, Memory]:
        """Return what the blocks read, `(batch, frames, channels)`, and the memory for the frames that follow.

        Args:
            styled: `(batch, frames, in_channels)`; at least 7 frames when the utterance starts here and goes on.
            memory: of the frames before; None when the utterance starts here.
        """
        layers: list[Any] = list(self.model)
        first, lstm = layers[:2]
        x = first(styled, None if memory is None else memory.past)
        x, (hidden, cell) = lstm(x, None if memory is None else (memory.hidden, memory.cell))
        return x, Memory(hidden, cell, _last_frames(styled, first.before, memory))

    def synthesise(self, x: Tensor) -> Tensor:
        """Return the waveform `(batch, hop_length * frames)` of what the blocks read."""
        for layer in self.model[self._first_block :]:
            x = layer(x)
        return x[..., 0]


def _last_frames(x: Tensor, count: int, memory: Memory | None) -> Tensor:
    """Return the last `count` frames of `x`, reaching back into the memory when `x` is shorter."""
    if x.shape[1] < count and memory is not None:
        x = torch.cat([memory.past, x], dim=1)
    return x[:, max(0, x.shape[1] - count) :]
