"""What a training run of FAcodec or its redecoder is told; a recipe is one of these as YAML.

Defaults are those of `Plachtaa/FAcodec`, but for the helpers: those that make targets here need no download.

Contents: `ClipSettings`, `DataSettings`, `TargetSettings`, `JudgeSettings`, `LearningSettings`, `LossSettings`, `FacodecSettings`,
`RedecoderSizes`, `RedecoderSettings`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from speechtok.tokenizers.facodec_24k.config import Facodec24kConfig
from speechtok.training.facodec_24k.discriminator import PERIODS, WINDOWS
from speechtok.training.settings import LoopSettings

CONTENTS = ("units", "phones")
"""Values of `content`."""
PITCHES = ("yaapt", "network")
"""Values of `f0`."""
SPEAKERS = ("labels", "clusters", "classifier")
"""Values of `speaker`."""


@dataclass(frozen=True, kw_only=True)
class ClipSettings:
    """What is learnt from; for the redecoder, that is all."""

    clip_frames: int = 80
    """Frames of an example, 300 samples each; shorter utterances are left out."""
    train_split: str = "train"
    """Split that is trained on; of a corpus, what is in no split is too."""
    dev_split: str | None = None
    """Split that is looked at for validation; None takes `dev` where there is one, and else holds out a share."""
    held_out: float = 0.02
    """That share of what would be trained on, at least one utterance; chosen by the seed."""
    validation_utterances: int = 32
    """Utterances that are looked at, evenly spread over the split; 0 takes all."""
    validation_seconds: float = 10.0
    """Most of each that is looked at."""
    cache_mb: int = 4096
    """Recordings kept in memory once they were decoded, in each process that prepares batches."""

    def __post_init__(self) -> None:
        if not 0 < self.held_out < 1:
            raise ValueError(f"`held_out` must be between 0 and 1, got {self.held_out}.")
        if self.clip_frames < 1:
            raise ValueError(f"`clip_frames` must be at least 1, got {self.clip_frames}.")


@dataclass(frozen=True, kw_only=True)
class DataSettings(ClipSettings):
    """What the codec learns from."""

    max_seconds: float = 30.0
    """Most of an utterance that its timbre is read from; of a longer one, a random stretch."""


@dataclass(frozen=True, kw_only=True)
class TargetSettings:
    """Who says what prosody, content and timbre are to tell."""

    content: str = "units"
    """"units" of a unit tokenizer, or "phones" of a CTC model of transformers, blanks being a class."""
    content_from: str | None = None
    """Card name or folder of that tokenizer, or folder or Hub repository of that model. None fits k-means units of log-mel
    on the corpus, or takes `facebook/wav2vec2-xlsr-53-espeak-cv-ft`."""
    num_units: int = 100
    """Units that are fitted where none are named."""
    f0: str = "yaapt"
    """"yaapt", which needs no weights, or the published "network"."""
    f0_from: str | None = None
    """File of that network, `bst.t7` of `Plachta/JDCnet`."""
    speaker: str = "clusters"
    """"labels" of the corpus, "clusters" of speaker vectors, or a "classifier" of transformers."""
    speaker_from: str | None = None
    """Folder or Hub repository of the classifier, or of an x-vector model that makes the vectors; without one, a vector is
    the mean and the deviation of log-mel where there is speech."""
    num_speakers: int = 64
    """Clusters."""

    def __post_init__(self) -> None:
        for name, values in (("content", CONTENTS), ("f0", PITCHES), ("speaker", SPEAKERS)):
            if getattr(self, name) not in values:
                raise ValueError(f"`{name}` must be one of {', '.join(values)}, got '{getattr(self, name)}'.")
        if self.f0 == "network" and self.f0_from is None:
            raise ValueError("`f0` 'network' needs its file; name bst.t7 of Plachta/JDCnet in `f0_from`.")
        if self.speaker == "classifier" and self.speaker_from is None:
            raise ValueError(
                "`speaker` 'classifier' needs a model; name its folder or repository in `speaker_from`."
            )


@dataclass(frozen=True, kw_only=True)
class JudgeSettings:
    """Sizes of the discriminators."""

    periods: tuple[int, ...] = PERIODS
    """One discriminator for each."""
    windows: tuple[int, ...] = WINDOWS
    """Samples of spectrograms' windows; one discriminator for each."""
    period_channels: tuple[int, ...] = (32, 128, 512, 1024, 1024)
    """Of the convolutions over a period."""
    band_channels: int = 32
    """Of the convolutions over a band."""


