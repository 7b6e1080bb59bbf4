"""Open a recording, wherever it lies: the only door to sound.

The decoder is chosen by content, whatever the name says. A recording in an object store or inside another file
is first copied to a temporary one that vanishes with the process, so that every decoder sees an ordinary file.
"""

import errno
import os
import stat
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from speechtok.audio.cells import read_cell
from speechtok.audio.chain import ChainSource
from speechtok.audio.containers import needs_ffmpeg
from speechtok.audio.ffmpeg import FfmpegSource
from speechtok.audio.headerless import HeaderlessSource
from speechtok.audio.info import AudioInfo
from speechtok.audio.location import Location, location_of
from speechtok.audio.sndfile import SndfileSource
from speechtok.audio.source import Recording, Source, unreadable
from speechtok.audio.spans import Content, Stream
from speechtok.audio.survey import survey
from speechtok.errors import StorageError
from speechtok.limits import AUDIO_RATES
from speechtok.storage import AnyPath, Place, as_path, copy_bytes

_HAS_PROC = Path("/proc/self/fd").is_dir()


def open_source(audio: Place) -> Source:
    """Return an opened recording, by libsndfile if it reads the container, else by ffmpeg.

    Args:
        audio: a path, the URI of an object, or a place inside a file, see `speechtok.audio.location`.

    Raises:
        AudioError: If `audio` is no regular file nor part of one, is empty, or is not audio that can be
            decoded.
        StorageError: If an object store fails, or there is no room for a temporary copy.
    """
    place, name = location_of(audio), str(audio)
    file = as_path(place.path)
    source: Source
    if place.is_whole_file and isinstance(file, Path):
        source = _decoder(Recording(path=file, name=name), place.rate)
    else:
        source = _Copied(place, file, name)
    if not AUDIO_RATES[0] <= source.info.sample_rate <= AUDIO_RATES[1]:
        source.close()
        raise unreadable(
            audio,
            f"its header states a rate of {source.info.sample_rate} Hz, and only {AUDIO_RATES[0]} to {AUDIO_RATES[1]} Hz "
            "can be sound",
        )
    if place.channel is None:
        return source
    if place.channel >= source.info.num_channels:
        source.close()
        raise unreadable(audio, f"it has {source.info.num_channels} channels, counted from 0")
    return _OneChannel(source, place.channel)


def _decoder(recording: Recording, rate: int | None) -> Source:
    with _opened(recording) as descriptor:
        if rate is not None:
            return HeaderlessSource(recording, rate)
        try:
            found = survey(Content(descriptor))
        except ValueError as error:
            raise unreadable(recording.name, str(error)) from None
        except OSError as error:
            raise unreadable(recording.name, f"the system says {error.strerror!r}") from None
    if needs_ffmpeg(found.container):
        return FfmpegSource(recording, str(found.container))
    openers = [
        partial(SndfileSource, recording, found.container, found.head, stream)
        for stream in found.streams or [Stream()]
    ]
    return openers[0]() if len(openers) == 1 else ChainSource(recording.name, openers)


class _Copied:
    """A recording in a store or inside another file, opened as a temporary copy."""

    def __init__(self, place: Location, around: AnyPath, name: str) -> None:
        self._file = _temporary()
        try:
            try:
                _copy(place, around, self._file)
                self._file.flush()
            except ValueError as error:
                raise unreadable(name, str(error)) from None
            except OSError as error:
                if place.is_whole_file and isinstance(error, FileNotFoundError):
                    raise unreadable(name, "there is no such file") from None
                if error.errno in (errno.ENOSPC, errno.EDQUOT):  # no fault of the recording
                    raise StorageError(
                        f"{tempfile.gettempdir()} has no room for a copy of {name}; free some space, or set TMPDIR."
                    ) from None
                raise unreadable(name, f"{place.path} cannot be read ({error.strerror or error})") from None
            self._source = _decoder(Recording(path=_path_of(self._file), name=name), place.rate)
        except BaseException:
            self._file.close()
            raise
        self.info = self._source.info

    def begins(self, first: int) -> int:
        return self._source.begins(first)

    def pieces(self, first: int, stop: int | None) -> Generator[NDArray[np.float32]]:
        return self._source.pieces(first, stop)

    def close(self) -> None:
        self._source.close()
        self._file.close()


class _OneChannel:
    """One channel of a recording."""

    def __init__(self, source: Source, channel: int) -> None:
        self._source, self._channel = source, channel
        info = source.info
        self.info = AudioInfo(
            sample_rate=info.sample_rate, num_channels=1, num_samples=info.num_samples, format=info.format
        )

    def begins(self, first: int) -> int:
        return self._source.begins(first)

    def pieces(self, first: int, stop: int | None) -> Generator[NDArray[np.float32]]:
        for piece in self._source.pieces(first, stop):
            yield piece[:, self._channel : self._channel + 1]

    def close(self) -> None:
        self._source.close()


def _copy(place: Location, around: AnyPath, file: IO[bytes]) -> None:
    """Write the bytes of a recording to a file; of an object, only these are fetched.

    Raises:
        OSError: when the file around it cannot be read.
        ValueError: when the recording is not there; the message is a reason.
    """
    if place.row is not None:
        file.write(read_cell(around, place.row, str(place.column)))
        return
    start, size = place.offset or 0, place.bytes
    if size is None and place.offset is not None:
        size = _wav_bytes(around, start)
    copied = copy_bytes(around, file, start, size)
    left = 0 if size is None else size - copied
    if left:
        raise ValueError(f"{place.path} ends {left} bytes too early; it changed or was cut")


def _wav_bytes(path: AnyPath, start: int) -> int:
    """Return the size of the WAV recording that begins at a place in a file.

    Raises:
        ValueError: when none begins there, or its header does not state its size; the message is a reason.
    """
    with path.open("rb") as file:
        file.seek(start)
        head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        raise ValueError("no WAV recording begins there; only archives of WAV recordings can be read")
    size = int.from_bytes(head[4:8], "little")
    if size in (0, 0xFFFFFFFF):
        raise ValueError("its WAV header does not state how long it is")
    return 8 + size


def _temporary() -> IO[bytes]:
    if _HAS_PROC:  # a file without a name, so that nothing is left even by a kill
        return tempfile.TemporaryFile()
    return tempfile.NamedTemporaryFile()


def _path_of(file: IO[bytes]) -> Path:
    if _HAS_PROC:
        return Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")
    return Path(file.name)


@contextmanager
def _opened(recording: Recording) -> Iterator[int]:
    """Give the descriptor of a regular file that holds something."""
    path, name = recording.path, recording.name
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise unreadable(name, "it is a directory; name the files in it")
        if not stat.S_ISREG(mode):
            raise unreadable(name, "it is a pipe or a device; only regular files can be read")
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        raise unreadable(name, "there is no such file") from None
    except OSError as error:
        raise unreadable(name, f"the system says {error.strerror!r}") from None
    except ValueError:
        raise unreadable(name, "no file can have this name") from None
    try:
        if not os.fstat(descriptor).st_size:
            raise unreadable(name, "the file is empty (0 bytes)")
        yield descriptor
    finally:
        os.close(descriptor)
