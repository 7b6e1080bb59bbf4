"""Pitch: median and range of the fundamental frequency where a row is voiced, by YAAPT.

Source: Kasi & Zahorian 2002, "Yet Another Algorithm for Pitch Tracking", ICASSP, see `speechtok.audio.yaapt`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from speechtok.annotations.base import Annotation, Row
from speechtok.audio.pitch import extract_pitch
from speechtok.errors import AnnotationError
from speechtok.shards.annotated import Column
from speechtok.tokens import StreamInfo

PITCH_RATE = 16000
"""Hz of the audio that is tracked."""
LOW, HIGH = 5, 95
"""Percentiles of the voiced frames between which the range lies; single frames of a wrong octave are left out."""
SOURCE = "Kasi & Zahorian 2002, Yet Another Algorithm for Pitch Tracking"


@dataclass(frozen=True, kw_only=True)
class Pitch(Annotation):
    """Pitch of a row, and how much of it is voiced."""

    name, version, needs = "pitch", 1, frozenset({"audio"})

    def columns(self, streams: Sequence[StreamInfo]) -> tuple[Column, ...]:
        def column(name: str, description: str, unit: str | None = "Hz") -> Column:
            return Column(name=name, type="float32", description=description, unit=unit, source=SOURCE)

        return (
            column("f0_median_hz", "median pitch of the voiced frames"),
            column("f0_low_hz", f"percentile {LOW} of the pitch of the voiced frames"),
            column("f0_high_hz", f"percentile {HIGH} of the pitch of the voiced frames"),
            column("voiced_share", "share of the frames of 5 ms that are voiced", None),
        )

    def __call__(self, row: Row) -> Mapping[str, Any]:
        contour = extract_pitch(row.at(PITCH_RATE))
        voiced = contour[contour > 0]
        if not len(voiced):
            raise AnnotationError("No frame is voiced, so there is no pitch.")
        low, median, high = np.percentile(voiced, (LOW, 50, HIGH)).tolist()
        return {
            "f0_median_hz": median,
            "f0_low_hz": low,
            "f0_high_hz": high,
            "voiced_share": len(voiced) / len(contour),
        }
