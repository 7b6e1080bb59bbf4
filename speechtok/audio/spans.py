"""The bytes of a file: looked at here and there, or put together anew for a decoder.

A decoder that takes a file as it lies trusts its header and stumbles over what others wrote around it. `Spans`
shows it the parts that are sound, with a header that is right.

Contents: `Content`, `Span`, `Stream`, `Spans`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

_BLOCK_BYTES = 65536

Span = range | bytes
"""A part of a file, by the places of its bytes, or bytes that stand for themselves."""


class Stream(NamedTuple):
    """One recording in a file, as a decoder should see it."""

    spans: tuple[Span, ...] = ()
    """What it sees; nothing means the file as it lies."""
    num_samples: int | None = None
    """Samples per channel, where no header tells."""
    lies_so: bool = False
    """Whether the file as it lies does as well, unless the decoder takes it for shorter."""


class Content:
    """The bytes of an open file, at any place; what was read last is kept at hand.

    Reads, unlike memory maps, end in an error and not in a signal where a file shrinks meanwhile.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._block, self._begin = b"", 0
        self.size = os.fstat(descriptor).st_size
        """Bytes of the file."""

    def at(self, place: int, size: int) -> bytes:
        """Return `size` bytes, or as many as there are, from `place` on."""
        inside = place - self._begin
        if inside < 0 or inside + size > len(self._block):
            self._block, self._begin = os.pread(self._descriptor, max(size, _BLOCK_BYTES), place), place
            inside = 0
        return self._block[inside : inside + size]

    def find(self, mark: bytes, begin: int, end: int) -> int:
        """Return the first place of `mark` from `begin` on that lies wholly before `end`, or -1."""
        while begin + len(mark) <= end and len(self.at(begin, len(mark))) == len(mark):
            stop = min(self._begin + len(self._block), end)
            inside = self._block.find(mark, begin - self._begin, stop - self._begin)
            if inside >= 0:
                return self._begin + inside
            begin = stop - len(mark) + 1
        return -1


class Spans(io.RawIOBase):
    """Parts of an open file, one after the other, as a file.

    Args:
        descriptor: the open file; whoever opened it closes it.
        spans: the parts.
    """

    def __init__(self, descriptor: int, spans: Sequence[Span]) -> None:
        self._descriptor, self._spans, self._position = descriptor, spans, 0
        self._ends = list(accumulate(len(span) for span in spans))

    def readable(self) -> bool:
        """Say yes, as `io` asks."""
        return True

    def seekable(self) -> bool:
        """Say yes, as `io` asks."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, and return it."""
        end = self._ends[-1] if self._ends else 0
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: end}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as one part reaches, and count."""
        for span, end in zip(self._spans, self._ends, strict=True):
            if self._position < end:
                inside = self._position - (end - len(span))
                part = span[inside : inside + len(buffer)]
                data = part if isinstance(part, bytes) else self._read(part)
                buffer[: len(data)] = data
                self._position += len(data)
                return len(data)
        return 0

    def _read(self, part: range) -> bytes:
        return os.pread(self._descriptor, len(part), part.start)
