"""Labelled stretches of time: what alignments are made of, and how they become durations in frames.

Conventions: seconds from the beginning of the audio. A list of intervals *tiles* the audio when each begins where the one before ends,
the first at 0 and the last ending with the audio; what nothing was said in is an interval of silence.

Contents: `Interval`, `tile`, `frame_counts`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from speechtok.errors import DatasetError

SILENT_WORDS = frozenset({"", "<eps>", "<sil>", "<b>"})
"""Labels that files give to silence between words."""
SILENT_PHONES = SILENT_WORDS | {"sil", "SIL", "sp", "SP", "pau"}
"""Labels that files give to silence between phones."""
ROUNDING_SECONDS = 0.015
"""How far the end of an interval may lie from the start of the next and still mean the same moment: files round times to 10 ms."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A stretch of time and what is in it."""

    start: float
    """Seconds."""
    end: float
    """Seconds."""
    label: str
    """A phone, a word, or the symbol of silence."""


def tile(
    intervals: Iterable[Interval],
    seconds: float,
    *,
    silence: str,
    silences: Collection[str] = SILENT_PHONES,
    tolerance_seconds: float = 0.1,
) -> list[Interval]:
    """Return intervals that tile the audio: gaps are silence, and silences that touch are one.

    An end and a start that differ by up to 15 ms are the same moment, that of the start. Intervals without length stay, unless they
    are of silence.

    Args:
        intervals: in order.
        seconds: length of the audio.
        silence: symbol of silence.
        silences: labels that stand for it in the intervals.
        tolerance_seconds: how far an interval may reach beyond the audio; the part beyond is cut off.

    Raises:
        DatasetError: when intervals overlap, end before they start, or reach further beyond; the sentence lacks the name of the file.
    """
    found: list[Interval] = []
    for item in intervals:
        item = _within(item, seconds, tolerance_seconds)
        label = silence if item.label.strip() in silences else item.label.strip()
        before = found[-1].end if found else 0.0
        if item.start < before - ROUNDING_SECONDS:
            raise DatasetError(
                f"the interval {item.label!r} from {item.start:g} to {item.end:g} s overlaps the one before, which ends at {before:g} s"
            )
        if item.start > before + ROUNDING_SECONDS:
            _append(found, Interval(start=before, end=item.start, label=silence), silence)
        elif found:
            found[-1] = replace(found[-1], end=max(item.start, found[-1].start))
        start = found[-1].end if found else 0.0
        _append(found, Interval(start=start, end=max(item.end, start), label=label), silence)
    before = found[-1].end if found else 0.0
    if before < seconds - ROUNDING_SECONDS or not found:
        _append(found, Interval(start=before, end=seconds, label=silence), silence)
    found[-1] = replace(found[-1], end=seconds)
    return found


def _within(item: Interval, seconds: float, tolerance_seconds: float) -> Interval:
    """Return an interval that ends with the audio at the latest.

    Raises:
        DatasetError: when it lies elsewhere or ends before it starts.
    """
    if not 0 <= item.start <= item.end:
        raise DatasetError(f"the interval {item.label!r} goes from {item.start:g} to {item.end:g} s")
    if item.end > seconds + tolerance_seconds:
        raise DatasetError(
            f"the interval {item.label!r} ends at {item.end:g} s, but the audio has {seconds:g} s"
        )
    return replace(item, start=min(item.start, seconds), end=min(item.end, seconds))


def _append(found: list[Interval], item: Interval, silence: str) -> None:
    """Add an interval; one of silence lengthens a silence before it, and without length is left out."""
    if item.label == silence and found and found[-1].label == silence:
        found[-1] = replace(found[-1], end=item.end)
    elif item.label != silence or item.end > item.start:
        found.append(item)


def frame_counts(ends: Sequence[float], num_frames: int, frame_rate: float) -> list[int]:
    """Return how many frames each of the intervals that tile the audio has.

    Each boundary goes to the nearest edge between frames, halves to the later; the last one is the end of the last frame. So
    the counts sum to `num_frames`, no boundary moves by more than half a frame inside the frames, and an interval shorter than a frame may
    have none.

    Args:
        ends: seconds at which the intervals end, rising.
        num_frames: frames of the audio.
        frame_rate: frames per second.

    Raises:
        ValueError: when there are no intervals.
    """
    if not len(ends):
        raise ValueError("`ends` must hold the end of at least one interval.")
    edges = np.floor(np.asarray(ends, dtype=np.float64) * frame_rate + 0.5).astype(np.int64)
    edges = np.clip(np.maximum.accumulate(edges), 0, num_frames)
    edges[-1] = num_frames
    counts: list[int] = np.diff(edges, prepend=0).tolist()
    return counts
