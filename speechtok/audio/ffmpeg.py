"""Recordings that only ffmpeg reads: WebM, MP4, AAC, WMA, AMR and their kin.

The program `ffmpeg` is looked up on PATH and decodes to float32 through a pipe, in bounded memory. It is told which
container to read, the one that the first bytes announce, so that a file cannot be a playlist that names other files;
and it may open files alone. Where it says nothing for `SILENT_SECONDS`, it is ended together with what it started.
Segments are cut from the decoded stream, since seeking in these containers is not exact. The length
that `AudioInfo` states comes from the container and may be some milliseconds off; where the container
states none, the file is decoded once to count.
"""

import contextlib
import os
import re
import selectors
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from speechtok.audio.info import AudioInfo
from speechtok.audio.source import PIECE_SAMPLES, Recording, trim, unreadable

SILENT_SECONDS = 60.0
"""How long ffmpeg may take for the next samples; a fraction of a second is usual."""
SLACK_SECONDS = 0.25
"""How far the decoded length may lie from the one that the container states."""

_DEMUXERS = {
    "WebM or Matroska": ("matroska",),
    "MP4 or M4A": ("mov", "-enable_drefs", "0", "-use_absolute_path", "0"),
    "AAC": ("aac",),
    "ASF or WMA": ("asf",),
    "AMR": ("amr",),
    "WavPack": ("wv",),
    "Monkey's Audio": ("ape",),
    "FLV": ("flv",),
    "TTA": ("tta",),
    "Shorten": ("shn",),
    "Ogg FLAC": ("ogg",),
    "Ogg Speex": ("ogg",),
    "MPEG audio in WAV": ("wav",),
}
_AU_HEADER = struct.Struct(">4s5I")
_MAX_CHANNELS = 1024
_LOG_BYTES = 65536
_PROBED_BYTES = 2**24
_FILM = re.compile(r"^ *Stream #.*: Video:(?!.*attached pic)", re.MULTILINE)  # may be longer than its sound
_DURATION = re.compile(r"Duration: (\d+):(\d+):(\d+\.\d+)")


