"""The measures by name, and one pair of waveforms measured.

Contents: `Comparison`, `Measure`, `MEASURES`, `MODEL_MEASURES`, `Scores`, `measure`, `check_installed`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np

from speechtok.audio.pitch import extract_pitch
from speechtok.audio.resample import resample
from speechtok.errors import AudioError
from speechtok.metrics.intelligibility import stoi
from speechtok.metrics.pitch import PitchErrors, compare_contours
from speechtok.metrics.quality import pesq
from speechtok.metrics.signal import si_sdr
from speechtok.metrics.spectral import mel_distance, stft_distance

Samples = np.ndarray[Any, np.dtype[np.float64]]

PITCH_RATE = 16_000
"""Rate at which pitch is tracked, in Hz."""
LENGTH_SLACK_SECONDS = 0.1
"""A pair whose lengths differ by more cannot be compared sample by sample; up to this, both are cut to the shorter."""


class Comparison:
    """A recording and what was decoded, ready to be measured.

    Args:
        reference: `(samples,)`, float64.
        decoded: `(samples,)`, float64.
        sample_rate: Hz, of both.

    Raises:
        AudioError: when the lengths differ by more than 0.1 s.
    """

    def __init__(self, reference: Samples, decoded: Samples, sample_rate: int) -> None:
        if abs(len(reference) - len(decoded)) > LENGTH_SLACK_SECONDS * sample_rate:
            raise AudioError(
                f"The decoded audio has {len(decoded) / sample_rate:.3f} s and the reference {len(reference) / sample_rate:.3f} s; "
                f"they may differ by {LENGTH_SLACK_SECONDS} s at most."
            )
        samples = min(len(reference), len(decoded))
        self.reference, self.decoded, self.sample_rate = reference[:samples], decoded[:samples], sample_rate

    @cached_property
    def pitch(self) -> PitchErrors:
        """The difference of the two pitch contours, tracked by YAAPT every 5 ms."""
        first, second = (
            extract_pitch(resample(samples, self.sample_rate, PITCH_RATE))
            for samples in (self.reference, self.decoded)
        )
        return compare_contours(first, second)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One way to compare a pair."""

    title: str
    """Name for people."""
    unit: str = ""
    """Unit, or nothing for plain numbers."""
    better: Literal["higher", "lower"]
    """Which end is good."""
    compute: Callable[[Comparison], float] | None = None
    """The function, or None for measures that need a model."""
    packages: tuple[str, ...] = ()
    """Packages that must be installed."""


MEASURES: Mapping[str, Measure] = {
    "pesq_wb": Measure(
        title="PESQ, wide band",
        better="higher",
        packages=("pesq",),
        compute=lambda pair: pesq(pair.reference, pair.decoded, pair.sample_rate),
    ),
    "pesq_nb": Measure(
        title="PESQ, narrow band",
        better="higher",
        packages=("pesq",),
        compute=lambda pair: pesq(pair.reference, pair.decoded, pair.sample_rate, band="nb"),
    ),
    "stoi": Measure(
        title="STOI",
        better="higher",
        packages=("pystoi",),
        compute=lambda pair: stoi(pair.reference, pair.decoded, pair.sample_rate),
    ),
    "estoi": Measure(
        title="Extended STOI",
        better="higher",
        packages=("pystoi",),
        compute=lambda pair: stoi(pair.reference, pair.decoded, pair.sample_rate, extended=True),
    ),
    "si_sdr": Measure(
        title="SI-SDR", unit="dB", better="higher", compute=lambda pair: si_sdr(pair.reference, pair.decoded)
    ),
    "mel_distance": Measure(
        title="Mel distance",
        unit="dB",
        better="lower",
        compute=lambda pair: mel_distance(pair.reference, pair.decoded, pair.sample_rate),
    ),
    "stft_distance": Measure(
        title="Multi-resolution STFT distance",
        better="lower",
        compute=lambda pair: stft_distance(pair.reference, pair.decoded),
    ),
    "f0_rmse_hz": Measure(
        title="F0 RMSE", unit="Hz", better="lower", compute=lambda pair: pair.pitch.rmse_hz
    ),
    "f0_rmse_cents": Measure(
        title="F0 RMSE", unit="cents", better="lower", compute=lambda pair: pair.pitch.rmse_cents
    ),
    "vde": Measure(title="Voicing decision error", better="lower", compute=lambda pair: pair.pitch.vde),
    "gpe": Measure(title="Gross pitch error", better="lower", compute=lambda pair: pair.pitch.gpe),
    "ffe": Measure(title="F0 frame error", better="lower", compute=lambda pair: pair.pitch.ffe),
    "speaker_similarity": Measure(title="Speaker similarity", better="higher", packages=("transformers",)),
    "wer": Measure(title="Word error rate", better="lower", packages=("jiwer", "transformers")),
    "cer": Measure(title="Character error rate", better="lower", packages=("jiwer", "transformers")),
}
"""All measures, in the order of tables."""
MODEL_MEASURES = tuple(name for name, item in MEASURES.items() if item.compute is None)
"""Measures that need a model the user names."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What was measured on one pair."""

    values: Mapping[str, float] = field(default_factory=dict)
    """Value by measure."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """Why a measure has no value, by measure."""

    def __or__(self, other: Scores) -> Scores:
        """Return both together."""
        return Scores(values={**self.values, **other.values}, failures={**self.failures, **other.failures})


def measure(reference: Samples, decoded: Samples, sample_rate: int, names: Sequence[str]) -> Scores:
    """Return the measures of one pair that need no model; one that fails leaves its reason.

    Args:
        reference: `(samples,)`, float64, the recording.
        decoded: `(samples,)`, float64, what is judged.
        sample_rate: Hz, of both.
        names: measures of `MEASURES` that need no model.

    Raises:
        ValueError: when a measure needs a model.
    """
    values, failures = dict[str, float](), dict[str, str]()
    try:
        pair = Comparison(reference, decoded, sample_rate)
    except AudioError as error:
        return Scores(failures=dict.fromkeys(names, str(error)))
    for name in names:
        item = MEASURES[name]
        if item.compute is None:
            raise ValueError(f"The measure '{name}' needs a model.")
        try:
            values[name] = item.compute(pair)
        except AudioError as error:
            failures[name] = str(error)
        except Exception as error:  # a library gave up on this pair; the others go on
            failures[name] = f"{item.title} failed: {type(error).__name__}: {error}"
    return Scores(values=values, failures=failures)


def check_installed(names: Sequence[str]) -> None:
    """Raise unless every measure is known and its package installed.

    Raises:
        ValueError: naming the first that is not known, or that cannot be computed.
    """
    for name in names:
        if name not in MEASURES:
            raise ValueError(f"There is no measure '{name}'; there are: {', '.join(MEASURES)}.")
        missing = next((item for item in MEASURES[name].packages if find_spec(item) is None), None)
        if missing is not None:
            raise ValueError(
                f"The measure '{name}' needs the package {missing}: pip install 'speechtok[metrics,transformers]'."
            )
