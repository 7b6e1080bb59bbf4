"""Audio files in, audio files out.

Conventions: samples are float32 with full scale [-1, 1]; integers of a file are divided by
2 ** (bits - 1), float files are taken as they are, above full scale included. Times are in seconds.
A file is known by its content; its suffix matters only to `looks_like_audio`.

Contents: `probe_audio`, `read_blocks`, `read_waveform`, `write_wav`, `looks_like_audio`.
"""

import math
import os
import uuid
import wave
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speechtok.audio.containers import AUDIO_SUFFIXES, looks_like_audio
from speechtok.audio.info import AudioInfo, Waveform
from speechtok.audio.opening import open_source
from speechtok.audio.resample import check_rate, resample_stream
from speechtok.audio.source import unreadable
from speechtok.storage import Place

__all__ = [
    "AUDIO_SUFFIXES",
    "AudioInfo",
    "Channels",
    "Waveform",
    "looks_like_audio",
    "probe_audio",
    "read_blocks",
    "read_waveform",
    "write_wav",
]

Channels = Literal["mean", "first", "error"]

SEGMENT_SLACK_SECONDS = 0.01
"""How far a segment may reach beyond the end of its file: segment lists round their times."""


def probe_audio(path: Place) -> AudioInfo:
    """Return what the header of an audio file says, without decoding the file.

    The length is exact but for two cases: an MP3 file may decode to up to 2304 samples fewer, and a
    file that only ffmpeg reads may differ by some milliseconds. A file whose header states no length
    is read once to count.

    Raises:
        AudioError: If the file is missing, empty, not audio, cut, or holds no samples.
    """
    with closing(open_source(path)) as source:
        return source.info


def read_waveform(
    path: Place,
    *,
    sample_rate: int | None = None,
    start: float = 0.0,
    duration: float | None = None,
    channels: Channels = "mean",
) -> Waveform:
    """Return a recording, or a segment of it, as one channel in memory.

    The samples are those of `read_blocks` joined; see there for the arguments and errors.
    """
    blocks = _Blocks(path, sample_rate, start, duration, channels, block_seconds=30.0)
    samples = np.concatenate(list(blocks))
    return Waveform(
        samples=samples,
        sample_rate=sample_rate or blocks.source_sample_rate,
        source_sample_rate=blocks.source_sample_rate,
    )


def read_blocks(
    path: Place,
    *,
    sample_rate: int | None = None,
    start: float = 0.0,
    duration: float | None = None,
    channels: Channels = "mean",
    block_seconds: float = 30.0,
) -> Iterator[NDArray[np.float32]]:
    """Yield a recording, or a segment of it, block by block, in memory that does not grow with it.

    The samples do not depend on `block_seconds`. A segment is cut at the file's own rate, from sample
    `start * rate` to sample `(start + duration) * rate`, both rounded half up, so that adjoining
    segments share no sample and lose none; it is then resampled on its own. A segment may end up to
    10 ms after the file does, as happens where a list rounds its times, and is then cut at the end.

    Args:
        path: an audio file; a path or the URI of an object store.
        sample_rate: Hz wanted; None keeps the file's rate. See `resample` for the length that results.
        start: seconds, at least 0, where the segment begins.
        duration: seconds, above 0, length of the segment; None means to the end of the file.
        channels: what to do with several: "mean" averages them, "first" takes the first, "error" raises.
        block_seconds: seconds per block, above 0.

    Yields:
        `(samples,)`, float32, `block_seconds` long but for the last.

    Raises:
        ValueError: If an argument is out of its range; before the first block is asked for.
        AudioError: If the file cannot be decoded to its end, holds no samples, NaN or infinity, has
            several channels while `channels` is "error", or does not contain the segment. Damage deep
            in the file shows only after the blocks before it.
    """
    return iter(_Blocks(path, sample_rate, start, duration, channels, block_seconds))


