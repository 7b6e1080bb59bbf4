"""How much an MP3 file should hold.

An MP3 file is a row of frames, each with its own bit rate. Most encoders put the length of the row
into the first frame, under the tag "Xing", "Info" or "VBRI". libsndfile trusts that tag, and where
there is none it guesses the length from the first frame's bit rate and never reads beyond its guess.
So this module compares the tag with the size of the file, and counts the frames where there is no tag.

Source: ISO/IEC 11172-3 section 2.4.1, ISO/IEC 13818-3, and the Xing VBR header as LAME writes it.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SLACK_SAMPLES = 2304
"""Samples that a sound MP3 file may fall short of its header: two frames of encoder padding."""

_MAX_FRAME_BYTES = 1441
_BITRATES_KBPS = {
    "1": (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    "2": (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


@dataclass(frozen=True)
class _Frame:
    num_bytes: int
    num_samples: int
    sample_rate: int


def measure_mp3(path: Path) -> tuple[str | None, int | None]:
    """Return why an MP3 file cannot be whole, and its length if the header leaves it open.

    Args:
        path: an MP3 file.

    Returns:
        The reason, or None; and the samples per channel found by counting the frames, or None if
        the header states a length.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = _first_frame(data)
        frame = _frame_at(data, start)
        if frame is None:
            return None, None
        first = data[start : start + frame.num_bytes]
        promised, held = _tagged_bytes(first), len(data) - start
        if promised is not None and promised - held > 2 * _MAX_FRAME_BYTES:
            return f"the file is cut: its header promises {promised} bytes of MP3, it holds {held}", None
        if _has_tag(first):
            return None, None
        return None, sum(frame.num_samples for frame in _frames(data, start))


def _first_frame(data: mmap.mmap) -> int:
    """Return where the first MPEG frame begins: after ID3v2 tags, at the first sync."""
    start = 0
    while data[start : start + 3] == b"ID3" and len(data) >= start + 10:
        size = data[start + 6 : start + 10]
        footer = 10 if data[start + 5] & 0x10 else 0
        start += 10 + footer + (size[0] << 21 | size[1] << 14 | size[2] << 7 | size[3])
    while 0 <= start < len(data) and _frame_at(data, start) is None:
        start = data.find(b"\xff", start + 1)
    return start if start >= 0 else len(data)


def _frame_at(data: mmap.mmap, start: int) -> _Frame | None:
    """Return the layer III frame whose header begins at `start`, or None if there is none."""
    head = data[start : start + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, bitrate, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or bitrate in (0, 15) or rate == 3:
        return None
    kbps = _BITRATES_KBPS["1" if version == 3 else "2"][bitrate]
    hz = _RATES_HZ[version][rate]
    num_samples = 1152 if version == 3 else 576
    return _Frame(num_samples * kbps * 125 // hz + (head[2] >> 1 & 1), num_samples, hz)


def _frames(data: mmap.mmap, start: int) -> Iterator[_Frame]:
    """Yield the frames from `start` on, passing over what is none."""
    rate = None
    while 0 <= start < len(data):
        frame = _frame_at(data, start)
        if frame is None or rate not in (None, frame.sample_rate):
            start = data.find(b"\xff", start + 1)
            continue
        rate = frame.sample_rate
        yield frame
        start += frame.num_bytes


def _has_tag(first: bytes) -> bool:
    return any(tag in first[4:64] for tag in (b"Xing", b"Info", b"VBRI"))


def _tagged_bytes(first: bytes) -> int | None:
    """Return the number of bytes that the tag in the first frame promises, if it does."""
    vbri = first.find(b"VBRI", 4, 64)
    if vbri >= 0:
        return int.from_bytes(first[vbri + 10 : vbri + 14], "big")
    tag = max(first.find(b"Xing", 4, 64), first.find(b"Info", 4, 64))
    if tag < 0:
        return None
    flags = int.from_bytes(first[tag + 4 : tag + 8], "big")
    position = tag + 8 + (4 if flags & 1 else 0)
    return int.from_bytes(first[position : position + 4], "big") if flags & 2 else None
