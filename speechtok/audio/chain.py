"""A recording of several streams, one behind the other, as if it were one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from speechtok.audio.source import Source, unreadable


class ChainSource:
    """Streams that follow each other without a gap; one is open at a time.

    Args:
        name: what messages call the recording.
        openers: open each of the streams.

    Raises:
        AudioError: If one cannot be opened, or they differ in rate, channels or format.
    """

    def __init__(self, name: str, openers: Sequence[Callable[[], Source]]) -> None:
        self._openers = openers
        self._ends, total = list[int](), 0
        first = None
        for opener in openers:
            with closing(opener()) as source:
                info = source.info
            first = first or info
            if replace(info, num_samples=0) != replace(first, num_samples=0):
                raise unreadable(
                    name,
                    f"it is joined from parts that differ ({first.format}, {first.sample_rate} Hz, channels: "
                    f"{first.num_channels}; {info.format}, {info.sample_rate} Hz, channels: {info.num_channels}); "
                    "separate them, or convert it to FLAC or WAV",
                )
            total += info.num_samples
            self._ends.append(total)
        assert first is not None  # noqa: S101
        self.info = replace(first, num_samples=total)

    def begins(self, first: int) -> int:
        """Return the beginning of the stream that sample `first` lies in."""
        return max((end for end in self._ends if end <= first), default=0)

    def pieces(self, first: int, stop: int | None) -> Generator[NDArray[np.float32]]:
        """Yield `(samples, channels)` from sample `first` up to `stop`, or to the end if that is None."""
        begin = 0
        for opener, end in zip(self._openers, self._ends, strict=True):
            if first < end and (stop is None or begin < stop):
                with closing(opener()) as source:
                    inner = None if stop is None or stop >= end else stop - begin
                    yield from source.pieces(max(first - begin, 0), inner)
            begin = end

    def close(self) -> None:
        """Let go of the recording: each stream was let go of when it had been read."""