def write_wav(path: str | os.PathLike[str], samples: ArrayLike, sample_rate: int) -> None:
    """Write one channel as a WAV file of 16-bit integers, under a temporary name first.

    Args:
        path: the file to write or replace; its folder must exist.
        samples: `(samples,)`, float; beyond [-1, 1] they are clipped.
        sample_rate: Hz.

    Raises:
        ValueError: If `samples` have another shape or hold NaN or infinity.
    """
    check_rate("sample_rate", sample_rate)
    array = np.asarray(samples, np.float64)
    if array.ndim != 1:
        raise ValueError(f"`samples` must have shape (samples,), but has shape {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError("`samples` must be finite, but hold NaN or infinity.")
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("wb") as file, wave.open(file) as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(int(sample_rate))
            out.writeframes(np.clip(np.rint(array * 32768), -32768, 32767).astype("<i2").tobytes())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class _Blocks:
    """The blocks of one segment; checks its arguments when made, opens the file when iterated."""

    source_sample_rate: int

    def __init__(
        self,
        path: Place,
        sample_rate: int | None,
        start: float,
        duration: float | None,
        channels: Channels,
        block_seconds: float,
    ) -> None:
        if sample_rate is not None:
            check_rate("sample_rate", sample_rate)
        if not (math.isfinite(start) and start >= 0):
            raise ValueError(f"`start` must be at least 0 s, but is {start!r}.")
        if duration is not None and not (math.isfinite(duration) and duration > 0):
            raise ValueError(f"`duration` must be above 0 s, or None for the rest, but is {duration!r}.")
        if channels not in ("mean", "first", "error"):
            raise ValueError(f'`channels` must be "mean", "first" or "error", but is {channels!r}.')
        if not (math.isfinite(block_seconds) and block_seconds > 0):
            raise ValueError(f"`block_seconds` must be above 0 s, but is {block_seconds!r}.")
        self._path, self._sample_rate, self._channels = path, sample_rate, channels
        self._start, self._duration, self._block_seconds = start, duration, block_seconds

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        with closing(open_source(self._path)) as source:
            info = source.info
            self.source_sample_rate = info.sample_rate
            if self._channels == "error" and info.num_channels > 1:
                raise unreadable(
                    self._path,
                    f"it has {info.num_channels} channels, and one is wanted; "
                    'read it with channels="mean" or channels="first"',
                )
            first, stop = self._segment(info)
            with closing(source.pieces(first, stop)) as pieces:
                mono = self._finite(self._one_channel(pieces), first, info.sample_rate)
                out_rate = self._sample_rate or info.sample_rate
                if out_rate != info.sample_rate:
                    mono = resample_stream(mono, info.sample_rate, out_rate)
                yield from self._in_blocks(mono, max(round(self._block_seconds * out_rate), 1))

    def _segment(self, info: AudioInfo) -> tuple[int, int | None]:
        """Return the first sample of the segment and the one after its last, None for the file's end."""
        first = _round_half_up(self._start * info.sample_rate)
        end = info.num_samples
        stop = (
            end
            if self._duration is None
            else _round_half_up((self._start + self._duration) * info.sample_rate)
        )
        if first >= end or stop > end + SEGMENT_SLACK_SECONDS * info.sample_rate:
            until = "its end" if self._duration is None else f"{self._start + self._duration:.3f} s"
            raise unreadable(
                self._path,
                f"the segment from {self._start:.3f} s to {until} lies outside the file, "
                f"which is {info.duration:.3f} s long",
            )
        if stop <= first:
            raise unreadable(self._path, f"a segment of {self._duration} s holds no sample")
        return first, None if stop >= end else stop

    def _one_channel(self, pieces: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        for piece in pieces:  # (samples, channels)
            if piece.shape[1] == 1 or self._channels != "mean":
                yield piece[:, 0]
            else:
                with np.errstate(invalid="ignore", over="ignore"):
                    yield piece.mean(axis=1, dtype=np.float32)

    def _finite(
        self, pieces: Iterator[NDArray[np.float32]], first: int, rate: int
    ) -> Iterator[NDArray[np.float32]]:
        """Pass the pieces on up to one with NaN or infinity; then count those in the rest, and raise."""
        position, bad, where = first, 0, 0
        for piece in pieces:
            wrong = np.flatnonzero(~np.isfinite(piece))
            if len(wrong) and not bad:
                where = position + int(wrong[0])
            bad += len(wrong)
            position += len(piece)
            if not bad:
                yield piece
        if bad:
            raise unreadable(
                self._path,
                f"{bad} of its samples are NaN or infinite, the first at {where / rate:.3f} s; "
                "repair or leave out the file",
            )

    def _in_blocks(
        self, pieces: Iterator[NDArray[np.float32]], block_samples: int
    ) -> Iterator[NDArray[np.float32]]:
        """Yield the same samples in blocks of equal length; the last may be shorter."""
        waiting: list[NDArray[np.float32]] = []
        num_waiting, is_empty = 0, True
        for piece in pieces:
            while len(piece):
                taken = piece[: block_samples - num_waiting]
                piece = piece[len(taken) :]
                waiting.append(taken)
                num_waiting += len(taken)
                if num_waiting == block_samples:
                    yield np.concatenate(waiting)
                    waiting, num_waiting, is_empty = [], 0, False
        if num_waiting:
            yield np.concatenate(waiting)
        elif is_empty:
            raise unreadable(self._path, "it is too short: nothing is left of it at the rate wanted")


def _round_half_up(value: float) -> int:
    return math.floor(value + 0.5)
