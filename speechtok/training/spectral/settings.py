"""What a training run of the spectral codec is told; a recipe is one of these as YAML.

Contents: `DataSettings`, `JudgeSettings`, `LossSettings`, `SpectralSettings`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from speechtok.tokenizers.spectral.config import SpectralConfig
from speechtok.training.settings import LoopSettings


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """What is learnt from."""

    segment_frames: int = 60
    """Frames of an example; shorter utterances are filled with silence."""
    train_split: str = "train"
    """Split that is trained on; of a corpus, what is in no split is too."""
    dev_split: str | None = None
    """Split that is looked at for validation; None takes `dev` where there is one, and else holds out a share."""
    held_out: float = 0.02
    """That share of what would be trained on, at least one utterance; chosen by the seed."""
    gain_db: tuple[float, float] = (-12.0, 7.0)
    """Range of the gain that an example gets; what would be louder than full scale is cut."""
    speed: tuple[float, float] = (0.85, 1.2)
    """Range of the speed at which half of the examples are played, pitch and all, so that more voices are heard."""
    validation_utterances: int = 24
    """Utterances that are looked at, evenly spread over the split; 0 takes all."""
    validation_seconds: float = 5.0
    """Most of each that is looked at."""
    cache_mb: int = 4096
    """Recordings kept in memory once they were decoded, in each process that prepares batches."""

    def __post_init__(self) -> None:
        if not 0 < self.held_out < 1:
            raise ValueError(f"`held_out` must be between 0 and 1, got {self.held_out}.")
        if self.segment_frames < 32:
            raise ValueError(f"`segment_frames` must be at least 32, got {self.segment_frames}.")
        for name, lowest in (("gain_db", -120.0), ("speed", 0.25)):
            low, high = getattr(self, name)
            if not lowest <= low <= high:
                raise ValueError(
                    f"`{name}` must be two numbers from {lowest:g}, the lower one first, got {low}, {high}."
                )


@dataclass(frozen=True, kw_only=True)
class JudgeSettings:
    """The discriminators, of spectrograms."""

    windows: tuple[int, ...] = (1024, 512)
    """Samples of spectrograms' windows; one discriminator for each."""
    channels: int = 12
    """Of the convolutions over a band."""
    seconds: float = 0.6
    """Of each example, a random stretch of this length is judged."""


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """What is minimised, and how fast."""

    envelope_weight: float = 2.5
    """Weight of the envelopes' distance; that of the spectra is 1."""
    commitment_weight: float = 0.1
    """Weight of the distance between latents and codes."""
    correlation_weight: float = 0.05
    """Weight of what channels of the latent have in common."""
    adversarial_weight: float = 0.5
    """Weight of being taken for real, and of feature matching."""
    codebooks_from: int = 800
    """Steps in which the latent gets noise instead of being quantized; then k-means begins the codebooks."""
    noise: float = 0.2
    """Deviation of that noise, where a channel of the latent has 1."""
    adversarial_from: int = 4000
    """Steps in which there is no discriminator."""
    main_codebooks: int = 6
    """Codebooks that half of the examples use; the others use all, or a random number of them."""
    codebook_decay: float = 0.99
    """Of the codebooks' moving means, per step."""
    learning_rate: float = 1e-3
    """Of the codec, at its highest; discriminators have `judge_rate` of it."""
    judge_rate: float = 0.3
    """See above."""
    final_rate: float = 0.02
    """What the learning rate falls to, as a share, along half a cosine over the second half of the steps."""
    warmup_steps: int = 100
    """Steps in which the learning rate rises evenly to its value."""
    betas: tuple[float, float] = (0.8, 0.99)
    """Of the moving averages of both AdamW optimizers."""
    weight_decay: float = 0.01
    """Of their parameters."""
    max_gradient_norm: float = 5.0
    """Gradients of the codec longer than this are scaled down to it; those of discriminators, to twice this."""
    average_decay: float = 0.999
    """Of the moving average of the codec's weights, which is what is validated and exported."""

    def __post_init__(self) -> None:
        for name in ("codebooks_from", "adversarial_from", "warmup_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if self.main_codebooks < 1:
            raise ValueError(f"`main_codebooks` must be at least 1, got {self.main_codebooks}.")


@dataclass(frozen=True, kw_only=True)
class SpectralSettings:
    """A training run."""

    name: str = "spectral_codec"
    """Of the tokenizer."""
    loop: LoopSettings = field(default_factory=lambda: LoopSettings(steps=60_000, batch_size=12))
    """How long it lasts, and what it leaves on the way."""
    data: DataSettings = field(default_factory=DataSettings)
    """What it learns from."""
    codec: SpectralConfig = field(default_factory=SpectralConfig)
    """Sizes of the codec."""
    judges: JudgeSettings = field(default_factory=JudgeSettings)
    """The discriminators."""
    losses: LossSettings = field(default_factory=LossSettings)
    """What is minimised, and how fast."""
