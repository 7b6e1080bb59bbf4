"""The interface of annotations.

An annotation is a frozen keyword-only dataclass whose fields are its settings. It is made where the job is planned, travels
to the workers by pickle, and is called with one row after the other there; what it loads it loads on its first call, once per process
(a module's function with `functools.cache`).

    @dataclass(frozen=True, kw_only=True)
    class Peak(Annotation):
        name, version, needs = "peak", 1, frozenset({"audio"})

        def columns(self, streams):
            return (Column(name="peak", type="float32", description="largest absolute sample"),)

        def __call__(self, row):
            return {"peak": float(np.abs(row.waveform).max(initial=0.0))}

Contents: `Row`, `Annotation`, `LOCAL`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from speechtok.audio.resample import resample
from speechtok.shards.annotated import Column, Provenance
from speechtok.tokens import StreamInfo

Need = Literal["audio", "text", "tokens"]
LOCAL: Mapping[str, Any] = MappingProxyType({"local": True})
"""Metadata of a setting that is a place of this machine, such as a model's folder: `field(metadata=LOCAL)`. It is not recorded; the
sha256 of the files there are."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """One row of a token dataset, as annotations see it."""

    id: str
    """Id of the utterance."""
    duration: float
    """Length in seconds, as the tokens have it."""
    text: str | None = None
    """Transcript; not empty where the annotation needs text."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """Cells of the columns that the annotation takes, by name; the dataset's own, or made by an annotation before it. A column
    that the dataset has not is not among them, an empty cell is None."""
    num_frames: Mapping[str, int] = field(default_factory=dict)
    """Frames of the row by stream."""
    streams: tuple[StreamInfo, ...] = ()
    """The dataset's streams, with their frame rates."""
    waveform: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    """`(samples,)`, float32, full scale is [-1, 1]: the utterance at the rate of its recording, where the annotation needs audio."""
    sample_rate: int = 0
    """Rate of `waveform` in Hz; 0 where there is none."""
    _resampled: dict[int, NDArray[np.float32]] = field(default_factory=dict, repr=False)

    def at(self, sample_rate: int) -> NDArray[np.float32]:
        """Return the waveform at another rate, `(samples,)`; annotations of one row share it, so leave it as it is."""
        if sample_rate not in self._resampled:
            self._resampled[sample_rate] = resample(self.waveform, self.sample_rate, sample_rate)
        return self._resampled[sample_rate]


class Annotation(ABC):
    """Gives the values of some columns for one row; the fields of the dataclass are its settings."""

    name: ClassVar[str]
    """What users call it."""
    version: ClassVar[int]
    """Raised whenever the same row and settings give other values."""

    @property
    def needs(self) -> frozenset[Need]:
        """What a row must have: without text or with audio that cannot be read it fails before it gets here."""
        return frozenset()

    @property
    def requires(self) -> tuple[str, ...]:
        """Columns that the dataset must have, or an annotation before this one gives; cells may be empty."""
        return ()

    @property
    def uses(self) -> tuple[str, ...]:
        """Columns that it takes where they are there."""
        return ()

    @abstractmethod
    def columns(self, streams: Sequence[StreamInfo]) -> tuple[Column, ...]:
        """Return the columns it gives in a dataset of these streams.

        Raises:
            AnnotationError: when it cannot annotate such a dataset.
        """

    @abstractmethod
    def __call__(self, row: Row) -> Mapping[str, Any]:
        """Return a value for each column, None for an empty cell; the same values whatever else runs.

        Raises:
            AnnotationError: when it has none for this row; the sentence goes into quarantine, and all cells stay empty. So do
                those of a row with a value that is NaN or infinite.
        """

    def files(self) -> Mapping[str, str]:
        """Return the sha256 of each file of its model, by the file's name.

        Raises:
            AnnotationError: when a file or a package is missing; called before anything is planned.
        """
        return {}

    def facts(self) -> Mapping[str, Any]:
        """Return what else readers of the columns need to know, as JSON values, such as the set of symbols."""
        return {}

    def over(self, rows: Iterable[Mapping[str, Any]]) -> Annotation:
        """Return what annotates the rows of a dataset, after a look at all of them, such as the speakers' means.

        Args:
            rows: `id`, `duration`, `text` and the columns it takes of every row, in order; reading is lazy, so one that looks at
                none, as here, costs nothing.
        """
        return self

    def settings(self) -> dict[str, Any]:
        """Return the settings that are recorded, as JSON values: all fields that are not `LOCAL`."""
        listed = fields(self)  # type: ignore[arg-type]  # every annotation is a dataclass
        return {item.name: getattr(self, item.name) for item in listed if not item.metadata.get("local")}

    def provenance(self, streams: Sequence[StreamInfo]) -> Provenance:
        """Return what a dataset of these streams records of it."""
        return Provenance(
            name=self.name,
            version=self.version,
            settings=self.settings(),
            files=dict(self.files()),
            columns=self.columns(streams),
            facts=dict(self.facts()),
        )
