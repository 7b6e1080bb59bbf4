"""What lies behind the samples of a file that is made of chunks: WAV, AIFF, CAF, and AU.

Decoders read as many samples as the header states, and take what follows for chunks or junk. Where it is neither, the
header states too little, and samples would be lost.

Contents: `chunk_streams`.
"""

from __future__ import annotations

import struct

from speechtok.audio.spans import Content, Stream

MAX_JUNK_BYTES = 4096
"""How much that is no chunk may lie behind the end that a file states: programs pad to a page and leave scraps."""
MAX_STATED_JUNK_BYTES = 64
"""… and before that end, where it should be samples or chunks."""

_MAX_CHUNKS = 10_000
_KINDS = {  # where the chunks begin, their header, and how they are aligned
    b"RIFF": (12, struct.Struct("<4sI"), 2),
    b"RIFX": (12, struct.Struct(">4sI"), 2),
    b"FORM": (12, struct.Struct(">4sI"), 2),
    b"caff": (8, struct.Struct(">4sq"), 1),
}
_WHOLE_FILES = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"caff", b"fLaC", b"OggS")


def chunk_streams(content: Content, begin: int) -> tuple[Stream, ...]:
    """Return the recording as a decoder should see it; none if it may see the file as it lies.

    Args:
        content: any file that is not MP3, Ogg or FLAC.
        begin: where it begins, behind ID3v2 tags.

    Raises:
        ValueError: if it goes on behind the samples which its header states; the message is a reason.
    """
    head = content.at(begin, 12)
    if head[:4] in (b".snd", b"dns.") and len(head) == 12:
        offset, size = struct.unpack_from(">II" if head[:4] == b".snd" else "<II", head, 4)
        _check_rest(content, begin + offset + size, size)
    elif head[:4] in _KINDS:
        first, header, align = _KINDS[head[:4]]
        stated = begin + 8 + int.from_bytes(head[4:8], "little" if header.format[0] == "<" else "big")
        samples = _samples(content, begin + first, header, align)
        if samples is not None and head[:4] == b"caff" and not samples.stop:  # to the end of the file
            size = (content.size - samples.start).to_bytes(8, "big")
            return (Stream((range(begin, samples.start - 8), size, range(samples.start, content.size))),)
        if samples is not None:
            rest = _behind_chunks(content, samples, header, align)
            _check_rest(content, rest, len(samples), stated if align == 2 else 0)
    return (Stream((range(begin, content.size),)),) if begin else ()


def _samples(content: Content, place: int, header: struct.Struct, align: int) -> range | None:
    """Return where the samples lie, by the header of their chunk; None if they end with the file.

    The end is 0 where a CAF file says that it is not known.
    """
    for _ in range(_MAX_CHUNKS):
        head = content.at(place, header.size)
        if len(head) < header.size:
            return None
        name, size = header.unpack(head)
        begin, end = place + header.size, place + header.size + size
        if name == b"data" and size == -1:
            return range(begin, 0)
        if size < 0 or end >= content.size or (name == b"SSND" and not size):
            return None
        if name in (b"data", b"SSND"):
            return range(begin, end)
        place = end + size % align
    return None  # libsndfile will say what is wrong


def _behind_chunks(content: Content, samples: range, header: struct.Struct, align: int) -> int:
    """Return where the last of the chunks behind the samples ends."""
    place = samples.stop
    for _ in range(_MAX_CHUNKS):
        for padded in (place + (place - samples.start) % align, place):  # some programs forget to pad
            head = content.at(padded, header.size)
            if len(head) < header.size:
                continue
            name, size = header.unpack(head)
            is_name = all(32 <= byte < 127 for byte in name) and name not in _WHOLE_FILES
            if is_name and 0 <= size <= content.size - padded - header.size:
                place = padded + header.size + size
                break
        else:
            return place
    return place


def _check_rest(content: Content, place: int, samples_bytes: int, stated: int = 0) -> None:
    """Raise if much follows behind `place`; `stated` is where the file ends by its own header, or 0."""
    rest = content.size - place
    allowed = (
        MAX_STATED_JUNK_BYTES if place + MAX_STATED_JUNK_BYTES < stated <= content.size else MAX_JUNK_BYTES
    )
    if rest > allowed and not _is_empty(content, place):
        raise ValueError(
            f"its header promises {samples_bytes} bytes of samples, but more follow ({content.size} bytes in all); "
            "repair the header"
        )


def _is_empty(content: Content, place: int) -> bool:
    """Return whether only zeros follow, with which some recorders pad."""
    while block := content.at(place, 65536):
        if block.strip(b"\0"):
            return False
        place += len(block)
    return True
