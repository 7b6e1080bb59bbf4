"""Words and phones over the spectrogram of a row, as numbers that the page draws; labels are texts of the page, never of a figure.

Contents: `Picture`, `Box`, `read_intervals`, `draw_alignment`.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from speechtok.formats.intervals import Interval
from speechtok.report.plots import DYNAMIC_RANGE_DB, spectrogram_db

PIXELS_PER_SECOND = 260
"""Width of a second: a short phone of 30 ms has room for two letters."""
SPECTROGRAM_PIXELS = 170
"""Height of the spectrogram; above it stand the words, below it the phones and the time."""
MAX_HZ = 8000
"""Highest frequency that is drawn; the sounds that tell phones apart lie below."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """One word or phone, in pixels."""

    left: float
    right: float
    label: str

    @property
    def middle(self) -> float:
        """Where the label stands."""
        return (self.left + self.right) / 2


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A spectrogram with what is over and under it, in pixels."""

    width: float
    image: str
    """PNG as a data URI."""
    words: tuple[Box, ...]
    phones: tuple[Box, ...]
    ticks: tuple[tuple[float, str], ...]
    """Where the time is written, and the time."""
    height: int = SPECTROGRAM_PIXELS


def read_intervals(row: Mapping[str, Any], tier: str) -> tuple[Interval, ...]:
    """Return the words or phones of a row; none where it has no alignment, or columns of that name hold something else.

    Args:
        row: the columns of the row.
        tier: "word" or "phone".
    """
    columns = [row.get(name) for name in (tier, f"{tier}_start", f"{tier}_end")]
    if any(isinstance(column, str) or not hasattr(column, "__len__") for column in columns):
        return ()
    try:
        found = [
            Interval(start=float(start), end=float(end), label=str(label))
            for label, start, end in zip(*columns, strict=True)
        ]
    except (TypeError, ValueError):
        return ()
    is_right = all(0 <= item.start <= item.end < math.inf for item in found)
    return tuple(found) if is_right else ()


def draw_alignment(
    samples: np.ndarray[Any, np.dtype[np.float64]],
    sample_rate: int,
    words: Sequence[Interval],
    phones: Sequence[Interval],
) -> Picture:
    """Return the picture of `(samples,)` with the words and phones that begin in it."""
    seconds = len(samples) / sample_rate
    return Picture(
        width=round(seconds * PIXELS_PER_SECOND, 1),
        image=_spectrogram_uri(samples, sample_rate),
        words=_boxes(words, seconds),
        phones=_boxes(phones, seconds),
        ticks=tuple(
            (PIXELS_PER_SECOND * tick / 2, f"{tick / 2:g} s") for tick in range(1, math.ceil(2 * seconds))
        ),
    )


def _boxes(intervals: Sequence[Interval], seconds: float) -> tuple[Box, ...]:
    def place(moment: float) -> float:
        return round(min(moment, seconds) * PIXELS_PER_SECOND, 1)

    return tuple(
        Box(left=place(item.start), right=place(item.end), label=item.label)
        for item in intervals
        if item.start < seconds
    )


def _spectrogram_uri(samples: np.ndarray[Any, np.dtype[np.float64]], sample_rate: int) -> str:
    """Return the spectrogram up to `MAX_HZ` as a PNG."""
    from matplotlib.image import imsave

    levels = spectrogram_db(samples, sample_rate)  # (frequencies, frames)
    kept = levels[: max(2, round(len(levels) * min(1.0, MAX_HZ / (sample_rate / 2))))]
    loudest = float(kept.max())
    picture = io.BytesIO()
    imsave(
        picture,
        kept,
        cmap="magma",
        vmin=loudest - DYNAMIC_RANGE_DB,
        vmax=loudest,
        origin="lower",
        format="png",
        metadata={"Software": "speechtok"},
    )
    return "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode()
