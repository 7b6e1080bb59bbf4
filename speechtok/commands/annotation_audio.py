"""The recordings of rows that are annotated, read ahead in a process of its own: one that hangs or crashes it ends nothing else.

Contents: `Recording`, `Recordings`.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechtok.corpora.originals import Originals
from speechtok.engine.isolated import (
    MACHINE,
    LongRecording,
    ReaderPool,
    ReadError,
    ReadResult,
    ReadSettings,
    Request,
)
from speechtok.engine.reader_process import STORAGE
from speechtok.errors import AudioError, JobError, StorageError
from speechtok.shards.verify import SECONDS_TOLERANCE

AHEAD_SECONDS = 60.0
"""Audio that is read ahead of the annotations."""
WHOLE_SECONDS = 3600.0
"""Longer recordings arrive in blocks of this length; they are annotated whole."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The audio of one row, or why there is none."""

    samples: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    """`(samples,)`, at the rate of the file."""
    sample_rate: int = 0
    """Hz."""
    resampled: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    """The same at other rates, as far as they were asked for."""
    error: Exception | None = None
    """What to raise instead."""


class Recordings:
    """Reads recordings for one worker; close it at the end.

    Args:
        originals: where they lie.
        info_rate: Hz of the samples that rows count.
        timeout_seconds: how long reading one may take.
        memory_mb: memory that decoding one may take, in MiB.
    """

    def __init__(
        self, originals: Originals, info_rate: int, *, timeout_seconds: float, memory_mb: int
    ) -> None:
        self._originals, self._rate = originals, info_rate
        self._settings = ReadSettings(
            sample_rate=None,
            channels=originals.channels,
            chunk_seconds=WHOLE_SECONDS,
            timeout_seconds=timeout_seconds,
            memory_mb=memory_mb,
        )
        self._pool = ReaderPool()

    def close(self) -> None:
        """Leave the process that reads to others."""
        self._pool.close()

    def of(self, rows: Sequence[Mapping[str, Any]]) -> Generator[Recording]:
        """Yield the recording of each row, in order.

        Raises:
            StorageError: when a store fails.
            JobError: when the process that reads is ended from outside again and again.
        """
        requests = [self._request(row) for row in rows]
        wanted = [[item] for item in requests if isinstance(item, Request)]
        with closing(self._pool.read(wanted, self._settings, AHEAD_SECONDS)) as results:
            for row, request in zip(rows, requests, strict=True):
                if isinstance(request, Request):
                    yield _checked(_whole(next(results)), row["num_samples"] / self._rate)
                else:
                    yield Recording(error=request)

    def _request(self, row: Mapping[str, Any]) -> Request | AudioError:
        """Return what to ask for, or why it cannot be."""
        seconds = row["num_samples"] / self._rate
        try:
            if not row.get("audio"):
                raise AudioError("The row names no recording.")
            path = self._originals.path(row["audio"])
        except AudioError as error:
            return error
        is_segment = "start" in row
        return Request(
            audio=path,
            start=row.get("start") or 0.0,
            duration=seconds if is_segment else None,
            seconds=seconds,
        )


def _whole(result: ReadResult) -> Recording:
    """Return what was read, blocks put together."""
    try:
        if isinstance(result, LongRecording):
            samples = np.concatenate(list(result))
            return Recording(samples=samples, sample_rate=result.source_sample_rate)
        if isinstance(result, ReadError):
            raise result
    except ReadError as error:
        if error.stage == STORAGE:
            raise StorageError(str(error)) from error
        if error.stage == MACHINE:
            raise JobError(str(error)) from error
        return Recording(error=error)
    return Recording(samples=result.samples, sample_rate=result.sample_rate)


def _checked(recording: Recording, seconds: float) -> Recording:
    """Return a recording, or one without audio where it is not as long as its row."""
    if recording.error is not None:
        return recording
    found = len(recording.samples) / recording.sample_rate
    if abs(found - seconds) <= SECONDS_TOLERANCE:
        return recording
    error = AudioError(
        f"The recording holds {found:.3f} s, but its row {seconds:.3f} s; it changed since it was tokenized, so restore it, or tokenize "
        "the corpus as it is now."
    )
    return Recording(error=error)
