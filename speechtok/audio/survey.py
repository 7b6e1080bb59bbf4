"""What lies in a file, and what of it a decoder should see.

Contents: `Survey`, `survey`.
"""

from __future__ import annotations

from dataclasses import dataclass

from speechtok.audio.chunks import chunk_streams
from speechtok.audio.containers import HEAD_BYTES, container_of, needs_ffmpeg
from speechtok.audio.flac import flac_streams
from speechtok.audio.mp3 import first_frame, mp3_streams
from speechtok.audio.ogg import ogg_streams
from speechtok.audio.spans import Content, Stream
from speechtok.limits import AUDIO_STREAMS


@dataclass(frozen=True)
class Survey:
    """What lies in a file."""

    container: str | None
    """Its container, as `container_of` names it; None if it is not known."""
    head: bytes
    """Its first bytes behind tags of MP3 players."""
    streams: tuple[Stream, ...] = ()
    """The recordings in it that follow each other; none if a decoder may read the file as it lies."""


def survey(content: Content, *, is_exact: bool = False) -> Survey:
    """Look at a file.

    Args:
        content: a file.
        is_exact: whether to look at all of it, also where its beginning and end are as they should be.

    Raises:
        OSError: if it cannot be read.
        ValueError: if no decoder could read all of it; the message is a reason.
    """
    begin, is_plain = _behind_tags(content)
    head = content.at(begin, HEAD_BYTES)
    container = container_of(head)
    if container is None and (begin or first_frame(content, 0) is not None):
        container = "MP3"
    streams: tuple[Stream, ...] = ()
    if container == "MP3":
        streams = mp3_streams(content, begin, is_plain=is_plain, is_exact=is_exact)
    elif container is not None and container.startswith("Ogg"):
        streams = ogg_streams(content, begin, is_exact=is_exact)
    elif container == "FLAC":
        streams = flac_streams(content, begin, is_exact=is_exact)
    elif not needs_ffmpeg(container):
        streams = chunk_streams(content, begin)
    if len(streams) > 1 and needs_ffmpeg(container):
        raise ValueError(f"{len(streams)} {container} streams are joined in it; separate them")
    if len(streams) > AUDIO_STREAMS:
        raise ValueError(f"it is joined from {len(streams)} parts, more than {AUDIO_STREAMS}; separate them")
    return Survey(container, head, streams)


def _behind_tags(content: Content) -> tuple[int, bool]:
    """Return where ID3v2 tags at the beginning of a file end, and whether all are of the common sort.

    Tags that claim the whole file are taken for none.
    """
    place, is_plain = 0, True
    while (head := content.at(place, 10))[:3] == b"ID3" and len(head) == 10 and max(head[6:10]) < 128:
        is_plain &= not head[5] & 0x50  # footer, extended header
        footer = 10 if head[5] & 0x10 else 0
        place += 10 + footer + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])
    return (place, is_plain) if place < content.size else (0, False)
