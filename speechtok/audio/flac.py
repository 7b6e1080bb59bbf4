"""The length of a FLAC file, by its last frames.

Every frame says in its header which one it is. Where the last ones lie beyond the length that the file's header
states, the header is shown to the decoder as it should be. FLAC files may be joined by writing one behind the
other; decoders read the first alone.

Source: RFC 9639.

Contents: `flac_streams`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from speechtok.audio.spans import Content, Stream

_MARK = b"fLaC"
_STREAMINFO = bytes.fromhex("00000022")  # first block: its kind, without the bit "last one", and its length
_TAIL_BYTES = 65536
_BLOCK_SIZES = (0, 192, 576, 1152, 2304, 4608, 0, 0, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)


class _Frame(NamedTuple):
    first: int
    stop: int


def flac_streams(content: Content, begin: int, *, is_exact: bool) -> tuple[Stream, ...]:
    """Return the streams of a file as a decoder should see them; none if it may see the file as it lies.

    Args:
        content: a FLAC file.
        begin: where ID3v2 tags end.
        is_exact: whether to look for a second file in any case.
    """
    head = content.at(begin, 42)
    if len(head) < 42 or head[5:8] != _STREAMINFO[1:]:
        return ()  # libsndfile will say what is wrong
    as_it_lies = (Stream((range(begin, content.size),)),) if begin else ()
    stated = int.from_bytes(head[21:26], "big") & 2**36 - 1
    found = _last_sample(content, begin, head)
    if not is_exact and found in (None, stated):
        return as_it_lies
    starts = _starts(content, begin)
    if len(starts) > 1:
        return tuple(Stream((range(*pair),)) for pair in pairwise([*starts, content.size]))
    if found is not None and found > stated:
        right = (int.from_bytes(head[21:26], "big") - stated + found).to_bytes(5, "big")
        return (Stream((head[:21] + right + head[26:], range(begin + 42, content.size))),)
    return as_it_lies


def _starts(content: Content, begin: int) -> list[int]:
    starts = list[int]()
    while (begin := content.find(_MARK, begin, content.size)) >= 0:
        block = content.at(begin + 4, 4)
        if block[:1] in (b"\x00", b"\x80") and block[1:] == _STREAMINFO[1:]:
            starts.append(begin)
        begin += 4
    return starts


def _last_sample(content: Content, begin: int, head: bytes) -> int | None:
    """Return where the last frame ends, if two that follow each other are found near the end of the file."""
    tail_begin = max(content.size - _TAIL_BYTES, begin + 42)
    tail = content.at(tail_begin, content.size - tail_begin)
    place, stops = len(tail), dict[int, int]()
    while (place := tail.rfind(b"\xff", 0, place)) >= 0:
        frame = _frame_in(tail[place : place + 16], int.from_bytes(head[8:10], "big"))
        if frame is not None and frame.stop in stops:
            return stops[frame.stop]
        if frame is not None:
            stops[frame.first] = frame.stop
    return stops[0] if [*stops] == [0] else None  # a file of one frame


def _frame_in(head: bytes, block_size: int) -> _Frame | None:
    """Return the samples of the frame whose header begins `head`.

    Args:
        head: 16 bytes.
        block_size: samples of a frame, where all have as many.
    """
    if len(head) < 6 or head[1] & 0xFE != 0xF8 or head[2] >> 4 == 0 or head[2] & 15 == 15:
        return None
    if head[3] >> 4 > 10 or head[3] >> 1 & 7 == 3 or head[3] & 1:
        return None
    number, place = _coded_number(head)
    code, rate_code = head[2] >> 4, head[2] & 15
    size = _BLOCK_SIZES[code]
    if code in (6, 7):
        size, place = int.from_bytes(head[place : place + code - 5], "big") + 1, place + code - 5
    place += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if number is None or place >= len(head) or _crc8(head[:place]) != head[place]:
        return None
    first = number if head[1] & 1 else number * block_size
    return _Frame(first, first + size)


def _coded_number(head: bytes) -> tuple[int | None, int]:
    """Return the number behind the fourth byte, coded as UTF-8 codes characters, and where it ends."""
    lead = head[4]
    extra = 0 if lead < 0x80 else 7 - (lead ^ 0xFF).bit_length()
    if not 0 <= extra <= 6 or lead & 0xC0 == 0x80 or len(head) < 5 + extra:
        return None, 5
    number = lead & (0x7F if not extra else 0x3F >> extra)
    for byte in head[5 : 5 + extra]:
        if byte & 0xC0 != 0x80:
            return None, 5
        number = number << 6 | byte & 0x3F
    return number, 5 + extra


def _crc8(data: bytes) -> int:
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ 0x07) & 0xFF if value & 0x80 else value << 1
    return value
