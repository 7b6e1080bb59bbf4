"""The architecture of a FunCodec network; `published_config` reads it from a published `config.yaml`.

Source: Du et al. 2023, FunCodec, arXiv:2309.07405, section 3.

Conventions: an *axis tuple* has one entry per axis a convolution runs over: `(time,)` for time-domain
networks, `(frequency, time)` for FreqCodec. Ratios are in the decoder's order, coarse to fine.

Contents: `StackConfig`, `SegmentConfig`, `PhoneConfig`, `FuncodecConfig`, `DOMAINS`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

DOMAINS = {"mag_phase": 3, "mag_angle": 2}
"""Spectral domains of FreqCodec → channels."""


@dataclass(frozen=True, kw_only=True)
class StackConfig:
    """Architecture of one convolutional stack, the encoder or the decoder."""

    channels: int
    """Channels of the signal side: into the encoder, out of the decoder."""
    dimension: int
    """Channels of the latent side, D."""
    ratios: tuple[tuple[int, ...], ...]
    """Stride per stage and axis, in the decoder's order."""
    filters: int
    """Channels of the stage nearest to the signal; each further stage doubles them."""
    residual_layers: int
    """Residual blocks per stage."""
    kernel_size: tuple[int, ...]
    """Kernel of the first convolution."""
    last_kernel_size: tuple[int, ...]
    """Kernel of the last convolution."""
    residual_kernel_size: tuple[int, ...]
    """Kernel of the first convolution of a residual block."""
    dilation_base: int
    """Block j of a stage is dilated by this to the power j, along time."""
    compress: int
    """How many times narrower a residual block is inside."""
    true_skip: bool
    """Whether a block's shortcut is the identity instead of a 1×1 convolution."""
    norm: str
    """"none", "weight_norm", "spectral_norm" or "time_group_norm"."""
    num_groups: int
    """Groups of the group norm."""
    causal: bool
    """Whether convolutions look back only."""
    lstm_layers: int
    """Layers of the LSTM; 0 for none."""
    lstm_skip: bool
    """Whether the LSTM's input is added to its output."""
    group_ratio: int
    """Grouped convolutions have floor(channels / 2) / ratio groups; -1 for ungrouped ones."""
    transposed_group_ratio: int
    """The same for transposed convolutions."""
    trim_right_ratio: float
    """Share of a causal transposed convolution's surplus that is cut from the right."""
    last_out_padding: tuple[tuple[int, int], ...]
    """How much less is trimmed (before, after) per axis in the decoder's last stage."""

    @property
    def axes(self) -> int:
        """1 for convolutions over time, 2 for frequency and time."""
        return len(self.ratios[0])

    @property
    def time_ratio(self) -> int:
        """Product of the strides along time."""
        return math.prod(ratio[-1] for ratio in self.ratios)


@dataclass(frozen=True, kw_only=True)
class SegmentConfig:
    """How utterances are cut into overlapping segments that are coded on their own."""

    length: int
    """Samples of a segment; the last ones of an utterance are shorter."""
    stride: int
    """Samples from the start of one to the start of the next."""

    def spans(self, num_samples: int) -> list[tuple[int, int]]:
        """Return the first sample of each segment and the one after its last."""
        starts = range(0, num_samples, self.stride)
        return [(start, min(start + self.length, num_samples)) for start in starts]


@dataclass(frozen=True, kw_only=True)
class PhoneConfig:
    """Phone labels that the decoder reads beside the codes (semantic augmentation)."""

    num_phones: int
    """Different labels."""
    per_frame: int
    """Labels per code frame."""


@dataclass(frozen=True, kw_only=True)
class FuncodecConfig:
    """Everything that decides what a FunCodec network computes."""

    encoder: StackConfig
    """Signal → latent."""
    decoder: StackConfig
    """Latent → signal."""
    sample_rate: int
    """Hz."""
    domain: tuple[str, str]
    """Signal domain of encoder and decoder: "time", or one of `DOMAINS`."""
    fft_length: int
    """Points of the Fourier transform; unused in the time domain."""
    fft_hop: int
    """Samples between spectra; 1 in the time domain."""
    normalize: bool
    """Whether the level is removed before encoding."""
    num_codebooks: int
    """Stages of the residual quantizer."""
    codebook_size: int
    """Codes per stage."""
    codebook_dim: int
    """Channels in which codes are looked up; `encoder.dimension` without projections."""
    codec_range: float | None
    """Bound r of the squashing r·tanh before quantization, or None."""
    bandwidth_rate: int
    """Sample rate that the bit-rate rule counts with, in Hz."""
    segments: SegmentConfig | None = None
    """How utterances are cut; None encodes them whole."""
    phones: PhoneConfig | None = None
    """Phone labels of a semantic-augmented model; None for others."""

    @property
    def hop_length(self) -> int:
        """Samples per code frame."""
        return self.encoder.time_ratio * self.fft_hop

    @property
    def is_spectral(self) -> bool:
        """Whether the network runs on spectra (FreqCodec)."""
        return self.domain[0] != "time"

    def codebooks_for(self, bandwidth: float | None) -> int:
        """Return how many codebooks a bit rate affords.

        A codebook costs `log2(codebook_size) * sample_rate / hop_length` bits per second. The number
        is rounded down, but is at least 1 and at most all; None, 0 and less mean all.

        Args:
            bandwidth: bits per second.
        """
        if bandwidth is None or bandwidth <= 0:
            return self.num_codebooks
        cost = math.log2(self.codebook_size) * self.bandwidth_rate / self.hop_length
        return min(self.num_codebooks, max(1, math.floor(bandwidth / cost)))
