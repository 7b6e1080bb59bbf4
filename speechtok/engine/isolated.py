"""Recordings, read ahead in processes of their own: bad files end there, and the tokenizer need not wait.

Results come in the order of the requests. How far reading is ahead is bounded in seconds of audio, which
bounds the memory: a second at 16 kHz takes 64 kB.
"""

from __future__ import annotations

import atexit
from collections import deque
from collections.abc import Generator, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from speechtok.audio.info import Waveform
from speechtok.engine.reader_child import Died, Reader, ReadError, ReadSettings, Request
from speechtok.engine.reader_process import BLOCK

MAX_AHEAD = 64
"""Recordings that are asked for ahead, however short they are …"""
MAX_AHEAD_BYTES = 32 * 1024
"""… and the bytes that asking for them takes: a pipe holds more, so that nobody waits for both ends."""


class LongRecording:
    """A recording that arrives in blocks, to be iterated once; raises `ReadError` where one cannot be read."""

    def __init__(self, reader: Reader, first: NDArray[np.float32], source_sample_rate: int) -> None:
        self.source_sample_rate = source_sample_rate
        """Rate of the file in Hz."""
        self._reader, self._next, self._used = reader, first, 0
        self._is_open = True

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        while self._is_open:
            yield self._next
            self._used += 1
            self._advance()

    def close(self) -> None:
        """Leave out what was not used."""
        if self._is_open:
            self._is_open = False
            self._reader.tell(more=False)
            try:
                while self._reader.answer()[0] == BLOCK:
                    pass
            except Died:
                self._reader.skip()
                return
            except ReadError:
                pass
            self._reader.end_request()

    def _advance(self) -> None:
        """Take the next block; if the process died meanwhile, the next one reads up to it."""
        skipped = 0
        self._reader.tell(more=True)
        while True:
            try:
                kind, _, block = self._reader.answer()
            except Died:
                skipped = self._used
                if (error := self._reader.revive()) is not None:
                    self._is_open = False
                    raise error from None
                continue
            except ReadError:
                self._is_open = False
                self._reader.end_request()
                raise
            if kind != BLOCK:
                self._is_open = False
                self._reader.end_request()
                return
            if not skipped:
                self._next = block
                return
            skipped -= 1
            self._reader.tell(more=True)


ReadResult = Waveform | LongRecording | ReadError
"""What becomes of a request."""


class ReaderPool:
    """Some processes that read, for one worker; they start at once.

    Args:
        processes: how many.
    """

    def __init__(self, processes: int = 1) -> None:
        self._readers = [_unparked() or Reader() for _ in range(processes)]
        for reader in self._readers:
            reader.start()

    def read(
        self,
        requests: Iterable[tuple[int, Request]],
        settings: ReadSettings,
        ahead_seconds: float,
    ) -> Generator[ReadResult]:
        """Yield the result of each request, in order, while the next ones are being read.

        Args:
            requests: each with the number of its batch; one process reads all of a batch.
            settings: how to read.
            ahead_seconds: how far to read ahead of the result that was yielded last; one recording at least.
        """
        for reader in self._readers:
            reader.begin(settings)
        ahead = _Ahead(self._readers, requests, settings, ahead_seconds)
        try:
            ahead.ask()
            while (asked := ahead.next_reader()) is not None:
                result = _receive(asked)
                ahead.ask()
                yield result
                if isinstance(result, LongRecording):
                    result.close()
        finally:
            for reader in self._readers:
                reader.finish()

    def close(self) -> None:
        """Leave the processes to the next pool in this process."""
        _parked.extend(self._readers)
        self._readers = []


_parked: list[Reader] = []
"""Readers that wait for another pool, since many small jobs may follow each other."""


def _unparked() -> Reader | None:
    """Return a waiting reader, if there is one in surroundings like ours."""
    while _parked:
        reader = _parked.pop()
        if reader.has_environment():
            return reader
        reader.close()
    return None


@atexit.register
def _end() -> None:
    for reader in _parked:
        reader.close()


def _receive(reader: Reader) -> ReadResult:
    """Return what became of the first request that is not answered yet."""
    while True:
        try:
            kind, rate, samples = reader.answer()
        except Died:
            if (error := reader.revive()) is not None:
                return error
            continue
        except ReadError as error:
            reader.end_request()
            return error
        if kind == BLOCK:
            return LongRecording(reader, samples, rate)
        reader.end_request()
        return Waveform(samples=samples, sample_rate=reader.sample_rate, source_sample_rate=rate)


class _Ahead:
    """What is asked for and not received, in order, and what is to be asked for.

    Short recordings are asked for many at once, whenever half of the reserve is used up: each time that two
    processes take turns costs as much as handing over a recording.
    """

    def __init__(
        self,
        readers: list[Reader],
        requests: Iterable[tuple[int, Request]],
        settings: ReadSettings,
        ahead_seconds: float,
    ) -> None:
        self._readers, self._coming = readers, iter(requests)
        self._chunk_seconds, self._ahead_seconds = settings.chunk_seconds, ahead_seconds
        self._following = next(self._coming, None)
        self._waiting: deque[tuple[Reader, float, int]] = deque()
        self._seconds, self._size = 0.0, 0

    def next_reader(self) -> Reader | None:
        """Return the process that answers next, or None when all is answered."""
        if not self._waiting:
            return None
        reader, seconds, size = self._waiting.popleft()
        self._seconds, self._size = self._seconds - seconds, self._size - size
        return reader

    def ask(self) -> None:
        """Ask for as much as there is room for, once half of it is free."""
        if not self._has_room(0.5):
            return
        while self._following is not None and self._has_room(1.0):
            batch, request = self._following
            reader = self._readers[batch % len(self._readers)]
            seconds = min(request.seconds or self._chunk_seconds, self._chunk_seconds)
            item = (reader, seconds, reader.add(request))
            self._waiting.append(item)
            self._seconds, self._size = self._seconds + item[1], self._size + item[2]
            self._following = next(self._coming, None)
        for reader in self._readers:
            reader.send()

    def _has_room(self, share: float) -> bool:
        return not self._waiting or (
            len(self._waiting) < share * MAX_AHEAD
            and self._seconds < share * self._ahead_seconds
            and self._size < share * MAX_AHEAD_BYTES
        )
