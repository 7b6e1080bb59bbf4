"""The unit HiFi-GAN: units, pitch codes and a speaker to a waveform.

Source: Polyak et al. 2021, arXiv:2104.00355, section 2.3; Kong et al. 2020, HiFi-GAN, arXiv:2010.05646, section 2.
Entry names as in the checkpoints that `facebookresearch/speech-resynthesis` writes.

Conventions: units are `(batch, frames)`, int64; waveforms `(batch, samples)`. Weight norm is folded by
`nets.weight_norm.fold` after loading.

Contents: `VocoderSettings`, `UnitVocoder`, `TABLE_ROWS`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechtok.nets.fast_conv import FastConv1d
from speechtok.nets.weight_norm import WeightNormConv1d, WeightNormConvTranspose1d
from speechtok.nets.windows import plan_windows
from speechtok.tokenizers.units.durations import DurationPredictor
from speechtok.tokenizers.units.jukebox import Codebook, F0VqVae, VqEncoder, VqVaeSettings

_SLOPE, _LAST_SLOPE = 0.1, 0.01
CONTEXT = 24
"""Units of context on each side that decide a unit's samples: 21 at hop 320, 23 at hop 160."""
_BLOCK = 500
"""Units per pass on a CPU: memory does not grow with length, and context costs a tenth."""

TABLE_ROWS = 200
"""Voices of a published table, whether used or not."""
_F0 = VqVaeSettings()


@dataclass(frozen=True, kw_only=True)
class VocoderSettings:
    """Sizes, as in the `config.json` beside a checkpoint."""

    num_units: int = 100
    """Rows of the unit table."""
    rates: tuple[int, ...] = (5, 4, 4, 2, 2)
    """Up-sampling of each block; their product is the samples per unit."""
    kernels: tuple[int, ...] = (11, 8, 8, 4, 4)
    """Kernel sizes of the up-sampling."""
    channels: int = 512
    """Channels after the first convolution; each block halves them."""
    embedding: int = 128
    """Channels of each table."""
    block_kernels: tuple[int, ...] = (3, 7, 11)
    """Kernel sizes of the residual blocks."""
    dilations: tuple[int, ...] = (1, 3, 5)
    """Dilations inside each."""
    f0: VqVaeSettings | None = _F0
    """The pitch quantizer inside, or None for a vocoder without pitch."""
    f0_codes: int = 20
    """Rows of the pitch table."""
    speaker: str | None = "table"
    """"table" (voices by index), "xvector" (a projection of 512 numbers), or None."""
    voices: int = TABLE_ROWS
    """Rows of the table of voices."""
    styles: int = 0
    """Rows of the table of styles; 0 for a vocoder without."""
    duration_hidden: int = 0
    """Channels inside the predictor of durations; 0 for a vocoder without."""
    duration_kernel: int = 3
    """Frames each of its convolutions sees."""
    has_statistics: bool = False
    """Whether mean and deviation of the speaker's pitch, in Hz, are two more channels (`f0_feats`)."""
    unit_encoder: VqVaeSettings | None = None
    """A content encoder inside, instead of the unit table."""

    @property
    def hop_length(self) -> int:
        """Samples per unit."""
        return math.prod(self.rates)

    @property
    def in_channels(self) -> int:
        """Channels of everything that is stacked."""
        return (
            self.embedding * (1 + (self.f0 is not None) + (self.speaker is not None) + (self.styles > 0))
            + 2 * self.has_statistics
        )


