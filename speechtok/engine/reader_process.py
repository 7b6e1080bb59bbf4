"""What runs in a process of its own beside a worker: read, decode and resample, one request after another.

A decoder that hangs, crashes or takes all memory ends this process and nothing else; `reading` starts the
next. Requests arrive as JSON lines on a pipe; each answer is a `HEADER` on a socket. It is followed by JSON where
something went wrong; else the samples lie in a `Ring`, or, where that has no room, in an unnamed file whose
descriptor comes along. Requests do not come on the socket, for whoever waits there is woken as well when the other
end takes an answer.

- The time limit is a kernel timer that nobody catches, so it holds inside any library: the process dies of
  SIGALRM.
- The memory limit bounds what this process may allocate, so an exploding decoder is refused memory.
- The process ends with its worker, whose end of the lifeline closes; so do programs it started.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from speechtok.audio.io import AudioReader, probe_audio, read_blocks
from speechtok.engine.ring import Ring, unnamed_file
from speechtok.errors import SpeechtokError, StorageError

HEADER = struct.Struct("!BIQq")
"""Kind of the answer, rate of the recording in Hz, number of samples or of bytes of JSON, place in the ring."""
IN_FILE = -1
"""Place of samples that are not in the ring."""
WHOLE, BLOCK, END, FAILED = range(4)
"""Kinds: a recording; one block of a long one; nothing follows the blocks; it cannot be read."""
READ, STORAGE = "read", "storage"
"""Where it went wrong: with the recording, or with the store that holds it."""
BLOCKS_AHEAD = 2
"""Blocks of a long recording that are read before the first of them was used."""


class _Server:
    """Answers requests."""

    def __init__(self, requests: BinaryIO, connection: socket.socket, ring: Ring) -> None:
        self._lines, self._connection, self._ring = requests, connection, ring
        self._waiting: deque[dict[str, Any]] = deque()
        self._settings: dict[str, Any] = {}
        self._reader = AudioReader()

    def serve(self) -> None:
        """Answer until the other end closes."""
        while (request := self._waiting.popleft() if self._waiting else self._receive()) is not None:
            if "more" in request:  # about a recording that has ended since
                continue
            if "settings" in request:
                self._settings = request["settings"]
                _limit_memory(self._settings["memory_mb"])
                self._reader.close()  # for files may have changed
                continue
            try:
                self._answer(request)
            except (BrokenPipeError, ConnectionResetError):
                return
            except Exception as error:  # whatever a damaged file provokes is told to the worker
                self._fail(error, request)

    def _answer(self, request: dict[str, Any]) -> None:
        audio, settings = request["audio"], self._settings
        chunk, limit = settings["chunk_seconds"], settings["timeout_seconds"]
        reading: dict[str, Any] = {
            "sample_rate": settings["sample_rate"],
            "channels": settings["channels"],
            "start": request["start"],
            "duration": request["duration"],
        }
        with _time_limit(limit):
            if _seconds(request) <= chunk:
                waveform = self._reader.read_waveform(audio, **reading, max_seconds=chunk + 1)
                self._send(WHOLE, waveform.source_sample_rate, waveform.samples)
                return
            rate = probe_audio(audio).sample_rate
        blocks, unused = read_blocks(audio, block_seconds=chunk, **reading), 0
        wanted = True
        while wanted:
            with _time_limit(limit):
                block = next(blocks, None)
            if block is None:
                break
            self._send(BLOCK, rate, block)
            unused += 1
            if unused == BLOCKS_AHEAD:
                wanted = self._is_more_wanted(request["number"])
                unused -= 1
        self._connection.sendall(HEADER.pack(END, rate, 0, IN_FILE))

    def _is_more_wanted(self, number: int) -> bool:
        """Wait until one more block of request `number` was used, and return whether others are wanted."""
        while (message := self._receive()) is not None:
            if "more" not in message:
                self._waiting.append(message)
            elif message["number"] == number:
                return bool(message["more"])
        return False

    def _receive(self) -> dict[str, Any] | None:
        line = self._lines.readline()
        if not line:
            return None
        message: dict[str, Any] = json.loads(line)
        self._ring.taken = message.get("taken", self._ring.taken)
        return message

    def _send(self, kind: int, rate: int, samples: NDArray[np.float32]) -> None:
        if (place := self._ring.put(samples)) is not None:
            self._connection.sendall(HEADER.pack(kind, rate, len(samples), place))
            return
        file = unnamed_file()
        try:
            os.write(file, samples.data.cast("B"))
            socket.send_fds(self._connection, [HEADER.pack(kind, rate, len(samples), IN_FILE)], [file])
        finally:
            os.close(file)

    def _fail(self, error: Exception, request: dict[str, Any]) -> None:
        name, message = type(error).__name__, str(error)
        if not isinstance(error, SpeechtokError):
            message = f"Cannot read {request['audio']!r}: {message or name}."
        if isinstance(error, MemoryError):
            name = "MemoryError"
            message = (
                f"Cannot read {request['audio']!r}: it needs more than {self._settings['memory_mb']} MB of memory to decode; "
                "allow more with --memory-mb, or leave it out."
            )
        stage = STORAGE if isinstance(error, StorageError) else READ
        content = json.dumps({"error": name, "message": message, "stage": stage}).encode()
        self._connection.sendall(HEADER.pack(FAILED, 0, len(content), IN_FILE) + content)


def _seconds(request: dict[str, Any]) -> float:
    """Return how long the utterance is, by the plan or else by its header."""
    if request["seconds"] is not None:
        return float(request["seconds"])
    rest = probe_audio(request["audio"]).duration - request["start"]
    return float(rest if request["duration"] is None else min(rest, request["duration"]))


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _limit_memory(megabytes: int) -> None:
    """Bound the memory this process may allocate; where the system has no such limit, nothing happens."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (megabytes << 20, most))


def _end_with_worker(lifeline: int) -> None:
    """Wait until the worker is gone, then end this process and the programs it started."""
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Serve on the descriptors that the command line names: requests, socket for answers, lifeline, and ring."""
    requests, connection, lifeline, ring = (int(argument) for argument in sys.argv[1:])
    threading.Thread(target=_end_with_worker, args=(lifeline,), daemon=True).start()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the job, which ends this process
    with os.fdopen(requests, "rb") as lines, socket.socket(fileno=connection) as answers:
        _Server(lines, answers, Ring(ring)).serve()


if __name__ == "__main__":
    main()