@dataclass(frozen=True, kw_only=True)
class LearningSettings:
    """What is minimised of the audio, and how fast; for the redecoder, that is all."""

    mel_weight: float = 15.0
    """Weight of the mel distance; that of feature matching and of the adversarial loss is 1."""
    adversarial_from: int = 0
    """Steps in which there is no discriminator."""
    learning_rate: float = 1e-4
    """Of all AdamW optimizers."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Of their moving averages."""
    epsilon: float = 1e-9
    """Of their divisions."""
    weight_decay: float = 0.1
    """Of their parameters."""
    decay: float = 0.999996
    """Factor of the learning rate after each step."""
    warmup_steps: int = 0
    """Steps in which the learning rate of each optimizer rises evenly to its value."""
    max_gradient_norm: float = 1000.0
    """Gradients of each network that makes audio or predicts, longer than this, are scaled down to it."""
    max_judge_gradient_norm: float = 10.0
    """Likewise for the discriminators."""

    def __post_init__(self) -> None:
        for name in ("adversarial_from", "warmup_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must be at least 0, got {getattr(self, name)}.")


@dataclass(frozen=True, kw_only=True)
class LossSettings(LearningSettings):
    """What the codec minimises, and how fast."""

    commitment_weight: float = 0.25
    """Weight of the commitment losses."""
    codebook_weight: float = 1.0
    """Weight of the codebook losses."""
    f0_weight: float = 1.0
    """Weight of F0, predicted from prosody, and from the residual against its will."""
    energy_weight: float = 1.0
    """Weight of loudness, likewise."""
    content_weight: float = 5.0
    """Weight of content, predicted from content, and from the residual against its will."""
    speaker_weight: float = 1.0
    """Weight of the speaker, predicted from timbre, and from the sum of all else against its will."""
    reversal: float = 1.0
    """How strongly what must not be told is driven out: factor of those gradients, where they leave the predictors."""
    codebook_dropout: float = 0.5
    """Share of a batch whose streams use a random number of codebooks."""
    residual_dropout: float = 0.75
    """How often the decoder does without an utterance's residual."""
    replace_codes_every: int = 0
    """Steps after which codes that were not used since become encoder outputs of the batch; where that is asked for, what is
    quantized and what is looked up begin with mean 0 and deviation 1 besides. 0 never."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("replace_codes_every", "reversal"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must be at least 0, got {getattr(self, name)}.")
        for name in ("codebook_dropout", "residual_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` must be from 0 to 1, got {getattr(self, name)}.")


@dataclass(frozen=True, kw_only=True)
class FacodecSettings:
    """A training run of the codec."""

    loop: LoopSettings = field(default_factory=lambda: LoopSettings(batch_size=4))
    """How long it lasts, and what it leaves on the way."""
    data: DataSettings = field(default_factory=DataSettings)
    """What it learns from."""
    targets: TargetSettings = field(default_factory=TargetSettings)
    """What its parts must tell."""
    codec: Facodec24kConfig = field(default_factory=Facodec24kConfig)
    """Sizes of the codec."""
    judges: JudgeSettings = field(default_factory=JudgeSettings)
    """Sizes of the discriminators."""
    losses: LossSettings = field(default_factory=LossSettings)
    """What is minimised, and how fast."""


@dataclass(frozen=True, kw_only=True)
class RedecoderSizes:
    """Sizes of the redecoder."""

    channels: int = 512
    """Of its embeddings and its encoder."""
    layers: int = 16
    """Of its encoder."""
    decoder_channels: int = 1536
    """After its decoder's first convolution; each block halves them."""
    decoder_strides: tuple[int, ...] = (6, 5, 5, 2)
    """Up-sampling of its decoder's blocks; together, as many samples as a frame of the codec has."""


@dataclass(frozen=True, kw_only=True)
class RedecoderSettings:
    """A training run of the redecoder."""

    loop: LoopSettings = field(default_factory=lambda: LoopSettings(batch_size=4))
    """How long it lasts, and what it leaves on the way."""
    data: ClipSettings = field(default_factory=ClipSettings)
    """What it learns from."""
    redecoder: RedecoderSizes = field(default_factory=RedecoderSizes)
    """Sizes of the redecoder."""
    judges: JudgeSettings = field(default_factory=JudgeSettings)
    """Sizes of the discriminators."""
    losses: LearningSettings = field(default_factory=LearningSettings)
    """What is minimised, and how fast."""
