"""A recording that is read forward once, however many segments are asked for."""

from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from speechtok.audio.source import Source


class ForwardSource:
    """Goes on decoding where the last segment ended, unless beginning anew is shorter.

    The piece decoded last is kept, since the next segment often begins within it.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.info = source.info
        self._running: Generator[NDArray[np.float32]] | None = None
        self._first, self._piece = 0, np.zeros((0, 1), np.float32)

    def begins(self, first: int) -> int:
        """Return the sample from which the recording is decoded so that sample `first` comes out exact."""
        return self._source.begins(first)

    def pieces(self, first: int, stop: int | None) -> Generator[NDArray[np.float32]]:
        """Yield `(samples, channels)` from sample `first` up to `stop`, or to the end if that is None."""
        begin = self._source.begins(first)
        if self._running is None or first < self._first or begin > self._first + len(self._piece):
            self._restart(begin)
        while True:
            kept = self._piece[max(first - self._first, 0) : None if stop is None else stop - self._first]
            if len(kept):
                yield kept
            if stop is not None and self._first + len(self._piece) >= stop:
                return
            if not self._advance():
                return

    def close(self) -> None:
        """Let go of the file."""
        self._stop()
        self._source.close()

    def _restart(self, begin: int) -> None:
        self._stop()
        self._running = self._source.pieces(begin, None)
        self._first, self._piece = begin, self._piece[:0]

    def _advance(self) -> bool:
        """Decode the next piece; return whether there was one."""
        running, self._running = self._running, None  # stays so if decoding fails
        piece = None if running is None else next(running, None)
        if piece is None:
            return False
        self._first, self._piece, self._running = self._first + len(self._piece), piece, running
        return True

    def _stop(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.close()
