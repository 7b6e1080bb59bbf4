"""Unit sequences without repetitions, as unit language models read them.

Sources: Lakhotia et al. 2021, GSLM, arXiv:2102.01192, section 3 (runs merged); Kharitonov et al. 2021,
pGSLM, arXiv:2109.03264, section 2.2 (durations beside the units).
"""

from __future__ import annotations

from array_api_compat import array_namespace

from speechtok.lm.arrays import ArrayT, concatenated
from speechtok.tokens import run_lengths


def deduplicate(units: ArrayT, max_duration: int | None = None) -> tuple[ArrayT, ArrayT]:
    """Return units with runs merged, and the frames of each run.

    Args:
        units: `(frames,)`.
        max_duration: longer runs become several, each of at most this many frames.

    Returns:
        Units and durations, both `(runs,)`, int64.
    """
    if max_duration is not None and max_duration < 1:
        raise ValueError(f"`max_duration` must be at least 1, got {max_duration}.")
    runs, durations = run_lengths(units[None])
    runs = runs[0]
    if max_duration is None or not durations.shape[0]:
        return runs, durations
    xp = array_namespace(units)
    pieces = -(-durations // max_duration)
    ends = xp.cumulative_sum(pieces) - 1  # the last piece of a run holds what is left
    parts = xp.zeros_like(xp.repeat(durations, pieces)) + max_duration
    parts[ends] = durations - (pieces - 1) * max_duration
    return xp.repeat(runs, pieces), parts


def expand(units: ArrayT, durations: ArrayT) -> ArrayT:
    """Return the frames `(frames,)` that `deduplicate` merged."""
    if units.shape != durations.shape:
        raise ValueError(
            f"`units` and `durations` must have the same shape, got {tuple(units.shape)} and {tuple(durations.shape)}."
        )
    frames: ArrayT = array_namespace(units).repeat(units, durations)
    return frames


def pair(units: ArrayT, durations: ArrayT) -> ArrayT:
    """Return unit, duration, unit, duration … as one sequence `(2 × runs,)`."""
    sequence: ArrayT = concatenated([units[:, None], durations[:, None]], axis=1).reshape((-1,))
    return sequence


def unpair(sequence: ArrayT) -> tuple[ArrayT, ArrayT]:
    """Return the units and durations that `pair` interleaved."""
    if sequence.shape[0] % 2:
        raise ValueError(f"Units with durations must be an even number of ids, got {sequence.shape[0]}.")
    return sequence[0::2], sequence[1::2]
