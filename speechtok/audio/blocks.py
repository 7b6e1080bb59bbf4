"""The blocks of one segment of a recording: one channel, at the rate wanted, all of one length."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from speechtok.audio.info import AudioInfo, Waveform
from speechtok.audio.opening import open_source
from speechtok.audio.resample import check_rate, resample_stream
from speechtok.audio.source import Source, unreadable
from speechtok.limits import WAVEFORM_SAMPLES
from speechtok.storage import Place

Channels = Literal["mean", "first", "error"]
Opener = Callable[[Place], AbstractContextManager[Source]]

SEGMENT_SLACK_SECONDS = 0.01
"""How far a segment may reach beyond the end of its file: segment lists round their times."""


def open_once(audio: Place) -> AbstractContextManager[Source]:
    """Return a recording that is open for the length of a `with` block."""
    return closing(open_source(audio))


class Blocks:
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
        opener: Opener = open_once,
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
        self._opener = opener
        self._max_seconds, self._is_held = math.inf, False

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        with self._opener(self._path) as source:
            info = source.info
            self.source_sample_rate = info.sample_rate
            if self._channels == "error" and info.num_channels > 1:
                raise unreadable(
                    self._path,
                    f"it has {info.num_channels} channels, and one is wanted; "
                    'read it with channels="mean" or channels="first"',
                )
            first, stop = self._segment(info)
            self._check_size((stop or info.num_samples) - first, info.sample_rate)
            with closing(source.pieces(first, stop)) as pieces:
                mono = self._finite(self._one_channel(pieces), first, info.sample_rate)
                out_rate = self._sample_rate or info.sample_rate
                if out_rate != info.sample_rate:
                    mono = resample_stream(mono, info.sample_rate, out_rate)
                yield from self._in_blocks(mono, max(round(self._block_seconds * out_rate), 1))

    def joined(self, max_seconds: float | None = None) -> Waveform:
        """Return all blocks as one.

        Args:
            max_seconds: how much may be held, where that is less than `WAVEFORM_SAMPLES`.
        """
        self._max_seconds = math.inf if max_seconds is None else max_seconds
        self._is_held = True
        blocks = list(self)
        return Waveform(
            samples=blocks[0] if len(blocks) == 1 else np.concatenate(blocks),
            sample_rate=self._sample_rate or self.source_sample_rate,
            source_sample_rate=self.source_sample_rate,
        )

    def _check_size(self, num_samples: int, rate: int) -> None:
        """Raise if more would be held at once than may be."""
        seconds, most = num_samples / rate, WAVEFORM_SAMPLES / (self._sample_rate or rate)
        if self._is_held and seconds > min(most, self._max_seconds):
            raise unreadable(
                self._path,
                f"{seconds:.3f} s of it would be held at once, and {min(most, self._max_seconds):.3f} s may be; "
                "cut it with --segment, or read it in blocks",
            )

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
            until = "its end" if self._duration is None else f"{_words(self._start + self._duration)} s"
            raise unreadable(
                self._path,
                f"the segment from {_words(self._start)} s to {until} lies outside the file, "
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
            finite = np.isfinite(piece)
            if not finite.all():
                wrong = np.flatnonzero(~finite)
                where = where if bad else position + int(wrong[0])
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
    return math.floor(min(value, 2.0**62) + 0.5)


def _words(seconds: float) -> str:
    return f"{seconds:.3f}" if seconds < 1e9 else f"{seconds:g}"
