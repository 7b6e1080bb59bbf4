"""Where to cut a long recording: at its quiet moments, or evenly.

Conventions: times are whole milliseconds from the beginning. Loudness is the mean power of 200 ms around
each of the frames, which are 10 ms apart.

Contents: `quiet_cuts`, `even_cuts`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

FRAME_MS = 10
"""Cuts lie on a grid of this many milliseconds."""
AROUND_MS = 200
"""Loudness is averaged over this much, so that a cut falls into a pause and not into a stop consonant."""


def quiet_cuts(
    blocks: Iterable[NDArray[np.floating[Any]]], sample_rate: int, max_seconds: float
) -> list[int]:
    """Return the cuts, in ms, that leave no piece longer than `max_seconds`.

    Each cut is the quietest frame between half the maximum and the maximum after the one before, the
    latest of several; no piece but the last is shorter than half the maximum, and that one is not
    shorter than a quarter, give or take a frame.

    Args:
        blocks: consecutive `(samples,)` pieces of the recording.
        sample_rate: Hz.
        max_seconds: longest piece, at least 1.

    Returns:
        Times in ascending order, none of them 0 or the end; empty when the recording is short enough.

    Raises:
        ValueError: when `max_seconds` is less than 1.
    """
    if not max_seconds >= 1:
        raise ValueError(f"`max_seconds` must be at least 1, got {max_seconds}.")
    power, total = _frame_power(blocks, sample_rate)
    loudness = _smoothed(power)
    longest = int(max_seconds * 1000) // FRAME_MS  # frames
    cuts: list[int] = []
    start = 0
    while total / sample_rate - start * FRAME_MS / 1000 > max_seconds:
        rest = len(power) - start
        low, high = start + longest // 2, start + min(longest, rest - longest // 4)
        window = loudness[low : high + 1]
        start = low + len(window) - 1 - int(np.argmin(window[::-1]))
        cuts.append(start * FRAME_MS)
    return cuts


def even_cuts(end: int, max_seconds: float) -> list[int]:
    """Return the cuts, in ms, that leave pieces of `max_seconds`.

    A rest shorter than a quarter of that shares evenly with the piece before it.

    Args:
        end: length of the recording in ms.
        max_seconds: length of a piece, at least 1.
    """
    step = int(max_seconds * 1000)
    cuts = list(range(step, end, step))
    if cuts and end - cuts[-1] < step // 4:
        before = cuts[-2] if len(cuts) > 1 else 0
        cuts[-1] = before + (end - before) // 2
    return cuts


def _frame_power(
    blocks: Iterable[NDArray[np.floating[Any]]], sample_rate: int
) -> tuple[NDArray[np.float64], int]:
    """Return the mean power of every frame, and the number of samples."""
    powers, total, held = list[NDArray[np.float64]](), 0, np.zeros(0)
    frames = 0
    for block in blocks:
        held = np.concatenate([held, np.square(block, dtype=np.float64)])
        total += len(block)
        ends = (
            np.arange(frames + 1, total * 1000 // (FRAME_MS * sample_rate) + 1)
            * FRAME_MS
            * sample_rate
            // 1000
        )
        if len(ends):
            edges = np.concatenate([[frames * FRAME_MS * sample_rate // 1000], ends]) - (total - len(held))
            sums = np.concatenate([[0.0], np.cumsum(held)])[edges]
            powers.append(np.diff(sums) / np.diff(edges))
            held, frames = held[edges[-1] :], frames + len(ends)
    if len(held):
        powers.append(np.array([held.mean()]))
    return (np.concatenate(powers) if powers else np.zeros(0)), total


def _smoothed(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean power around the beginning of every frame, and of the end."""
    half = AROUND_MS // FRAME_MS // 2
    sums = np.concatenate([[0.0], np.cumsum(power)])
    place = np.arange(len(power) + 1)
    first, last = np.maximum(place - half, 0), np.minimum(place + half, len(power))
    smooth: NDArray[np.float64] = (sums[last] - sums[first]) / np.maximum(last - first, 1)
    return smooth
