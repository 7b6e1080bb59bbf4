"""Recordings, read ahead in processes of their own: bad files end there, and the tokenizer need not wait.

Results come in the order of the requests. How far reading is ahead is bounded in seconds of audio, which
bounds the memory: a second at 16 kHz takes 64 kB.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechtok.audio.info import Waveform
from speechtok.engine import reader_process
from speechtok.engine.child import MAX_KILLS, Children, Deaths, Verdict, cause_of_death, child_environment
from speechtok.engine.reader_process import BLOCK, END, FAILED, HEADER

MACHINE = "machine"
"""Where it went wrong when the recording is not to blame."""
RELEVANT_VARIABLES = ("PATH", "PYTHONPATH", "TMPDIR", "AWS_", "GOOGLE_", "AZURE_", "HF_", "SPEECHTOK_")
"""How the variables begin that decide what a recording's name leads to."""


class ReadError(Exception):
    """A recording could not be read.

    Args:
        error: type of the error.
        message: its sentence.
        stage: "read", "crash" when the recording ended the process that read it, "storage" when a store failed, or
            "machine" when the process was ended from outside; the recording is not to blame for the last two.
    """

    def __init__(self, error: str, message: str, stage: str = "read") -> None:
        super().__init__(message)
        self.error, self.stage = error, stage


@dataclass(frozen=True, kw_only=True)
class ReadSettings:
    """How recordings are read."""

    sample_rate: int | None
    """Rate wanted, in Hz; None keeps that of each recording."""
    channels: str
    """What to do with several channels, see `read_waveform`."""
    chunk_seconds: float
    """Longer recordings arrive in blocks of this length."""
    timeout_seconds: float
    """How long one recording, or one block of a long one, may take."""
    memory_mb: int
    """Memory the process that reads may take, in MiB."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One recording that is wanted."""

    audio: str
    """Where it lies, see `read_waveform`."""
    start: float
    """Seconds where the segment begins."""
    duration: float | None
    """Length of the segment; None runs to the end."""
    seconds: float | None
    """Length as planned; None if it is not known."""
    block: int = 0
    """Which block of it, if it is long."""


@dataclass(slots=True)
class _Asked:
    """A request on its way, and the processes that ended at it."""

    request: Request
    deaths: Deaths = field(default_factory=Deaths)


class Reader:
    """One process that reads, started when it is needed and again after its death."""

    def __init__(self) -> None:
        self._children: Children | None = None
        self._asked = dict[int, _Asked]()  # in the order in which they are answered
        self._answers = dict[int, tuple[int, int, bytes] | ReadError]()
        self._ignored = set[int]()
        self._next = 0

    def start(self) -> None:
        """Have the process start, unless it runs."""
        if self._children is None:
            self._environment = child_environment()
            self._children = Children(f"{reader_process.__name__}:serve", environment=self._environment)
            (self._connection,) = self._children.connections
            self._received = SimpleQueue[bytes | None]()
            arguments = (self._connection, self._received)
            self._thread = threading.Thread(target=_receive, args=arguments, daemon=True)
            self._thread.start()

    def has_environment(self) -> bool:
        """Return whether the process, if there is one, reaches the programs and stores that one started now would."""
        return self._children is None or _relevant(self._environment) == _relevant(child_environment())

    def begin(self, settings: ReadSettings) -> None:
        """Have the process ready; what it knows of files is forgotten."""
        self._settings = settings
        self.start()
        self._send([{"settings": asdict(settings)}])

    @property
    def sample_rate(self) -> int | None:
        """Rate of what arrives, in Hz; None for that of each recording."""
        return self._settings.sample_rate

    def ask(self, requests: Sequence[Request]) -> list[int]:
        """Ask for recordings; return the number of each."""
        numbers = list(range(self._next, self._next + len(requests)))
        self._next += len(requests)
        self._asked |= {number: _Asked(request) for number, request in zip(numbers, requests, strict=True)}
        self._send([self._message(number) for number in numbers])
        return numbers

    def answer(self, number: int) -> tuple[int, int, NDArray[np.float32]]:
        """Return kind, rate and samples of the answer to a request, however many processes it takes.

        Raises:
            ReadError: when the recording cannot be read.
        """
        while number not in self._answers:
            message = self._received.get()
            if message is None:
                self._restart()
                continue
            kind, found, rate, _ = HEADER.unpack_from(message)
            del self._asked[found]
            self._keep(found, (kind, rate, message))
        answer = self._answers.pop(number)
        if isinstance(answer, ReadError):
            raise answer
        kind, rate, message = answer
        if kind == FAILED:
            raise ReadError(**json.loads(message[HEADER.size :]))
        return kind, rate, np.frombuffer(message, np.float32, offset=HEADER.size).copy()

    def ignore(self, number: int) -> None:
        """Want the answer to a request no more."""
        if self._answers.pop(number, None) is None:
            self._ignored.add(number)

    def finish(self) -> None:
        """Forget what was asked for and not received."""
        self._answers.clear()
        if self._asked.keys() - self._ignored:
            self.close()

    def close(self) -> None:
        """End the process."""
        self._asked.clear()
        self._ignored.clear()
        if self._children is not None:
            self._kill()

    def _keep(self, number: int, answer: tuple[int, int, bytes] | ReadError) -> None:
        if number in self._ignored:
            self._ignored.remove(number)
        else:
            self._answers[number] = answer

    def _restart(self) -> None:
        """Start anew after a death at the first request, which may be given up for it."""
        code = self._kill()
        number, asked = next(iter(self._asked.items()))
        if (error := self._judge(asked, code)) is not None:
            del self._asked[number]
            self._keep(number, error)
        self.begin(self._settings)
        self._send([self._message(number) for number in self._asked])

    def _judge(self, asked: _Asked, code: int) -> ReadError | None:
        """Return the error of a recording that has had its tries."""
        audio, cause = asked.request.audio, cause_of_death(code)
        verdict = asked.deaths.judge(code)
        if verdict is Verdict.LATE:
            return ReadError(
                "TimeoutError",
                f"Cannot read {audio!r}: it took longer than {self._settings.timeout_seconds:g} s; "
                "allow more with --timeout-seconds, or leave it out.",
            )
        if verdict is Verdict.MACHINE:
            message = (
                f"The process that reads {audio!r} was ended from outside {MAX_KILLS} times ({cause}), perhaps for lack of "
                "memory; use fewer --workers."
            )
            return ReadError("ReaderKilled", message, stage=MACHINE)
        if verdict is None:
            return None
        message = f"Cannot read {audio!r}: decoding it ended its process twice ({cause}); convert it or leave it out."
        return ReadError("ReaderDied", message, stage="crash")

    def _message(self, number: int) -> dict[str, Any]:
        return {**vars(self._asked[number].request), "number": number}

    def _send(self, messages: list[dict[str, Any]]) -> None:
        with contextlib.suppress(OSError):  # of a dead process, which the next answer reveals
            self._connection.send_bytes(json.dumps(messages).encode())

    def _kill(self) -> int:
        assert self._children is not None  # noqa: S101
        code = self._children.kill()
        self._thread.join()
        self._connection.close()
        self._children = None
        return code