class FfmpegSource:
    """One recording decoded by ffmpeg."""

    def __init__(self, recording: Recording, container: str) -> None:
        self._recording = recording
        self._container = container
        program = shutil.which("ffmpeg")
        if program is None:
            raise unreadable(
                recording.name,
                f"{container} files need the program ffmpeg, which is not on PATH; install ffmpeg, "
                "or convert the file to FLAC or WAV",
            )
        self._program = program
        self.info = self._probe()

    def begins(self, first: int) -> int:
        """Return the sample from which decoding starts: always the first one."""
        return 0

    def pieces(self, first: int, stop: int | None) -> Generator[NDArray[np.float32]]:
        """Yield `(samples, channels)` from sample `first` up to `stop`, or to the end if that is None."""
        with closing(self._counted()) as pieces:
            yield from trim(pieces, first, stop)

    def _counted(self) -> Generator[NDArray[np.float32]]:
        """Yield the whole recording, and raise where it is longer or shorter than its container states."""
        position, rate = 0, self.info.sample_rate
        with closing(self._decode()) as pieces:
            for piece in pieces:
                yield piece
                position += len(piece)
                if position > self.info.num_samples + SLACK_SECONDS * rate:
                    raise self._unlike("more")
        if position < self.info.num_samples - SLACK_SECONDS * rate:
            raise self._unlike(f"{position / rate:.3f} s")

    def _unlike(self, held: str) -> Exception:
        return unreadable(
            self._recording.name,
            f"its {self._container} header promises {self.info.duration:.3f} s, it holds {held}; convert it to FLAC or WAV",
        )

    def close(self) -> None:
        """Let go of the file; a decoder still at work was ended with its stream."""

    def _probe(self) -> AudioInfo:
        with self._running("info", "-t", "0.1") as running:
            shape = running.shape()
            running.read(_PROBED_BYTES)
            code, log = running.end()
        if code or shape is None:
            raise self._refused(log)
        rate, channels = shape
        stated, is_film = _DURATION.search(log), _FILM.search(log)
        if stated and not is_film and "Estimating duration" not in log:
            hours, minutes, seconds = (float(group) for group in stated.groups())
            num_samples = round((hours * 3600 + minutes * 60 + seconds) * rate)
        else:
            num_samples = sum(len(piece) for piece in self._decode())
        return AudioInfo(
            sample_rate=rate, num_channels=channels, num_samples=num_samples, format=self._container
        )

    def _command(self, log_level: str, *limits: str) -> list[str]:
        return [
            *(self._program, "-hide_banner", "-nostdin", "-nostats", "-v", log_level),
            *("-protocol_whitelist", "file,pipe", "-f", *_DEMUXERS[self._container]),
            *("-i", f"file:{self._recording.path}", *limits, "-map", "0:a:0", "-vn", "-sn", "-dn"),
            *("-f", "au", "-c:a", "pcm_f32be", "pipe:1"),
        ]

    def _decode(self) -> Generator[NDArray[np.float32]]:
        """Yield the whole recording in pieces of fixed size; the last is shorter."""
        with self._running("error") as running:
            if (shape := running.shape()) is not None:
                frame = 4 * shape[1]
                while data := running.read(frame * max(PIECE_SAMPLES * 8 // max(shape[1], 8), 1)):
                    samples = np.frombuffer(data[: len(data) - len(data) % frame], ">f4").astype(np.float32)
                    yield samples.reshape(-1, shape[1])
            code, complaint = running.end()
            if code or complaint.strip() or shape is None:
                raise self._refused(complaint)

    @contextlib.contextmanager
    def _running(self, log_level: str, *limits: str) -> Iterator["_Running"]:
        try:
            with _Running(self._command(log_level, *limits)) as running:
                yield running
        except TimeoutError:
            reason = f"ffmpeg hangs: nothing came from it for {SILENT_SECONDS:.0f} s"
            raise unreadable(self._recording.name, reason) from None
        except OSError as error:
            raise unreadable(self._recording.name, f"ffmpeg does not start ({error.strerror})") from None

    def _refused(self, log: str) -> Exception:
        lines = [line for line in log.splitlines() if line.strip() and not line.startswith(" ")]
        errors = [line for line in lines if re.search(r"error|invalid|not found|prematurely", line, re.I)]
        first = re.sub(r"^(\[[^\]]*\] ?)+", "", (errors or lines or ["no reason given"])[0]).rstrip(".")
        return unreadable(
            self._recording.name,
            f"ffmpeg cannot decode this {self._container} file ({first}); it is cut or damaged",
        )


class _Running:
    """ffmpeg at work; it is ended with the `with` block.

    Raises:
        OSError: when it does not start.
    """

    def __init__(self, command: list[str]) -> None:
        # A reader of a job leads a session, whose programs end with it; elsewhere ffmpeg gets a group of its own.
        self._is_group = os.getsid(0) != os.getpid()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._log,
                process_group=0 if self._is_group else None,
            )
        except BaseException:
            self._log.close()
            raise

    def __enter__(self) -> "_Running":
        return self

    def __exit__(self, *details: object) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if self._is_group else os.kill)(self._process.pid, signal.SIGKILL)
        with self._log, self._process:
            pass

    def shape(self) -> tuple[int, int] | None:
        """Return the rate in Hz and the number of channels of what comes, or None if no sound does.

        Raises:
            TimeoutError: when nothing comes.
        """
        header = self.read(_AU_HEADER.size)
        if len(header) < _AU_HEADER.size:
            return None
        _, offset, _, _, rate, channels = _AU_HEADER.unpack(header)
        if not (rate and 0 < channels <= _MAX_CHANNELS and _AU_HEADER.size <= offset <= _LOG_BYTES):
            return None
        self.read(offset - _AU_HEADER.size)
        return rate, channels

    def read(self, size: int) -> bytes:
        """Return the next bytes, fewer at the end alone.

        Raises:
            TimeoutError: when nothing comes.
        """
        assert self._process.stdout is not None  # noqa: S101
        data, output = bytearray(), self._process.stdout.fileno()
        until = time.monotonic() + SILENT_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while len(data) < size:
                if not selector.select(max(until - time.monotonic(), 0)):
                    raise TimeoutError
                part = os.read(output, size - len(data))
                if not part:
                    break
                data += part
        return bytes(data)

    def end(self) -> tuple[int, str]:
        """Wait for the end, and return the exit code and the beginning of the log.

        Raises:
            TimeoutError: when it does not end.
        """
        try:
            code = self._process.wait(SILENT_SECONDS)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        self._log.seek(0)
        return code, self._log.read(_LOG_BYTES).decode(errors="replace")
