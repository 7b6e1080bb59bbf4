"""Choose the decoder of a recording by its content, whatever its name says."""

import os
import stat
from pathlib import Path

from speechtok.audio.containers import HEAD_BYTES, container_of, needs_ffmpeg
from speechtok.audio.ffmpeg import FfmpegSource
from speechtok.audio.sndfile import SndfileSource
from speechtok.audio.source import Source, unreadable


def open_source(path: str | os.PathLike[str]) -> Source:
    """Return an opened recording, by libsndfile if it reads the container, else by ffmpeg.

    Raises:
        AudioError: If `path` is no regular file, is empty, or is not audio that can be decoded.
    """
    path = Path(path)
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
