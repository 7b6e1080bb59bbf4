"""Choose the decoder of a recording by its content, whatever its name says."""

import stat
from collections.abc import Generator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechtok.audio.containers import HEAD_BYTES, container_of, needs_ffmpeg
from speechtok.audio.ffmpeg import FfmpegSource
from speechtok.audio.sndfile import SndfileSource
from speechtok.audio.source import Source, unreadable
from speechtok.errors import AudioError
from speechtok.storage import Place, StorePath, as_path, local_copy


def open_source(path: Place) -> Source:
    """Return an opened recording, by libsndfile if it reads the container, else by ffmpeg.

    An object of a store is fetched into a temporary file, which goes when the recording is closed.

    Raises:
        AudioError: If `path` is no regular file, is empty, or is not audio that can be decoded.
        StorageError: If the store fails.
    """
    place = as_path(path)
    return _FetchedSource(place) if isinstance(place, StorePath) else _open(place)


class _FetchedSource:
    """A recording in a store, decoded from a temporary copy."""

    def __init__(self, path: StorePath) -> None:
        self._path = path
        with ExitStack() as stack:
            try:
                self._copy = stack.enter_context(local_copy(path))
            except FileNotFoundError:
                raise unreadable(path, "there is no such file") from None
            try:
                self._source = stack.enter_context(closing(_open(self._copy)))
            except AudioError as error:
                raise self._named(error) from None
            self.info = self._source.info
            self._stack = stack.pop_all()

    def pieces(self, first: int, stop: int | None) -> Generator[NDArray[np.float32]]:
        """Yield `(samples, channels)` from sample `first` up to `stop`, or to the end if that is None."""
        try:
            yield from self._source.pieces(first, stop)
        except AudioError as error:
            raise self._named(error) from None

    def close(self) -> None:
        """Let go of the file and remove the copy."""
        self._stack.close()

    def _named(self, error: AudioError) -> AudioError:
        """Return an error about the copy as one about the recording."""
        return AudioError(str(error).replace(repr(str(self._copy)), repr(str(self._path))))


def _open(path: Path) -> Source:
    head = _read_head(path)
    container = container_of(head)
    if needs_ffmpeg(container):
        return FfmpegSource(path, str(container))
    return SndfileSource(path, container, head)


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
