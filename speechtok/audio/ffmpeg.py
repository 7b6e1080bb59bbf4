"""Recordings that only ffmpeg reads: WebM, MP4, AAC, WMA, AMR and their kin.

The program `ffmpeg` is looked up on PATH and decodes to float32 through a pipe, in bounded memory.
Segments are cut from the decoded stream, since seeking in these containers is not exact. The length
that `AudioInfo` states comes from the container and may be some milliseconds off; where the container
states none, the file is decoded once to count.
"""

import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from speechtok.audio.info import AudioInfo
from speechtok.audio.source import PIECE_SAMPLES, Recording, trim, unreadable

_AU_HEADER = struct.Struct(">4s5I")
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
        with closing(self._decode()) as pieces:
            yield from trim(pieces, first, stop)

    def close(self) -> None:
        """Let go of the file; a decoder still at work was ended with its stream."""

    def _probe(self) -> AudioInfo:
        command = self._command("info", "-t", "0.1")
        try:
            done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)  # noqa: S603
        except OSError as error:
            raise unreadable(self._recording.name, f"ffmpeg does not start ({error.strerror})") from None
        log = done.stderr.decode(errors="replace")
        if done.returncode or len(done.stdout) < _AU_HEADER.size:
            raise self._refused(log)
        _, _, _, _, rate, channels = _AU_HEADER.unpack_from(done.stdout)
        stated = _DURATION.search(log)
        if stated and "Estimating duration" not in log:
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
            *("-protocol_whitelist", "file,pipe", "-i", f"file:{self._recording.path}", *limits),
            *("-map", "0:a:0", "-f", "au", "-c:a", "pcm_f32be", "pipe:1"),
        ]

    def _decode(self) -> Generator[NDArray[np.float32]]:
        """Yield the whole recording in pieces of fixed size; the last is shorter."""
        with (
            tempfile.TemporaryFile() as log,
            subprocess.Popen(  # noqa: S603
                self._command("error"), stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL
            ) as process,
        ):
            try:
                assert process.stdout is not None  # noqa: S101
                header = process.stdout.read(_AU_HEADER.size)
                if len(header) == _AU_HEADER.size:
                    _, offset, _, _, _, channels = _AU_HEADER.unpack(header)
                    process.stdout.read(offset - _AU_HEADER.size)
                    while data := process.stdout.read(4 * channels * PIECE_SAMPLES):
                        whole = len(data) - len(data) % (4 * channels)
                        samples = np.frombuffer(data[:whole], ">f4").astype(np.float32)
                        yield samples.reshape(-1, channels)
                process.wait()
                log.seek(0)
                complaint = log.read().decode(errors="replace")
                if process.returncode or complaint.strip():
                    raise self._refused(complaint)
            finally:
                process.kill()

    def _refused(self, log: str) -> Exception:
        lines = [line for line in log.splitlines() if line.strip() and not line.startswith(" ")]
        errors = [line for line in lines if re.search(r"error|invalid|not found|prematurely", line, re.I)]
        first = re.sub(r"^(\[[^\]]*\] ?)+", "", (errors or lines or ["no reason given"])[0]).rstrip(".")
        return unreadable(
            self._recording.name,
            f"ffmpeg cannot decode this {self._container} file ({first}); it is cut or damaged",
        )
