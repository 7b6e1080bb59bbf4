"""What a tokenization job is asked to do, and what it tells while and after doing it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

SPLIT_NAME = r"\w+(\.\w+)*"
"""What `datasets` accepts as the name of a split; it also becomes part of file names."""


_CHOICES: dict[str, tuple[str | None, ...]] = {
    "channels": ("mean", "first", "error"),
    "dtype": ("float32", "float64"),
    "segment": (None, "vad", "silence", "fixed"),
}


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """Everything that decides the rows of a dataset, apart from the corpus and the tokenizer itself.

    A dataset is only ever continued with the settings it was begun with.
    """

    split: str = "train"
    """Split of utterances whose corpus names none."""
    shard_seconds: float | None = None
    """Seconds of audio per shard; None chooses from the corpus: an hour, less for small corpora."""
    batch_seconds: float = 20.0
    """Utterances are encoded together up to this many seconds."""
    chunk_seconds: float = 60.0
    """Longer recordings are read and encoded in pieces of this length, with the same codes."""
    segment: Literal["vad", "silence", "fixed"] | None = None
    """How longer utterances become several: where somebody speaks, cut at quiet moments or evenly; None leaves them."""
    max_segment_seconds: float = 20.0
    """Utterances longer than this are segmented, and no segment is longer."""
    channels: Literal["mean", "first", "error"] = "mean"
    """How recordings of several channels become one: average, first channel, or quarantine."""
    num_codebooks: int | None = None
    """Keep only the first codebooks; None keeps all."""
    dtype: Literal["float32", "float64"] = "float32"
    """Float type of all computation."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Names a manifest uses, by the name they have here, such as {"audio": "path"}."""

    def __post_init__(self) -> None:
        for name in ("shard_seconds", "batch_seconds", "chunk_seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"`{name}` must be more than 0, got {value}.")
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                listed = ", ".join(value for value in known if value)
                raise ValueError(f"`{name}` must be one of {listed}, got '{getattr(self, name)}'.")
        if not self.max_segment_seconds >= 1:
            raise ValueError(f"`max_segment_seconds` must be at least 1, got {self.max_segment_seconds}.")
        if not re.fullmatch(SPLIT_NAME, self.split):
            raise ValueError(
                f"`split` may hold letters, digits, underscores and single dots, got {self.split!r}."
            )
        if self.num_codebooks is not None and self.num_codebooks < 1:
            raise ValueError(f"`num_codebooks` must be at least 1, got {self.num_codebooks}.")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {**asdict(self), "columns": dict(self.columns)}


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a job is."""

    seconds: float = 0.0
    """Seconds of audio tokenized or quarantined, finished shards included."""
    utterances: int = 0
    """Utterances tokenized or quarantined."""
    quarantined: int = 0
    """Utterances that failed."""

    def __add__(self, other: Progress) -> Progress:
        return Progress(
            seconds=self.seconds + other.seconds,
            utterances=self.utterances + other.utterances,
            quarantined=self.quarantined + other.quarantined,
        )


@dataclass(frozen=True, kw_only=True)
class JobReport:
    """What a job has done."""

    shards: int
    """Shards of the dataset."""
    shards_made: int
    """Shards this run made; 0 when the dataset was complete already."""
    rows: int
    """Token rows of the dataset."""
    quarantined: int
    """Inputs that failed."""
    seconds: float
    """Seconds of audio in the dataset."""
    seconds_made: float
    """Seconds of audio this run tokenized."""
    bytes: int
    """Size of the token shards."""
    start_seconds: float
    """How long it took until the first worker was up."""
    wall_seconds: float
    """From then until the last shard was committed."""
    reasons: Mapping[str, int]
    """Quarantined inputs by type of error."""
