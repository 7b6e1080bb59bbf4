"""The discriminators the unit vocoder is trained against: of periods and of scales.

Source: Kong et al. 2020, HiFi-GAN, arXiv:2010.05646, section 2.3; Kumar et al. 2019, MelGAN, arXiv:1910.06711, section
2.2 (scales). Sizes and entry names as in the checkpoints that `facebookresearch/speech-resynthesis` writes.

Conventions: waveforms are `(batch, samples)`; the last feature map of each network is its verdict, with one channel.

Contents: `PERIODS`, `Discriminators`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from speechtok.training.period_discriminator import SLOPE, PeriodDiscriminator
from speechtok.training.unit_vocoder.convolutions import SpectralNormConv, WeightNormConv

PERIODS = (2, 3, 5, 7, 11)
"""Samples that are laid side by side."""
NUM_SCALES = 3
"""Of which each has half the rate of the one before."""
PERIOD_CHANNELS = (32, 128, 512, 1024, 1024)
SCALE_CHANNELS = (128, 128, 256, 512, 1024, 1024, 1024)
"""Of the published networks."""
_KERNELS, _STRIDES, _GROUPS = (15, 41, 41, 41, 41, 41, 5), (1, 2, 2, 4, 4, 1, 1), (1, 4, 16, 16, 16, 16, 1)


class Discriminators(nn.Module):
    """All networks. Entries: `mpd.discriminators.N` (periods), `msd.discriminators.N` (scales).

    Args:
        periods: one network for each.
        period_channels: of their convolutions.
        scale_channels: of the convolutions over a scale; multiples of 16.

    Raises:
        ValueError: when there are not seven `scale_channels`, or one is no multiple of 16.
    """

    def __init__(
        self,
        periods: Sequence[int] = PERIODS,
        *,
        period_channels: Sequence[int] = PERIOD_CHANNELS,
        scale_channels: Sequence[int] = SCALE_CHANNELS,
    ) -> None:
        super().__init__()
        if len(scale_channels) != len(_KERNELS) or any(count % max(_GROUPS) for count in scale_channels):
            raise ValueError(
                f"`scale_channels` must be {len(_KERNELS)} multiples of {max(_GROUPS)}, got {tuple(scale_channels)}."
            )
        self.mpd = _Group(
            PeriodDiscriminator(
                period, period_channels, convolution=WeightNormConv, last=WeightNormConv, pads_whole=False
            )
            for period in periods
        )
        self.msd = _Group(
            _ScaleDiscriminator(number, scale_channels, SpectralNormConv if number == 0 else WeightNormConv)
            for number in range(NUM_SCALES)
        )

    def forward(self, waveform: Tensor) -> list[list[Tensor]]:
        """Return the feature maps of each network: periods first, then scales."""
        return [network(waveform) for group in (self.mpd, self.msd) for network in group.discriminators]


class _Group(nn.Module):
    """Entries: `discriminators.N`."""

    def __init__(self, networks: object) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(networks)  # type: ignore[arg-type]


class _ScaleDiscriminator(nn.Module):
    """Sees the waveform at a lower rate. Entries: `convs.N`, `conv_post`."""

    def __init__(
        self,
        halvings: int,
        channels: Sequence[int],
        convolution: type[SpectralNormConv] | type[WeightNormConv],
    ) -> None:
        super().__init__()
        self.halvings = halvings
        self.convs = nn.ModuleList(
            convolution(before, after, (kernel,), (stride,), groups)
            for before, after, kernel, stride, groups in zip(
                (1, *channels), channels, _KERNELS, _STRIDES, _GROUPS, strict=False
            )
        )
        self.conv_post = convolution(channels[-1], 1, (3,), (1,))

    def forward(self, waveform: Tensor) -> list[Tensor]:
        """Return the feature maps `(batch, channels, frames)` of `(batch, samples)`, the verdict last."""
        x = waveform[:, None]
        for _ in range(self.halvings):
            x = functional.avg_pool1d(x, 4, stride=2, padding=2)
        maps = []
        for layer in self.convs:
            x = functional.leaky_relu(layer(x), SLOPE)
            maps.append(x)
        return [*maps, self.conv_post(x)]
