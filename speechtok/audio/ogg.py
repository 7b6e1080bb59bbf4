"""The streams of an Ogg file.

Ogg streams may be joined by writing one file behind the other; libsndfile reads the first alone. Each stream has a
serial number, which stands on all its pages, so that the last page tells whether it belongs to the first stream.

Source: RFC 3533.

Contents: `ogg_streams`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from speechtok.audio.spans import Content, Stream

_PAGE = struct.Struct("<4sBBqIIIB")
_MARK = b"OggS"
_FIRST = 2  # flag of the first page of a stream
_MAX_PAGE_BYTES = 65307
_WALKED_BYTES = 262_144
"""Files up to this size are walked through in any case, since reading a part of them takes as long."""


class _Page(NamedTuple):
    place: int
    size: int
    is_first: bool
    serial: int


def ogg_streams(content: Content, begin: int, *, is_exact: bool) -> tuple[Stream, ...]:
    """Return the streams of a file, one behind the other; none if it is one as it lies.

    Args:
        content: an Ogg file.
        begin: where ID3v2 tags end.
        is_exact: whether to look at all pages in any case.

    Raises:
        ValueError: if streams run side by side in it; the message is a reason.
    """
    if not is_exact and begin == 0 and content.size > _WALKED_BYTES and _ends_as_it_began(content):
        return ()
    found = _ranges(content, begin)
    if len(found) < 2 and found in ([], [range(content.size)]):
        return ()
    return tuple(Stream((part,)) for part in found)


def _ranges(content: Content, begin: int) -> list[range]:
    """Return where the streams lie, each from its first page to its last."""
    found, serial, is_begun = list[range](), None, False
    for page in _pages(content, begin):
        stop = page.place + page.size
        if page.is_first and is_begun:
            raise ValueError(
                "several streams run side by side in this Ogg file; extract the one that is meant, with ffmpeg for instance"
            )
        if page.is_first:
            found.append(range(page.place, stop))
            serial = page.serial
        elif page.serial != serial:
            raise ValueError(
                f"the file is cut or damaged: the stream of the page at byte {page.place} has no beginning"
            )
        else:
            found[-1] = range(found[-1].start, stop)
        is_begun = page.is_first
    return found


def _ends_as_it_began(content: Content) -> bool:
    """Return whether one stream begins the file, and the last page belongs to it."""
    first = _page_at(content, 0)
    if first is None:
        return True  # libsndfile will say what is wrong
    second = _page_at(content, first.size)
    if second is None or second.is_first:
        return False
    begin = max(content.size - 2 * _MAX_PAGE_BYTES, 0)
    tail = content.at(begin, 2 * _MAX_PAGE_BYTES)
    last = None
    place = len(tail)
    while last is None and (place := tail.rfind(_MARK, 0, place)) >= 0:
        last = _page_at(content, begin + place)
    return last is not None and last.serial == first.serial and not last.is_first


def _pages(content: Content, begin: int) -> Iterator[_Page]:
    """Yield the pages, passing over what is none."""
    place = begin
    while 0 <= place < content.size:
        page = _page_at(content, place)
        if page is not None:
            yield page
            place += page.size
            if place >= content.size or content.at(place, 4) == _MARK:
                continue
            place = page.place  # it is cut, or something else follows
        place = content.find(_MARK, place + 1, content.size)


def _page_at(content: Content, place: int) -> _Page | None:
    head = content.at(place, _PAGE.size)
    if len(head) < _PAGE.size:
        return None
    mark, version, flags, _, serial, _, _, segments = _PAGE.unpack(head)
    sizes = content.at(place + _PAGE.size, segments)
    if mark != _MARK or version or len(sizes) < segments:
        return None
    return _Page(place, _PAGE.size + segments + sum(sizes), bool(flags & _FIRST), serial)
