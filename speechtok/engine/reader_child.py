"""One process that reads recordings, as its worker sees it: ask, receive, and start anew after a death."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from speechtok.engine import reader_process
from speechtok.engine.reader_process import FAILED, HEADER, IN_FILE
from speechtok.engine.ring import Ring, unnamed_file
from speechtok.processes import import_paths

TRIES = 2
"""How often a recording may end the process that reads it, before it is given up."""

RELEVANT_VARIABLES = ("PATH", "PYTHONPATH", "TMPDIR", "AWS_", "GOOGLE_", "AZURE_", "HF_", "SPEECHTOK_")
"""How the variables begin that decide what a recording's name leads to."""

RECEIVED_BYTES = 4096
"""How much of the answers is fetched at once."""


class ReadError(Exception):
    """A recording could not be read.

    Args:
        error: type of the error.
        message: its sentence.
        stage: "read", "crash" when the recording ended the process that read it, or "storage" when a
            store failed and the recording is not to blame.
    """

    def __init__(self, error: str, message: str, stage: str = "read") -> None:
        super().__init__(message)
        self.error, self.stage = error, stage


@dataclass(frozen=True, kw_only=True)
class ReadSettings:
    """How recordings are read."""

    sample_rate: int
    """Rate wanted, in Hz."""
    channels: str
    """What to do with several channels, see `read_waveform`."""
    chunk_seconds: float
    """Longer recordings arrive in blocks of this length."""
    timeout_seconds: float
    """How long one recording, or one block of a long one, may take."""
    memory_mb: int
    """Memory the process that reads may take, in MiB."""


@dataclass(kw_only=True, slots=True)
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
    deaths: int = field(default=0, init=False)
    """Processes that ended while they read it."""


class Died(Exception):  # noqa: N818
    """The process is gone."""


