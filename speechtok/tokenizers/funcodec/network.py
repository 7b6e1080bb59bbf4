"""FunCodec's encoder and decoder: stacks of residual convolutions around an LSTM.

Source: Du et al. 2023, FunCodec, arXiv:2309.07405, section 3 (time domain: figure 1; FreqCodec: section
3.3, table 1); repository `modelscope/FunCodec`, `funcodec/models/encoder` and `funcodec/models/decoder`.

Conventions: the signal is `(batch, channels, samples)`, or `(batch, channels, bins, frames)` for
FreqCodec; the latent is `(batch, dimension, frames)`. Layers sit in a list called `model`, whose
indices are part of the published entry names.

Contents: `Stack`, `Encoder`, `Decoder`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from speechtok.tokenizers.funcodec.config import StackConfig
from speechtok.tokenizers.funcodec.convolutions import Conv, ConvTranspose, Shared
from speechtok.tokenizers.funcodec.layers import (
    Elu,
    Lstm,
    ResidualBlock,
    SqueezeFrequency,
    UnsqueezeFrequency,
    groups_for,
)
from speechtok.tokenizers.funcodec.pending import Layer, Signal


class Stack(Layer):
    """Layers applied one after the other."""

    model: nn.ModuleList

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.model = nn.ModuleList(layers)

    def run(self, x: Signal, lengths: Tensor | None) -> tuple[Signal, Tensor | None]:
        """Return the result for a batch in one pass.

        Args:
            x: `(batch, channels, …, frames)`.
            lengths: `(batch,)` valid frames, or None when all items fill the batch.

        Returns:
            The result and its lengths; frames beyond them are arbitrary.
        """
        for layer in self.model:
            x, lengths = layer.run(x, lengths)  # type: ignore[operator]
        return x, lengths


class Encoder(Stack):
    """Signal → latent.

    Args:
        config: architecture.
    """

    def __init__(self, config: StackConfig) -> None:
        norm, channels = _norm(config), config.filters
        layers: list[nn.Module] = [Conv(config.channels, channels, config.kernel_size, **norm)]
        for stride in reversed(config.ratios):
            layers += [
                *_residual_blocks(config, channels),
                Elu(),
                Conv(
                    channels,
                    2 * channels,
                    [2 * step for step in stride],
                    stride=stride,
                    groups=groups_for(channels, config.group_ratio),
                    **norm,
                ),
            ]
            channels *= 2
        if config.axes == 2:
            layers.append(SqueezeFrequency())
        if config.lstm_layers:
            layers.append(Lstm(channels, config.lstm_layers, config.lstm_skip))
        layers += [Elu(), Conv(channels, config.dimension, config.last_kernel_size[-1:], **norm)]
        super().__init__(layers)


class Decoder(Stack):
    """Latent → signal.

    Args:
        config: architecture.
    """

    def __init__(self, config: StackConfig) -> None:
        norm, channels = _norm(config), config.filters * 2 ** len(config.ratios)
        layers: list[nn.Module] = [Conv(config.dimension, channels, config.kernel_size[-1:], **norm)]
        if config.lstm_layers:
            layers.append(Lstm(channels, config.lstm_layers, config.lstm_skip))
        if config.axes == 2:
            layers.append(UnsqueezeFrequency())
        for stage, stride in enumerate(config.ratios):
            last = stage == len(config.ratios) - 1
            layers += [
                Elu(),
                ConvTranspose(
                    channels,
                    channels // 2,
                    stride,
                    groups=groups_for(channels, config.transposed_group_ratio),
                    trim_right_ratio=config.trim_right_ratio,
                    out_padding=config.last_out_padding if last else None,
                    **norm,
                ),
                *_residual_blocks(config, channels // 2),
            ]
            channels //= 2
        layers += [Elu(), Conv(channels, config.channels, config.last_kernel_size, **norm)]
        super().__init__(layers)


def _norm(config: StackConfig) -> Shared:
    groups = config.num_groups if config.norm == "time_group_norm" else 0
    return Shared(causal=config.causal, num_groups=groups)


def _residual_blocks(config: StackConfig, channels: int) -> list[nn.Module]:
    return [
        ResidualBlock(
            channels,
            config.residual_kernel_size,
            dilation=config.dilation_base**index,
            compress=config.compress,
            true_skip=config.true_skip,
            group_ratio=config.group_ratio,
            **_norm(config),
        )
        for index in range(config.residual_layers)
    ]
