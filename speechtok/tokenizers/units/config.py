"""Settings of the unit family: what a card says about one composition."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

UNVOICED = ("zero", "median", "curve")
"""Values of `f0_unvoiced`."""
READERS = {
    "hubert": 320,
    "wav2vec2": 320,
    "wavlm": 320,
    "data2vec": 320,
    "cpc": 160,
    "logmel": 160,
    "vqvae": 160,
}
"""Kinds of content features → samples per frame of most of their published models."""

PADDED = ("hubert", "wav2vec2", "wavlm", "data2vec")
"""Those that `padding` goes with."""
_PADDING = 10_000


@dataclass(frozen=True, kw_only=True)
class UnitConfig:
    """One composition of content units, pitch, speaker and vocoder."""

    features: str = "hubert"
    """One of "hubert", "wav2vec2", "wavlm", "data2vec", "cpc", "logmel", or "vqvae" (units of an encoder trained with a vocoder)."""
    layer: int = 6
    """Transformer layer that is read, from 1; for CPC the LSTM layer."""
    num_units: int = 100
    """Number of units."""
    hop_length: int = 320
    """Samples per unit."""
    normalize: bool = False
    """Whether audio is brought to zero mean and unit variance first, as the large models were trained."""
    padding: int = 0
    """Samples of silence put on each side of the audio before a HuBERT or one of its kin; with 40 there are as many units
    as whole hops of audio."""
    sample_rate: int = 16_000
    """Hz."""
    f0_mean_hz: float | None = None
    """Mean of voiced pitch over all speakers, where known."""
    f0_std_hz: float | None = None
    """Its standard deviation."""
    f0_speakers: dict[int, list[float]] = field(default_factory=dict)
    """Mean and standard deviation by speaker index, where known."""
    f0_normalize: bool = True
    """Whether pitch is brought to zero mean and unit deviation before it is coded; otherwise it stays in Hz."""
    f0_unvoiced: str = "zero"
    """What unvoiced frames are before coding: "zero"; "median" of the voiced ones; or "curve", a smooth curve
    through gaps."""
    speakers: dict[str, int] = field(default_factory=dict)
    """Name → row of the vocoder's table of voices."""
    styles: dict[str, int] = field(default_factory=dict)
    """Name → row of the vocoder's table of styles."""
    style: str | None = None
    """Style that speech has where none is asked for; None where one must be."""

    feature_network: dict[str, Any] = field(default_factory=dict)
    """What the files state about a HuBERT or one of its kin beside its shapes, see `hubert_config`."""
    speaker_network: dict[str, Any] = field(default_factory=dict)
    """Contents of the `config.json` of a speaker network that has one, such as WavLM; empty for x-vectors."""

    def __post_init__(self) -> None:
        if self.features not in READERS:
            raise ValueError(f"`features` must be one of {', '.join(READERS)}, got '{self.features}'.")
        if self.f0_unvoiced not in UNVOICED:
            raise ValueError(f"`f0_unvoiced` must be one of {', '.join(UNVOICED)}, got '{self.f0_unvoiced}'.")
        if not 0 <= self.padding <= _PADDING or (self.padding and self.features not in PADDED):
            raise ValueError(
                f"`padding` must be from 0 to {_PADDING}, and 0 but for features {', '.join(PADDED)}, got {self.padding}."
            )
        if self.layer < 1:
            raise ValueError(f"`layer` counts from 1, got {self.layer}.")
