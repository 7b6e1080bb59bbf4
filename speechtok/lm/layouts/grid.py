"""Layouts of a grid of codes, each with its inverse.

Conventions: a grid is `(…, codebooks, frames)`, coarse codebooks first; functions take numpy arrays and
torch tensors, change no value and give back what they were given. Sequences are `(…, length)`.

    layout              shape                             for two codebooks a, b and three frames
    flatten_frames      (…, frames × codebooks)           a0 b0 a1 b1 a2 b2
    flatten_codebooks   (…, codebooks × frames)           a0 a1 a2 b0 b1 b2
    coarse_first        (…, frames × codebooks)           the first codebooks frame by frame, then the others
    delay               (…, codebooks, frames + 1)        a0 a1 a2 ·  /  · b0 b1 b2
    parallel            (…, frames, codebooks)            one step per frame: (a0 b0) (a1 b1) (a2 b2)

Sources: Copet et al. 2023, MusicGen, arXiv:2306.05284, section 2.2 (parallel, delay, flattening); Borsos et
al. 2022, AudioLM, arXiv:2209.03143, section 3.3 (coarse before fine); Kharitonov et al. 2021, pGSLM,
arXiv:2109.03264, section 2.2 (delay).
"""

from __future__ import annotations

from collections.abc import Sequence

from speechtok.lm.arrays import ArrayT, concatenated, filled


def flatten_frames(codes: ArrayT) -> ArrayT:
    """Return the codes frame by frame, all codebooks of a frame together."""
    flat: ArrayT = codes.swapaxes(-1, -2).reshape((*codes.shape[:-2], codes.shape[-2] * codes.shape[-1]))
    return flat


def unflatten_frames(sequence: ArrayT, num_codebooks: int) -> ArrayT:
    """Return the grid that `flatten_frames` flattened."""
    frames = _whole_frames(sequence, num_codebooks)
    grid: ArrayT = sequence.reshape((*sequence.shape[:-1], frames, num_codebooks)).swapaxes(-1, -2)
    return grid


def flatten_codebooks(codes: ArrayT) -> ArrayT:
    """Return the codes codebook by codebook, all frames of a codebook together."""
    flat: ArrayT = codes.reshape((*codes.shape[:-2], codes.shape[-2] * codes.shape[-1]))
    return flat


def unflatten_codebooks(sequence: ArrayT, num_codebooks: int) -> ArrayT:
    """Return the grid that `flatten_codebooks` flattened."""
    frames = _whole_frames(sequence, num_codebooks)
    grid: ArrayT = sequence.reshape((*sequence.shape[:-1], num_codebooks, frames))
    return grid


def coarse_first(codes: ArrayT, num_coarse: int) -> ArrayT:
    """Return the first `num_coarse` codebooks frame by frame, then the others frame by frame.

    Args:
        codes: `(…, codebooks, frames)`.
        num_coarse: from 1 to one less than there are codebooks.
    """
    _check_coarse(num_coarse, codes.shape[-2])
    return concatenated(
        [flatten_frames(codes[..., :num_coarse, :]), flatten_frames(codes[..., num_coarse:, :])]
    )


def undo_coarse_first(sequence: ArrayT, num_codebooks: int, num_coarse: int) -> ArrayT:
    """Return the grid that `coarse_first` ordered."""
    _check_coarse(num_coarse, num_codebooks)
    border = _whole_frames(sequence, num_codebooks) * num_coarse
    coarse = unflatten_frames(sequence[..., :border], num_coarse)
    fine = unflatten_frames(sequence[..., border:], num_codebooks - num_coarse)
    return concatenated([coarse, fine], axis=-2)


def delay(codes: ArrayT, fill: int, delays: Sequence[int] | None = None) -> ArrayT:
    """Return the grid with each codebook shifted to the right, so that coarse codes come first in time.

    Args:
        codes: `(…, codebooks, frames)`.
        fill: what stands where a codebook has no code.
        delays: steps that each codebook is late; 0, 1, 2 … when left out. All 0 gives the parallel pattern.

    Returns:
        `(…, codebooks, frames + max(delays))`.
    """
    delays = _checked_delays(delays, codes.shape[-2])
    return concatenated([_shifted(codes[..., k : k + 1, :], fill, delays, k) for k in range(len(delays))], -2)


def undelay(grid: ArrayT, delays: Sequence[int] | None = None) -> ArrayT:
    """Return the codes that `delay` shifted.

    Args:
        grid: `(…, codebooks, steps)`, with at least `max(delays)` steps.
        delays: as for `delay`.
    """
    delays = _checked_delays(delays, grid.shape[-2])
    frames = grid.shape[-1] - max(delays)
    if frames < 0:
        raise ValueError(
            f"`grid` must have at least {max(delays)} steps for delays of up to {max(delays)}, got {grid.shape[-1]}."
        )
    rows = [grid[..., k : k + 1, late : late + frames] for k, late in enumerate(delays)]
    return concatenated(rows, axis=-2)


def parallel(codes: ArrayT) -> ArrayT:
    """Return one step per frame, with the codes of all codebooks side by side."""
    steps: ArrayT = codes.swapaxes(-1, -2)
    return steps


def unparallel(steps: ArrayT) -> ArrayT:
    """Return the grid that `parallel` turned into steps."""
    grid: ArrayT = steps.swapaxes(-1, -2)
    return grid


def _shifted(row: ArrayT, fill: int, delays: Sequence[int], codebook: int) -> ArrayT:
    before = filled(row, (*row.shape[:-1], delays[codebook]), fill)
    after = filled(row, (*row.shape[:-1], max(delays) - delays[codebook]), fill)
    return concatenated([before, row, after])


def _checked_delays(delays: Sequence[int] | None, num_codebooks: int) -> Sequence[int]:
    delays = range(num_codebooks) if delays is None else delays
    if len(delays) != num_codebooks or min(delays) < 0:
        raise ValueError(
            f"`delays` must be {num_codebooks} numbers from 0 on, one for each codebook, got {list(delays)}."
        )
    return delays


def _check_coarse(num_coarse: int, num_codebooks: int) -> None:
    if not 1 <= num_coarse < num_codebooks:
        raise ValueError(
            f"`num_coarse` must be from 1 to {num_codebooks - 1} for {num_codebooks} codebooks, got {num_coarse}."
        )


def _whole_frames(sequence: ArrayT, num_codebooks: int) -> int:
    frames, rest = divmod(sequence.shape[-1], num_codebooks)
    if rest:
        raise ValueError(
            f"A sequence of {num_codebooks} codebooks must have a multiple of {num_codebooks} codes, "
            f"got {sequence.shape[-1]}."
        )
    return int(frames)
