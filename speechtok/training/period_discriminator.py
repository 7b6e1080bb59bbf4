"""The discriminator of a period: what a waveform looks like when only every so manieth sample is seen.

Source: Kong et al. 2020, HiFi-GAN, arXiv:2010.05646, section 2.3.

Contents: `PeriodDiscriminator`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.1
"""Of the leaky rectifiers."""
Convolution = Callable[[int, int, tuple[int, int], tuple[int, int]], nn.Module]
"""Input channels, output channels, kernel and stride to a layer that keeps the length but for the stride."""


class PeriodDiscriminator(nn.Module):
    """Sees every `period`-th sample as a column. Entries: `convs.N`, `conv_post`.

    Args:
        period: samples that are laid side by side.
        channels: of each convolution; all but the last one take every third frame.
        convolution: makes the layers of `convs`.
        last: makes `conv_post`.
        pads_whole: whether a waveform of whole periods gets one more, as in Descript's code.
    """

    def __init__(
        self,
        period: int,
        channels: Sequence[int],
        *,
        convolution: Convolution,
        last: Convolution,
        pads_whole: bool,
    ) -> None:
        super().__init__()
        self.period, self.pads_whole = period, pads_whole
        strides = [3] * (len(channels) - 1) + [1]
        self.convs = nn.ModuleList(
            convolution(before, after, (5, 1), (stride, 1))
            for before, after, stride in zip((1, *channels), channels, strides, strict=False)
        )
        self.conv_post = last(channels[-1], 1, (3, 1), (1, 1))

    def forward(self, waveform: Tensor) -> list[Tensor]:
        """Return the feature maps `(batch, channels, frames, period)` of `(batch, samples)`, the verdict last."""
        missing = self.period - waveform.shape[-1] % self.period
        if missing < self.period or self.pads_whole:
            waveform = functional.pad(waveform[:, None], (0, missing), mode="reflect")[:, 0]
        x = waveform.reshape(waveform.shape[0], 1, -1, self.period)
        maps = []
        for layer in self.convs:
            x = functional.leaky_relu(layer(x), SLOPE)
            maps.append(x)
        return [*maps, self.conv_post(x)]
