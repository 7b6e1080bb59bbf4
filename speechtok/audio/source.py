"""The interface between the decoders and the reader in `io`."""

import os
import stat
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from speechtok.audio.containers import HEAD_BYTES, container_of, needs_ffmpeg
from speechtok.audio.info import AudioInfo
from speechtok.errors import AudioError

PIECE_SAMPLES = 65536
"""Samples per channel that a decoder hands over at a time, whatever block size a caller asks for."""


class Source(Protocol):
    """One opened recording."""

    info: AudioInfo

    def pieces(self, first: int, stop: int | None) -> Generator[NDArray[np.float32]]:
        """Yield `(samples, channels)` from sample `first` up to `stop`, or to the end if that is None."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


def unreadable(path: str | os.PathLike[str], reason: str) -> AudioError:
    """Return the error that names a recording and the reason why it cannot be used."""
    return AudioError(f"Cannot read {os.fspath(path)!r}: {reason}.")


def open_source(path: str | os.PathLike[str]) -> Source:
    """Return an opened recording, by libsndfile if it reads the container, else by ffmpeg.

    Raises:
        AudioError: If `path` is no regular file, is empty, or is not audio that can be decoded.
    """
    path = Path(path)
    head = _read_head(path)
    container = container_of(head)
    if needs_ffmpeg(container):
        from speechtok.audio.ffmpeg import FfmpegSource

        return FfmpegSource(path, str(container))
    from speechtok.audio.sndfile import SndfileSource

    return SndfileSource(path, container, head)


def trim(pieces: Iterator[NDArray[Any]], first: int, stop: int | None) -> Generator[NDArray[Any]]:
    """Yield what lies between samples `first` and `stop` of a signal that arrives from its start."""
    position = 0
    for piece in pieces:
        kept = piece[max(first - position, 0) : None if stop is None else max(stop - position, 0)]
        position += len(piece)
        if len(kept):
            yield kept
        if stop is not None and position >= stop:
            return


def _read_head(path: Path) -> bytes:
    """Return the first bytes of a regular file that has any."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise unreadable(path, "it is a directory; name the files in it")
        if not stat.S_ISREG(mode):
            raise unreadable(path, "it is a pipe or a device; only regular files can be read")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError:
        raise unreadable(path, "there is no such file") from None
    except OSError as error:
        raise unreadable(path, f"the system says {error.strerror!r}") from None
    if not head:
        raise unreadable(path, "the file is empty (0 bytes)")
    return head