class _Residual(nn.Module):
    """Three dilated pairs of convolutions, each after a leaky rectifier. Entries: `convs1.N`, `convs2.N`."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(FastConv1d(channels, kernel, dilation=d, slope=_SLOPE) for d in dilations)
        self.convs2 = nn.ModuleList(FastConv1d(channels, kernel, slope=_SLOPE) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for first, second in zip(self.convs1, self.convs2, strict=True):
            x = second(first(x), x)
        return x


class UnitVocoder(nn.Module):
    """Tables and generator. Entries: `dict`, `f0_dict`, `spkr`, `style`, `quantizer`, `conv_pre`, `ups`, …."""

    def __init__(self, settings: VocoderSettings) -> None:
        super().__init__()
        s = self.settings = settings
        if s.unit_encoder is None:
            self.dict = nn.Embedding(s.num_units, s.embedding)
        else:
            self.code_encoder = VqEncoder(s.unit_encoder)
            self.code_vq = Codebook(s.unit_encoder)
        if s.f0 is not None:
            self.quantizer = F0VqVae(s.f0)
            self.f0_dict = nn.Embedding(s.f0_codes, s.embedding)
        if s.speaker == "table":
            self.spkr: nn.Module = nn.Embedding(s.voices, s.embedding)
        elif s.speaker == "xvector":
            self.spkr = nn.Linear(512, s.embedding)
        if s.styles:
            self.style = nn.Embedding(s.styles, s.embedding)
        if s.duration_hidden:
            self.dur_predictor = DurationPredictor(s.embedding, s.duration_hidden, s.duration_kernel)
        self.conv_pre = WeightNormConv1d(s.in_channels, s.channels, 7, padding=3)
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        channels = s.channels
        for rate, kernel in zip(s.rates, s.kernels, strict=True):
            up = WeightNormConvTranspose1d(
                channels, channels // 2, kernel, stride=rate, padding=(kernel - rate) // 2, output_padding=0
            )
            self.ups.append(up)
            channels //= 2
            self.resblocks.extend(_Residual(channels, k, s.dilations) for k in s.block_kernels)
        self.conv_post = WeightNormConv1d(channels, 1, 7, padding=3)

    @property
    def num_voices(self) -> int:
        """Rows of the table of voices; 0 without one."""
        return self.settings.voices if self.settings.speaker == "table" else 0

    def voice(self, speaker: Tensor) -> Tensor:
        """Return the vector of speakers: `(batch, embedding)` of indices `(batch,)` or vectors `(batch, 512)`."""
        out: Tensor = self.spkr(speaker)
        return out

    def stack(
        self,
        units: Tensor,
        pitch: Tensor | None,
        voice: Tensor | None,
        statistics: Tensor | None = None,
        style: Tensor | None = None,
    ) -> Tensor:
        """Return the generator's input.

        Args:
            units: `(batch, frames)`, int64.
            pitch: `(batch, pitch frames)`, int64, for vocoders with pitch; the longer of both must be a
                multiple of the other.
            voice: `(batch, embedding)` for vocoders with speakers.
            statistics: `(batch, 2)`, mean and deviation of pitch in Hz, for vocoders that take them.
            style: rows `(batch,)` for vocoders with styles.

        Returns:
            `(batch, frames, in_channels)`, at the higher rate of the two.

        Raises:
            ValueError: when units and pitch do not divide.
        """
        x: Tensor
        if self.settings.unit_encoder is None:
            x = self.dict(units)
        else:
            x = self.code_vq.decode(units).transpose(1, 2)
        if pitch is not None:
            y = self.f0_dict(pitch)
            longer = max(x.shape[1], y.shape[1])
            if longer % x.shape[1] or longer % y.shape[1]:
                raise ValueError(
                    f"`units` and `pitch` must have lengths of which one divides the other, "
                    f"got {x.shape[1]} and {y.shape[1]}."
                )
            x = x.repeat_interleave(longer // x.shape[1], dim=1)
            y = y.repeat_interleave(longer // y.shape[1], dim=1)
            x = torch.cat([x, y], dim=2)
        manner = None if style is None else self.style(style)
        constant = [
            item[:, None].expand(-1, x.shape[1], -1)
            for item in (voice, manner, statistics)
            if item is not None
        ]
        return torch.cat([x, *constant], dim=2)

    def generate(self, x: Tensor) -> Tensor:
        """Return `(batch, frames · hop_length)` of stacked features `(batch, frames, in_channels)`, in one pass."""
        x = self.conv_pre(x)
        count, in_place = len(self.settings.block_kernels), not torch.is_grad_enabled()
        for index, up in enumerate(self.ups):
            x = up(functional.leaky_relu(x, _SLOPE))
            first, *others = self.resblocks[index * count : (index + 1) * count]
            total = first(x)
            for block in others:
                total = total.add_(block(x)) if in_place else total + block(x)
            x = total.div_(count) if in_place else total / count
        wave: Tensor = torch.tanh(self.conv_post(functional.leaky_relu(x, _LAST_SLOPE)))
        return wave[:, :, 0]

    def forward(
        self,
        units: Tensor,
        pitch: Tensor | None = None,
        voice: Tensor | None = None,
        statistics: Tensor | None = None,
        style: Tensor | None = None,
    ) -> Tensor:
        """Return the waveforms of sequences of equal length, window by window; arguments as in `stack`.

        Returns:
            `(batch, frames · hop_length)`, in [-1, 1].
        """
        x = self.stack(units, pitch, voice, statistics, style)
        hop = self.settings.hop_length
        frames = x.shape[1]
        out = x.new_empty(x.shape[0], frames * hop)
        size = _BLOCK if x.device.type == "cpu" else 4 * _BLOCK
        for window in plan_windows(frames, size, CONTEXT):
            wave = self.generate(x[:, window.start : window.end])
            kept = window.kept
            out[:, window.first * hop : window.stop * hop] = wave[:, kept.start * hop : kept.stop * hop]
        return out