class Reader:
    """One process, started when it is needed and again after its death."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._sent: deque[Request] = deque()
        self._unsent: list[bytes] = []
        self._answered = 0
        self._received = b""
        self._files: deque[int] = deque()

    def has_environment(self) -> bool:
        """Return whether the process, if there is one, reaches the programs and stores that one started now would."""
        return self._process is None or _relevant(self._environment) == _relevant(_environment())

    def start(self) -> None:
        """Have the process start, unless it runs."""
        if self._process is None:
            self._start()

    def begin(self, settings: ReadSettings) -> None:
        """Have the process ready; what it knows of files is forgotten."""
        self._settings, self._is_fresh = settings, True
        self.start()

    @property
    def sample_rate(self) -> int:
        """Rate of what arrives, in Hz."""
        return self._settings.sample_rate

    def add(self, request: Request) -> int:
        """Have a recording asked for by the next `send`; return how many bytes that takes."""
        line = self._line(request, len(self._sent))
        self._sent.append(request)
        self._unsent.append(line)
        return len(line)

    def send(self) -> None:
        """Ask for all that was added, after the settings if the process does not know them yet."""
        if not self._unsent:
            return
        lines, self._unsent = self._unsent, []
        if self._is_fresh:
            lines.insert(0, json.dumps({"settings": asdict(self._settings)}).encode() + b"\n")
            self._is_fresh = False
        self._transmit(b"".join(lines))

    def answer(self) -> tuple[int, int, NDArray[np.float32]]:
        """Return kind, rate and samples of the next answer.

        Raises:
            ReadError: when the answer says that the recording cannot be read.
            Died: when the process ended.
        """
        kind, rate, size, place = HEADER.unpack(self._receive(HEADER.size))
        if kind == FAILED:
            content = json.loads(self._receive(size))
            raise ReadError(content["error"], content["message"], content["stage"])
        if place != IN_FILE:
            return kind, rate, self._ring.take(place, size)
        samples = np.empty(size, np.float32)
        if size:
            file = self._files.popleft()
            try:
                os.preadv(file, [samples.data.cast("B")], 0)
            finally:
                os.close(file)
        return kind, rate, samples

    def tell(self, *, more: bool) -> None:
        """Say that a block of the first request was used, and whether others are wanted."""
        message = {"more": more, "number": self._answered, "taken": self._ring.taken}
        self._transmit(json.dumps(message).encode() + b"\n")

    def end_request(self) -> None:
        """The first request is answered."""
        self._sent.popleft()
        self._answered += 1

    def revive(self) -> ReadError | None:
        """Start anew after a death; return an error when the first request is given up for it."""
        code, request, error = self._bury(), self._sent[0], None
        request.deaths += 1
        if code == -signal.SIGALRM:
            error = ReadError(
                "TimeoutError",
                f"Cannot read {request.audio!r}: it took longer than {self._settings.timeout_seconds:g} s; "
                "allow more with --timeout-seconds, or leave it out.",
            )
        elif request.deaths == TRIES:
            error = ReadError(
                "ReaderDied",
                f"Cannot read {request.audio!r}: decoding it ended its process twice ({cause_of_death(code)}); "
                "convert it or leave it out.",
                stage="crash",
            )
        if error is not None:
            self.end_request()
        self._restart()
        return error

    def skip(self) -> None:
        """Start anew after a death at a request that is wanted no more."""
        self._bury()
        self.end_request()
        self._restart()

    def finish(self) -> None:
        """Forget what was asked for and not received."""
        if self._sent:
            self.close()

    def close(self) -> None:
        """End the process."""
        self._sent.clear()
        self._unsent.clear()
        if self._process is not None:
            self._bury()

    def _restart(self) -> None:
        self._start()
        self._is_fresh = True
        self._unsent = [self._line(request, place) for place, request in enumerate(self._sent)]
        self.send()

    def _line(self, request: Request, place: int) -> bytes:
        """Return what asks for a request, the `place`th of those that are not answered."""
        content = {
            "audio": request.audio,
            "start": request.start,
            "duration": request.duration,
            "seconds": request.seconds,
            "number": self._answered + place,
            "taken": self._ring.taken,
        }
        return json.dumps(content).encode() + b"\n"

    def _transmit(self, lines: bytes) -> None:
        with contextlib.suppress(OSError):  # of a dead process, which the next answer reveals
            self._requests.write(lines)

    def _receive(self, size: int) -> bytes:
        """Return the next bytes of the answers; as many answers as are there are fetched at once."""
        while len(self._received) < size:
            try:
                part, files, _, _ = socket.recv_fds(self._connection, RECEIVED_BYTES, 1)
            except OSError:
                part, files = b"", []
            if not part:
                raise Died
            self._received += part
            self._files.extend(files)
        part, self._received = self._received[:size], self._received[size:]
        return part

    def _start(self) -> None:
        self._connection, theirs = socket.socketpair()
        requests, ours = os.pipe()
        self._requests = os.fdopen(ours, "wb", buffering=0)
        lifeline, self._lifeline = os.pipe()
        self._environment = _environment()
        shared = unnamed_file()
        self._ring = Ring(shared)
        descriptors = (requests, theirs.fileno(), lifeline, shared)
        try:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-m", reader_process.__name__, *map(str, descriptors)],
                stdin=subprocess.DEVNULL,
                pass_fds=descriptors,
                start_new_session=True,
                env=self._environment,
            )
        finally:
            theirs.close()
            os.close(requests)
            os.close(lifeline)
            os.close(shared)

    def _bury(self) -> int:
        """End the process, with whatever it started, and return its exit code."""
        assert self._process is not None  # noqa: S101
        self._connection.close()
        self._received = b""
        while self._files:
            os.close(self._files.pop())
        self._requests.close()
        os.close(self._lifeline)
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)  # one that is dead already keeps its exit code
        code, self._process = self._process.wait(), None
        return code


def cause_of_death(code: int) -> str:
    """Return what ended a process, by its exit code as `subprocess` tells it."""
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _environment() -> dict[str, str]:
    """Return what the process needs to import what this one imports, in one thread."""
    return {**os.environ, "PYTHONPATH": import_paths(), "OMP_NUM_THREADS": "1"}


def _relevant(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(RELEVANT_VARIABLES)}
