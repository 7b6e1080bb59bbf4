"""What a training run of the unit vocoder is told; a recipe is one of these as YAML.

Source: Polyak et al. 2021, arXiv:2104.00355, section 2.3; defaults are those of `facebookresearch/speech-resynthesis`.

Contents: `DataSettings`, `NetworkSettings`, `LossSettings`, `UnitVocoderSettings`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from speechtok.training.settings import LoopSettings
from speechtok.training.unit_vocoder.discriminators import PERIOD_CHANNELS, PERIODS, SCALE_CHANNELS

VOICE_RULES = ("column", "underscore", "parent", "grandparent", "single")
"""Values of `voices_by`."""
SPEAKERS = ("table", "xvector")
"""Values of `speaker`, besides None."""


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """What is learnt from."""

    segment_samples: int = 8960
    """Samples per example; whole units and, for a vocoder with pitch, whole pitch codes of 1280."""
    train_split: str = "train"
    """Split of a token dataset that is trained on."""
    dev_split: str | None = None
    """Split that is looked at for validation; None holds out a share of what would be trained on."""
    held_out: float = 0.02
    """That share, at least one utterance; chosen by the seed."""
    voices_by: str = "column"
    """Where a speaker's name comes from: "column" `speaker`; of the recording's path, what stands before the first
    "underscore" of its name, its "parent" folder or its "grandparent"; or "single" for one voice."""
    validation_utterances: int = 32
    """Utterances that are looked at, evenly spread over the split; 0 takes all."""
    validation_seconds: float = 10.0
    """Most of each that is looked at."""
    cache_mb: int = 2048
    """Recordings kept in memory once they were decoded, in each process that prepares batches."""

    def __post_init__(self) -> None:
        if self.voices_by not in VOICE_RULES:
            raise ValueError(f"`voices_by` must be one of {', '.join(VOICE_RULES)}, got '{self.voices_by}'.")
        if self.segment_samples < 1:
            raise ValueError(f"`segment_samples` must be at least 1, got {self.segment_samples}.")
        if not 0 < self.held_out < 1:
            raise ValueError(f"`held_out` must be between 0 and 1, got {self.held_out}.")


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """Sizes of vocoder and discriminators."""

    pitch: bool = True
    """Whether the vocoder takes pitch codes; the tokenizer must have a pitch quantizer."""
    speaker: str | None = "table"
    """"table" (a vector is learnt for each voice), "xvector" (a projection of the tokenizer's), or None."""
    channels: int = 512
    """Channels of the vocoder after its first convolution; each block halves them."""
    embedding: int = 128
    """Channels of each table."""
    rates: tuple[int, ...] = ()
    """Up-sampling of each block; none takes the published ones, for units of 320 and of 160 samples."""
    block_kernels: tuple[int, ...] = (3, 7, 11)
    """Kernel sizes of the vocoder's residual blocks."""
    periods: tuple[int, ...] = PERIODS
    """Of the discriminators of periods."""
    period_channels: tuple[int, ...] = PERIOD_CHANNELS
    """Of their convolutions."""
    scale_channels: tuple[int, ...] = SCALE_CHANNELS
    """Of the convolutions of the discriminators of scales; seven multiples of 16."""

    def __post_init__(self) -> None:
        if self.speaker is not None and self.speaker not in SPEAKERS:
            raise ValueError(
                f"`speaker` must be one of {', '.join(SPEAKERS)}, or null, got '{self.speaker}'."
            )
        blocks = len(self.rates) or 5
        if self.channels % 2**blocks:
            raise ValueError(
                f"`channels` is halved {blocks} times, so it must be a multiple of {2**blocks}, got {self.channels}."
            )


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """Losses and learning rates."""

    mel_weight: float = 45.0
    """Weight of the mel distance."""
    feature_weight: float = 2.0
    """Weight of feature matching; that of the adversarial loss is 1."""
    adversarial_from: int = 0
    """Steps in which the vocoder learns from the mel distance alone, before the discriminators join."""
    learning_rate: float = 2e-4
    """Of both AdamW optimizers."""
    betas: tuple[float, float] = (0.8, 0.99)
    """Of their moving averages."""
    weight_decay: float = 0.01
    """Of their parameters."""
    decay: float = 0.999
    """Factor of the learning rate after each pass through the utterances."""
    warmup_steps: int = 0
    """Steps in which the learning rate of each optimizer rises evenly to its value."""

    def __post_init__(self) -> None:
        for name in ("adversarial_from", "warmup_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must be at least 0, got {getattr(self, name)}.")


@dataclass(frozen=True, kw_only=True)
class UnitVocoderSettings:
    """A training run."""

    loop: LoopSettings = field(default_factory=LoopSettings)
    """How long it lasts, and what it leaves on the way."""
    data: DataSettings = field(default_factory=DataSettings)
    """What it learns from."""
    network: NetworkSettings = field(default_factory=NetworkSettings)
    """Sizes."""
    losses: LossSettings = field(default_factory=LossSettings)
    """What is minimised, and how fast."""
