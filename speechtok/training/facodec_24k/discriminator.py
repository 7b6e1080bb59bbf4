"""The discriminators that codec and redecoder are trained against.

Source: Kumar et al. 2023, High-Fidelity Audio Compression with Improved RVQGAN, arXiv:2306.06546, section 3.4
(multi-period waveform, complex multi-band multi-scale spectrogram); Kong et al. 2020, HiFi-GAN, arXiv:2010.05646,
section 2.3 (periods). Sizes and entry names as in `Plachtaa/FAcodec`.

Conventions: waveforms are `(batch, samples)`; feature maps are images `(batch, channels, height, width)`, the last
one of each discriminator being its verdict on every place, with one channel.

Contents: `Discriminator`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from speechtok.nets.spectrum import centred, spectra
from speechtok.training.period_discriminator import SLOPE, PeriodDiscriminator

PERIODS = (2, 3, 5, 7, 11)
"""Samples that are laid side by side."""
WINDOWS = (2048, 1024, 512)
"""Samples of the spectrograms' windows."""
BANDS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Where the bands of a spectrogram begin and end, as part of its bins."""
_PEAK, _LEAST = 0.8, 1e-9


class Discriminator(nn.Module):
    """Several views of a waveform, each judged by a network. Entries: `discriminators.N`.

    Args:
        periods: one network for each.
        windows: one network for each.
        period_channels: of the convolutions over a period; the published ones are 32, 128, 512, 1024, 1024.
        band_channels: of the convolutions over a band.
    """

    def __init__(
        self,
        periods: Sequence[int] = PERIODS,
        windows: Sequence[int] = WINDOWS,
        *,
        period_channels: Sequence[int] = (32, 128, 512, 1024, 1024),
        band_channels: int = 32,
    ) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(
            [
                *(
                    PeriodDiscriminator(
                        period, period_channels, convolution=_Convolution, last=_conv, pads_whole=True
                    )
                    for period in periods
                ),
                *(_SpectrogramDiscriminator(window, band_channels) for window in windows),
            ]
        )

    def forward(self, waveform: Tensor) -> list[list[Tensor]]:
        """Return the feature maps of each network.

        Args:
            waveform: `(batch, samples)`, of any level: its mean is taken away and its peak brought to 0.8.
        """
        centred = waveform - waveform.mean(dim=-1, keepdim=True)
        level = centred.abs().amax(dim=-1, keepdim=True) + _LEAST
        return [network(_PEAK * centred / level) for network in self.discriminators]


class _Convolution(nn.Sequential):
    """Convolution with weight norm. Entries: `0`."""

    def __init__(
        self, channels_in: int, channels: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1)
    ) -> None:
        super().__init__(_conv(channels_in, channels, kernel, stride))


class _SpectrogramDiscriminator(nn.Module):
    """Sees real and imaginary parts of a spectrogram, band by band. Entries: `band_convs.N.N`, `conv_post`."""

    hann: Tensor

    def __init__(self, window: int, channels: int) -> None:
        super().__init__()
        self.window, self.hop = window, window // 4
        self.register_buffer("hann", torch.hann_window(window, dtype=torch.float64), persistent=False)
        strides = (1, 2, 2, 2)
        self.band_convs = nn.ModuleList(
            nn.ModuleList(
                [
                    *(
                        _Convolution(2 if layer == 0 else channels, channels, (3, 9), (1, stride))
                        for layer, stride in enumerate(strides)
                    ),
                    _Convolution(channels, channels, (3, 3)),
                ]
            )
            for _ in BANDS[1:]
        )
        self.conv_post = _conv(channels, 1, (3, 3))

    def forward(self, x: Tensor) -> list[Tensor]:
        spectrogram, maps, ends = self._spectrogram(x), [], []
        edges = [int(part * spectrogram.shape[-1]) for part in BANDS]
        for first, stop, layers in zip(edges, edges[1:], self.band_convs, strict=False):
            band = spectrogram[..., first:stop]
            for layer in layers:  # type: ignore[attr-defined]
                band = functional.leaky_relu(layer(band), SLOPE)
                maps.append(band)
            ends.append(band)
        return [*maps, self.conv_post(torch.cat(ends, dim=-1))]

    def _spectrogram(self, x: Tensor) -> Tensor:
        """Return `(batch, 2, frames, bins)` with one frame for every hop, the last one begun."""
        margin = (self.window - self.hop) // 2
        x = functional.pad(x[:, None], (margin, margin + -x.shape[-1] % self.hop), mode="reflect")[:, 0]
        spectrum = spectra(centred(x, self.window), self.hann, self.hop)[:, 2:-2]
        return torch.view_as_real(spectrum).permute(0, 3, 1, 2)


def _conv(
    channels_in: int, channels: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1)
) -> nn.Module:
    padding = (kernel[0] // 2, kernel[1] // 2)
    layer: nn.Module = weight_norm(nn.Conv2d(channels_in, channels, kernel, stride, padding))
    return layer
