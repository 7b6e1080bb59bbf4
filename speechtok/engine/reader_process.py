"""What runs in a process of its own beside a worker: read, decode and resample, one request after another.

A decoder that hangs, crashes or takes all memory ends this process and nothing else; `isolated` starts the next. Requests arrive as JSON,
a list of them at a time; each is answered by a `HEADER` with samples, or with JSON where something went wrong.

- The time limit is an alarm: the process dies of SIGALRM.
- The memory limit bounds what this process may allocate, so an exploding decoder is refused memory.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechtok.audio.io import AudioReader, probe_audio, read_blocks
from speechtok.engine.child import limit_memory, set_alarm
from speechtok.errors import SpeechtokError, StorageError

HEADER = struct.Struct("!BxxxIII")
"""Kind of the answer, number of the request, rate of the recording in Hz, and nothing, for samples begin at a multiple of 16 bytes."""
WHOLE, BLOCK, END, FAILED = range(4)
"""Kinds: a recording; a block of a long one; no further block; it cannot be read."""
READ, STORAGE = "read", "storage"
"""Where it went wrong: with the recording, or with the store that holds it."""


class _Server:
    """Answers requests."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._settings: dict[str, Any] = {}
        self._reader = AudioReader()
        self._long: tuple[dict[str, Any], int, Iterator[NDArray[np.float32]], int] | None = None

    def answer(self, request: dict[str, Any]) -> None:
        """Answer a request: to read a recording or its first block, or one of the next."""
        try:
            set_alarm(self._settings["timeout_seconds"])
            try:
                kind, rate, samples = self._read(request)
            finally:
                set_alarm(0)
        except Exception as error:  # whatever a damaged file provokes is told to the worker
            self._send(FAILED, request, 0, self._described(error, request["audio"]))
        else:
            self._send(kind, request, rate, samples.tobytes())

    def set(self, settings: dict[str, Any]) -> None:
        """Read otherwise from now on, and forget what is known of files."""
        self._settings, self._long = settings, None
        limit_memory(settings["memory_mb"])
        self._reader.close()

    def _read(self, request: dict[str, Any]) -> tuple[int, int, NDArray[np.float32]]:
        wanted = {name: request[name] for name in ("start", "duration")}
        wanted |= {name: self._settings[name] for name in ("sample_rate", "channels")}
        audio, chunk, block = request["audio"], self._settings["chunk_seconds"], request["block"]
        if block == 0 and _seconds(request) <= chunk:
            waveform = self._reader.read_waveform(audio, **wanted, max_seconds=chunk + 1)
            return WHOLE, waveform.source_sample_rate, waveform.samples
        key = request | {"block": 0, "number": 0}
        if self._long is None or self._long[0] != key or self._long[3] != block:
            rate = probe_audio(audio).sample_rate
            self._long = (key, rate, read_blocks(audio, block_seconds=chunk, **wanted), 0)
        _, rate, blocks, place = self._long
        for _ in range(block - place):  # those that another process has read, each in its own time
            next(blocks, None)
            set_alarm(self._settings["timeout_seconds"])
        found = next(blocks, None)
        self._long = (key, rate, blocks, block + 1)
        return (END, rate, np.zeros(0, np.float32)) if found is None else (BLOCK, rate, found)

    def _described(self, error: Exception, audio: str) -> bytes:
        name, message = type(error).__name__, str(error)
        if not isinstance(error, SpeechtokError):
            message = f"Cannot read {audio!r}: {message or name}."
        if isinstance(error, MemoryError):
            name = "MemoryError"
            message = (
                f"Cannot read {audio!r}: it needs more than {self._settings['memory_mb']} MB of memory to decode; "
                "allow more with --memory-mb, or leave it out."
            )
        stage = STORAGE if isinstance(error, StorageError) else READ
        return json.dumps({"error": name, "message": message, "stage": stage}).encode()

    def _send(self, kind: int, request: dict[str, Any], rate: int, content: bytes) -> None:
        self._connection.send_bytes(HEADER.pack(kind, request["number"], rate, 0) + content)


def _seconds(request: dict[str, Any]) -> float:
    """Return how long the utterance is, by the plan or else by its header."""
    if request["seconds"] is not None:
        return float(request["seconds"])
    rest = probe_audio(request["audio"]).duration - request["start"]
    return float(rest if request["duration"] is None else min(rest, request["duration"]))


def serve(connection: Connection) -> None:
    """Answer until the other end closes."""
    server = _Server(connection)
    try:
        while True:
            for message in json.loads(connection.recv_bytes()):
                if "settings" in message:
                    server.set(message["settings"])
                else:
                    server.answer(message)
    except (EOFError, OSError):
        return
