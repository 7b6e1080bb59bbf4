"""What an MP3 file really holds.

An MP3 file is a row of frames, each with its own bit rate. Most encoders put the length of the row into the first
frame, under the tag "Xing", "Info" or "VBRI". libsndfile trusts that tag, guesses the length from the first bit
rate where there is none, and never reads beyond. So the tag is compared with the file: its bytes with the bytes
that are there, its frames with the sizes of some of them. Where they differ, or there is no tag, the frames are
counted, and the decoder is shown these frames alone behind a tag that is right. Files that were joined have a tag
for each of them, and so become several streams.

Source: ISO/IEC 11172-3 section 2.4.1, ISO/IEC 13818-3, the Xing VBR header as LAME writes it, ID3v1, APEv2 and
Lyrics3v2 tags.

Contents: `first_frame`, `mp3_streams`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import islice

from speechtok.audio.spans import Content, Stream

MAX_JUNK_BYTES = 65536
"""How much may lie before the first frame of a file that says nothing else of itself."""
_MAX_SEARCHED_BYTES = 2**24  # … behind what is an MP3 file's tag
_SURE_FRAMES = 4  # in a row, of one kind: no accident
_SAMPLED_FRAMES = 48
_COUNTED_BYTES = 65536  # are read at once and counted in no time
_KNOWN_ENCODERS = (b"LAME", b"Lavf", b"Lavc")
_MAX_FRAME_BYTES = 1441
_RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_BITRATES_KBPS = {
    ("1", 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    ("1", 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    ("1", 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    ("2", 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    ("2", 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    ("2", 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


@dataclass(frozen=True)
class _Frame:
    size: int  # bytes
    rate: int  # Hz
    layer: int
    tag_place: int  # where "Xing" or "Info" stands, from the frame's beginning
    num_channels: int
    num_samples: int

    @property
    def kind(self) -> tuple[int, int, int]:
        """What does not change within a stream."""
        return self.rate, self.layer, self.num_channels


@dataclass(frozen=True)
class _Tag:
    frames_place: int | None  # where its two numbers stand, from the frame's beginning
    bytes_place: int | None
    frames: int | None
    num_bytes: int | None
    is_constant: bool
    is_known: bool  # whether it is of an encoder that is known to count well


@dataclass
class _Row:
    """One row of frames, the tag apart."""

    frame: _Frame
    tag: bytes = b""
    ranges: list[range] = field(default_factory=list)
    frames: int = 0

    def add(self, place: int, size: int) -> None:
        """Put a frame at the end."""
        if self.ranges and self.ranges[-1].stop == place:
            self.ranges[-1] = range(self.ranges[-1].start, place + size)
        else:
            self.ranges.append(range(place, place + size))
        self.frames += 1

    def stream(self, *, lies_so: bool) -> Stream:
        """Return what a decoder should see; `lies_so` if nothing else is in the file."""
        num_bytes = sum(len(part) for part in self.ranges)
        if self.tag:
            return Stream((_right_tag(self.tag, self.frame, self.frames, num_bytes), *self.ranges))
        # Without a tag, a decoder guesses the length from the first frame and the size, and reads no further.
        repeated = (self.frames + 2) * self.frame.size // num_bytes + 1
        return Stream((*self.ranges,) * max(repeated, 1), self.frames * self.frame.num_samples, lies_so)


def first_frame(content: Content, begin: int, most: int = MAX_JUNK_BYTES) -> int | None:
    """Return where MPEG audio begins, at most `most` bytes behind `begin`, or None if it does not."""
    end = min(begin + most, content.size)
    place = begin
    while 0 <= place < end:
        if _is_sure(content, place, content.size):
            return place
        place = content.find(b"\xff", place + 1, end)
    return None


def mp3_streams(content: Content, begin: int, *, is_plain: bool, is_exact: bool) -> tuple[Stream, ...]:
    """Return the streams of a file as a decoder should see them; none if it may see the file as it lies.

    Args:
        content: an MP3 file.
        begin: where ID3v2 tags end.
        is_plain: whether libsndfile passes over these tags.
        is_exact: whether to count the frames in any case.

    Raises:
        ValueError: if the file is cut, or joined from parts that do not fit; the message is a reason.
    """
    is_there = _frame_at(content, begin) is not None
    start = begin if is_there else first_frame(content, begin, _MAX_SEARCHED_BYTES)
    if start is None:
        return ()
    end = _end_of_frames(content, start)
    frame = _frame_at(content, start)
    assert frame is not None  # noqa: S101
    tag = _tag_at(content, start, frame)
    held = end - start
    # Of more behind the frames than this, libmpg123 complains.
    lies_so = is_plain and start == begin and content.size - end <= held // 100
    if tag is not None and tag.num_bytes is not None:
        if tag.num_bytes - held > 2 * _MAX_FRAME_BYTES:
            raise ValueError(
                f"the file is cut: its header promises {tag.num_bytes} bytes of MP3, it holds {held}"
            )
        if tag.num_bytes == held and _is_right(content, range(start + frame.size, end), tag, is_exact):
            return () if lies_so else (Stream((range(start, end),)),)
    rows = _rows(content, start, end, frame.kind)
    lies_so = lies_so and len(rows) == 1 and rows[0].ranges == [range(start, end)]
    return tuple(row.stream(lies_so=lies_so) for row in rows)


@cache
def _frame_of(head: bytes) -> _Frame | None:
    """Return the frame that four bytes announce, of which the last has its first two bits alone."""
    if head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bitrate, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return None
    kbps = _BITRATES_KBPS["1" if version == 3 else "2", layer][bitrate]
    hz, padding, channels = _RATES_HZ[version][rate], head[2] >> 1 & 1, 1 if head[3] >> 6 == 3 else 2
    if layer == 1:
        size = (12_000 * kbps // hz + padding) * 4
    else:
        size = (72_000 if layer == 3 and version != 3 else 144_000) * kbps // hz + padding
    samples = 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152
    side = {(3, 2): 32, (3, 1): 17, (2, 2): 17, (0, 2): 17}.get((version, channels), 9)
    return _Frame(size, hz, layer, 4 + side, channels, samples)


def _frame_at(content: Content, place: int) -> _Frame | None:
    head = content.at(place, 4)
    return _frame_of(head[:3] + bytes([head[3] & 0xC0])) if len(head) == 4 and head[0] == 0xFF else None


def _is_sure(content: Content, place: int, end: int) -> bool:
    """Return whether some frames of one kind follow each other from `place` on, or two up to the end."""
    kind = None
    for number in range(_SURE_FRAMES):
        if number > 1 and place == end:
            return True
        frame = _frame_at(content, place)
        if frame is None or kind not in (None, frame.kind):
            return False
        kind, place = frame.kind, place + frame.size
    return place <= end


def _frames(
    content: Content, place: int, end: int, kind: tuple[int, int, int] | None = None
) -> Iterator[tuple[int, _Frame]]:
    """Yield the whole frames from `place` to `end` with their places, passing over what is none.

    Beyond what is none, or where the kind changes, a frame is believed if others follow it.
    """
    while 0 <= place < end:
        frame = _frame_at(content, place)
        if frame is not None and frame.kind != kind and not _is_sure(content, place, end):
            frame = None
        if frame is None:
            place, kind = content.find(b"\xff", place + 1, end), None
            continue
        kind = frame.kind
        if place + frame.size <= end:
            yield place, frame
        place += frame.size


def _rows(content: Content, start: int, end: int, kind: tuple[int, int, int]) -> list[_Row]:
    found: list[_Row] = []
    for place, frame in _frames(content, start, end, kind):
        if found and frame.kind != found[0].frame.kind:
            raise ValueError(
                f"it is joined from parts that differ ({_words(found[0].frame)}; {_words(frame)}); "
                "separate them, or convert it to FLAC or WAV"
            )
        tag = _tag_at(content, place, frame)
        if tag is not None or not found:
            is_usable = tag is not None and tag.frames is not None
            found.append(_Row(frame, content.at(place, frame.size) if is_usable else b""))
        if tag is None:
            found[-1].add(place, frame.size)
    return [row for row in found if row.frames]


def _words(frame: _Frame) -> str:
    channels = "one channel" if frame.num_channels == 1 else "two channels"
    return f"layer {'I' * frame.layer}, {frame.rate} Hz, {channels}"


def _tag_at(content: Content, place: int, frame: _Frame) -> _Tag | None:
    return _tag_in(content.at(place, frame.size), frame) if frame.layer == 3 else None


def _tag_in(data: bytes, frame: _Frame) -> _Tag | None:
    """Return what the tag in a frame says, if it has one."""

    def number(place: int) -> int:
        return int.from_bytes(data[place : place + 4], "big")

    place = frame.tag_place
    if data[36:40] == b"VBRI":
        return _Tag(50, 46, number(50), number(46), is_constant=False, is_known=False)
    if data[place : place + 4] not in (b"Xing", b"Info"):
        return None
    flags, numbers = number(place + 4), iter((place + 8, place + 12))
    frames = next(numbers) if flags & 1 else None
    total = next(numbers) if flags & 2 else None
    return _Tag(
        frames,
        total,
        None if frames is None else number(frames),
        None if total is None else number(total),
        is_constant=data[place : place + 4] == b"Info",
        is_known=data[place + 120 : place + 124] in _KNOWN_ENCODERS,
    )


def _is_right(content: Content, rest: range, tag: _Tag, is_exact: bool) -> bool:
    """Return whether the bytes behind a tag are as many frames as it states.

    In a large file, an encoder that is known to count well is believed if the size of some frames does not
    contradict it.
    """
    if not tag.frames or not rest:
        return False
    if is_exact or not tag.is_known or len(rest) <= _COUNTED_BYTES:
        return _count_even(content, rest) == tag.frames
    begin = rest.start if tag.is_constant else rest.start + len(rest) // 2
    sizes = [frame.size for _, frame in islice(_frames(content, begin, rest.stop), _SAMPLED_FRAMES)]
    if not sizes:
        return False
    mean, expected = len(rest) / tag.frames, sum(sizes) / len(sizes)
    return abs(mean - expected) <= 0.1 if tag.is_constant else 2 / 3 < mean / expected < 3 / 2


def _count_even(content: Content, rest: range) -> int | None:
    """Return how many frames fill a part of the file, or None if anything else is there."""
    place, frames, sizes = rest.start, 0, dict[bytes, int]()
    while place < rest.stop:
        block = content.at(place, min(_COUNTED_BYTES, rest.stop - place))
        inside, last = 0, len(block) - 4
        if last < 0:
            return None
        while inside <= last:
            head = block[inside : inside + 3]
            size = sizes.get(head)
            if size is None:
                frame = _frame_at(content, place + inside)
                if frame is None:
                    return None
                sizes[head] = size = frame.size
            inside += size
            frames += 1
        place += inside
    return frames if place == rest.stop else None


def _right_tag(original: bytes, frame: _Frame, frames: int, num_bytes: int) -> bytes:
    """Return a first frame whose tag states these numbers; what else an encoder put there is kept."""
    tag, right = _tag_in(original, frame), bytearray(original)
    assert tag is not None and tag.frames_place is not None  # noqa: S101, PT018
    right[tag.frames_place : tag.frames_place + 4] = frames.to_bytes(4, "big")
    if tag.bytes_place is not None:
        right[tag.bytes_place : tag.bytes_place + 4] = (len(original) + num_bytes).to_bytes(4, "big")
    return bytes(right)


def _end_of_frames(content: Content, start: int) -> int:
    """Return where the tags begin that others put behind an MP3 file."""
    end = content.size
    while end > start:
        last = content.at(max(end - 160, 0), min(end, 160))
        if len(last) >= 128 and last[-128:-125] == b"TAG":
            size = 128
        elif last[-32:-24] == b"APETAGEX":
            has_header = int.from_bytes(last[-12:-8], "little") >> 31
            size = int.from_bytes(last[-20:-16], "little") + 32 * has_header
        elif last[-9:] == b"LYRICS200" and last[-15:-9].isdigit():
            size = int(last[-15:-9]) + 15
        else:
            return end
        if not 0 < size <= end - start:
            return end
        end -= size
    return end
