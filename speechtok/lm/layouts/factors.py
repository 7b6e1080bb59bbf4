"""Masked codes of one factor after another, as NaturalSpeech 3 learns them.

A factor is a stream; its codebooks are generated one after the other, coarse first. The *stages* of FACodec are
prosody 0, content 0, content 1, residual 0, 1, 2. In a training step one stage is chosen: earlier stages are
given, some frames of its own codes are masked and predicted, later stages are masked. A prompt at the
beginning is given in all stages.

Sources: Ju et al. 2024, NaturalSpeech 3, arXiv:2403.03100, section 3.3 (factors in order, masks over time);
Chang et al. 2022, MaskGIT, arXiv:2202.04200, and Borsos et al. 2023, SoundStorm, arXiv:2305.09636, section
3.2 (how many frames are masked, and codebook by codebook).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from speechtok.lm.arrays import ArrayT, concatenated, filled, where
from speechtok.lm.layouts.align import rows_of
from speechtok.tokens import StreamInfo


def stages_of(streams: Sequence[StreamInfo]) -> list[tuple[str, int]]:
    """Return the stages in order: stream and codebook."""
    return [(stream.name, codebook) for stream in streams for codebook in range(stream.num_codebooks)]


def stage_of_rows(streams: Sequence[StreamInfo]) -> list[int]:
    """Return the stage of each row of the grid that `align` makes of the streams."""
    stages = stages_of(streams)
    return [stages.index((row.stream, row.codebook)) for row in rows_of(streams)]


def mask_stage(
    grid: ArrayT, row_stages: Sequence[int], stage: int, masked: ArrayT, *, mask: int, prompt_frames: int = 0
) -> ArrayT:
    """Return the grid as a model sees it at one stage.

    Args:
        grid: `(rows, frames)`.
        row_stages: the stage of each row, see `stage_of_rows`; `range(rows)` when each row is one.
        stage: the stage to learn.
        masked: `(frames,)`, bool: frames of the stage that are hidden.
        mask: what stands for a hidden code.
        prompt_frames: frames at the beginning that are given in all stages.

    Returns:
        `(rows, frames)`: earlier stages as they are, hidden frames of this stage and all of later ones `mask`.
    """
    return where(
        _hidden(grid, row_stages, stage, masked, prompt_frames, later=True),
        filled(grid, grid.shape, mask),
        grid,
    )


def stage_labels(
    grid: ArrayT,
    row_stages: Sequence[int],
    stage: int,
    masked: ArrayT,
    *,
    ignore: int,
    prompt_frames: int = 0,
) -> ArrayT:
    """Return the codes to predict at one stage: its hidden ones; `ignore` everywhere else."""
    return where(
        _hidden(grid, row_stages, stage, masked, prompt_frames, later=False),
        grid,
        filled(grid, grid.shape, ignore),
    )


def unmask_stage(seen: ArrayT, labels: ArrayT, *, ignore: int) -> ArrayT:
    """Return the grid with the predicted codes filled in: exact for all stages up to the predicted one."""
    return where(labels != ignore, labels, seen)


def cosine_mask(
    frames: int, time: float, generator: np.random.Generator
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which frames are hidden at a time in (0, 1]: a share of sin(π/2 · time), at least one.

    Args:
        frames: how many frames there are.
        time: near 0 hides few, 1 hides all.
        generator: where the choice comes from.
    """
    if not 0 <= time <= 1:
        raise ValueError(f"`time` must be from 0 to 1, got {time}.")
    count = min(frames, max(1, round(math.sin(math.pi / 2 * time) * frames)))
    hidden = np.zeros(frames, dtype=bool)
    hidden[generator.permutation(frames)[:count]] = True
    return hidden


def _hidden(
    grid: ArrayT, row_stages: Sequence[int], stage: int, masked: ArrayT, prompt_frames: int, *, later: bool
) -> ArrayT:
    if len(row_stages) != grid.shape[0] or stage not in row_stages:
        raise ValueError(
            f"`row_stages` must name the stage of each of the {grid.shape[0]} rows, stage {stage} among them, "
            f"got {list(row_stages)}."
        )
    if tuple(masked.shape) != (grid.shape[1],):
        raise ValueError(f"`masked` must be ({grid.shape[1]} frames,), got shape {tuple(masked.shape)}.")
    nothing, everything = masked & ~masked, masked | ~masked
    rows = [
        masked if own == stage else everything if later and own > stage else nothing for own in row_stages
    ]
    hidden = concatenated([row[None] for row in rows], axis=0)
    hidden[:, :prompt_frames] = False
    return hidden