def _receive(connection: Connection, received: SimpleQueue[bytes | None]) -> None:
    """Take what arrives, and None when the process is gone, so that it never waits for us."""
    try:
        while True:
            received.put(connection.recv_bytes())
    except (EOFError, OSError):
        received.put(None)


def _relevant(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(RELEVANT_VARIABLES)}


class LongRecording:
    """A recording that arrives in blocks, to be iterated once; raises `ReadError` where one cannot be read."""

    def __init__(
        self, reader: Reader, request: Request, first: NDArray[np.float32], source_sample_rate: int
    ) -> None:
        self.source_sample_rate = source_sample_rate
        """Rate of the file in Hz."""
        self._reader, self._request, self._first = reader, request, first
        self._coming: int | None = None

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        kind, samples, block = BLOCK, self._first, 0
        while kind != END:
            block += 1
            (self._coming,) = self._reader.ask(
                [replace(self._request, block=block)]
            )  # read while this one is used
            yield samples
            number, self._coming = self._coming, None
            kind, _, samples = self._reader.answer(number)

    def close(self) -> None:
        """Leave out what was not used."""
        if self._coming is not None:
            self._reader.ignore(self._coming)
            self._coming = None


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
        self, batches: Iterable[Sequence[Request]], settings: ReadSettings, ahead_seconds: float
    ) -> Generator[ReadResult]:
        """Yield the result of each request, in order, while the next ones are being read.

        Args:
            batches: requests; one process reads all of a batch.
            settings: how to read.
            ahead_seconds: a batch is asked for when less than this is on its way.
        """
        for reader in self._readers:
            reader.begin(settings)
        waiting, ahead, chunk = deque[tuple[Reader, int, Request, float]](), 0.0, settings.chunk_seconds
        coming = enumerate(batches)
        try:
            while True:
                while not waiting or ahead < ahead_seconds:
                    place, batch = next(coming, (None, ()))
                    if place is None:
                        break
                    reader = self._readers[place % len(self._readers)]
                    for number, request in zip(reader.ask(batch), batch, strict=True):
                        seconds = min(request.seconds or chunk, chunk)
                        waiting.append((reader, number, request, seconds))
                        ahead += seconds
                if not waiting:
                    return
                reader, number, request, seconds = waiting.popleft()
                ahead -= seconds
                result = _result(reader, number, request)
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


def _result(reader: Reader, number: int, request: Request) -> ReadResult:
    """Return what became of a request."""
    try:
        kind, rate, samples = reader.answer(number)
    except ReadError as error:
        return error
    if kind == BLOCK:
        return LongRecording(reader, request, samples, rate)
    return Waveform(samples=samples, sample_rate=reader.sample_rate or rate, source_sample_rate=rate)


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
