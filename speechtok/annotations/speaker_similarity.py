"""How much a row sounds like its speaker: a low value tells of a wrong label, or of somebody else in the recording.

Source: speaker vectors compared by their cosine, as in Dehak et al. 2011, Front-End Factor Analysis for Speaker Verification.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechtok.annotations.base import LOCAL, Annotation, Row
from speechtok.errors import AnnotationError
from speechtok.shards.annotated import Column
from speechtok.tokens import StreamInfo

Vector = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SpeakerSimilarity(Annotation):
    """Cosine of a row's speaker vector and the mean of the other rows of its speaker."""

    name, version = "speaker_similarity", 1
    requires = ("speaker", "speaker_embedding")

    sums: Mapping[str, tuple[int, tuple[float, ...]]] = field(
        default_factory=dict, metadata=LOCAL, repr=False
    )
    """By speaker, the number of rows and the sum of their vectors of length 1; told by the dataset."""

    def columns(self, streams: Sequence[StreamInfo]) -> tuple[Column, ...]:
        return (
            Column(
                name="speaker_similarity",
                type="float32",
                description="cosine of the speaker vector and the mean of the speaker's other rows",
                source="Dehak et al. 2011",
            ),
        )

    def over(self, rows: Iterable[Mapping[str, Any]]) -> Annotation:
        sums: dict[str, Vector] = {}
        counts: dict[str, int] = {}
        for row in rows:
            if row["speaker"] is not None:
                counts[row["speaker"]] = counts.get(row["speaker"], 0) + 1
                sums[row["speaker"]] = sums.get(row["speaker"], 0) + _unit(row["speaker_embedding"])
        return replace(
            self, sums={name: (counts[name], tuple(total.tolist())) for name, total in sums.items()}
        )

    def __call__(self, row: Row) -> Mapping[str, Any]:
        speaker = row.columns["speaker"]
        if speaker is None:
            raise AnnotationError("The row names no speaker.")
        count, total = self.sums[speaker]
        if count < 2:
            raise AnnotationError(f"The speaker '{speaker}' has no other row to compare with.")
        own = _unit(row.columns["speaker_embedding"])
        return {"speaker_similarity": float(own @ _unit(np.array(total) - own))}


def _unit(vector: Any) -> Vector:
    values = np.asarray(vector, dtype=np.float64)
    norm = float(np.linalg.norm(values))
    return values / norm if norm > 0 else values
