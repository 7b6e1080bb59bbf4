"""Streams of different frame rates in one grid.

A *superframe* spans the least common multiple of the streams' hop lengths. Each stream gives its codebooks
once for every frame it has in a superframe, so units at 50 Hz and pitch at 12.5 Hz become five rows of
12.5 Hz: content 0, pitch, content 1, content 2, content 3. Streams of one rate keep one row per codebook.

Contents: `Row`, `rows_of`, `align`, `unalign`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from speechtok.errors import TokensError
from speechtok.lm.arrays import ArrayT, concatenated, filled
from speechtok.tokens import StreamInfo


@dataclass(frozen=True)
class Row:
    """What one row of an aligned grid holds."""

    stream: str
    """Name of the stream."""
    codebook: int
    """Codebook of the stream."""
    phase: int
    """Which frame of the stream inside a superframe."""


def frames_per_superframe(streams: Sequence[StreamInfo]) -> dict[str, int]:
    """Return how many frames each stream has in a superframe."""
    span = math.lcm(*(stream.hop_length for stream in streams))
    return {stream.name: span // stream.hop_length for stream in streams}


def frame_rate(streams: Sequence[StreamInfo]) -> float:
    """Return how many superframes there are in a second."""
    return streams[0].frame_rate / frames_per_superframe(streams)[streams[0].name]


def rows_of(streams: Sequence[StreamInfo]) -> list[Row]:
    """Return the rows of the grid: by the time their frame starts, then by stream, then coarse first."""
    counts = frames_per_superframe(streams)
    timed = [
        (phase * stream.hop_length, order, codebook, Row(stream.name, codebook, phase))
        for order, stream in enumerate(streams)
        for phase in range(counts[stream.name])
        for codebook in range(stream.num_codebooks)
    ]
    return [row for *_, row in sorted(timed, key=lambda item: item[:3])]


def align(codes: Mapping[str, ArrayT], streams: Sequence[StreamInfo], fill: int) -> ArrayT:
    """Return the codes of all streams as one grid.

    Args:
        codes: stream name → `(codebooks, frames)`.
        streams: the streams, in order, with the codebooks their codes have.
        fill: what stands where a stream has no frame in the last superframes.

    Returns:
        `(rows, superframes)`, rows as `rows_of` lists them.

    Raises:
        TokensError: when codes do not have the codebooks of their stream.
    """
    counts = frames_per_superframe(streams)
    for stream in streams:
        if codes[stream.name].ndim != 2 or codes[stream.name].shape[0] != stream.num_codebooks:
            raise TokensError(
                f"Codes of stream '{stream.name}' must be ({stream.num_codebooks} codebooks, frames), "
                f"got shape {tuple(codes[stream.name].shape)}."
            )
    length = max(-(-codes[name].shape[1] // count) for name, count in counts.items())
    padded = {}
    for name, count in counts.items():
        missing = length * count - codes[name].shape[1]
        rest = filled(codes[name], (codes[name].shape[0], missing), fill)
        padded[name] = concatenated([codes[name], rest])
    rows = rows_of(streams)
    return concatenated(
        [
            padded[row.stream][row.codebook : row.codebook + 1, row.phase :: counts[row.stream]]
            for row in rows
        ],
        axis=0,
    )


def unalign(
    grid: ArrayT, streams: Sequence[StreamInfo], num_frames: Mapping[str, int] | None = None
) -> dict[str, ArrayT]:
    """Return the streams that `align` put into one grid.

    Args:
        grid: `(rows, superframes)`.
        streams: as for `align`.
        num_frames: frames of each stream; all that fit when left out, as for generated codes.
    """
    counts, rows = frames_per_superframe(streams), rows_of(streams)
    if grid.shape[0] != len(rows):
        raise TokensError(
            f"An aligned grid of these streams must have {len(rows)} rows, got {grid.shape[0]}."
        )
    codes = {}
    for stream in streams:
        count, length = counts[stream.name], grid.shape[1]
        books = []
        for codebook in range(stream.num_codebooks):
            at = [
                rows.index(Row(stream.name, codebook, phase)) for phase in range(count)
            ]  # the rows of one codebook, in order of time
            taken = concatenated([grid[index : index + 1] for index in at], axis=0)  # (count, superframes)
            books.append(taken.swapaxes(0, 1).reshape((1, count * length)))
        frames = count * length if num_frames is None else num_frames[stream.name]
        codes[stream.name] = concatenated(books, axis=0)[:, :frames]
    return codes
