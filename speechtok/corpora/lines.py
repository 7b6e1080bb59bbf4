"""Text lists, line by line, from any place on."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speechtok.errors import DatasetError
from speechtok.limits import LINE_BYTES, MIB, Bounded, inflated_bytes, require_regular_file
from speechtok.storage import AnyPath
from speechtok.wording import size_text


class Lines:
    """The lines of a UTF-8 text file, packed by gzip or not, the ends of lines as they are.

    Args:
        path: the file.
        start: bytes of its text before the first line that is wanted.
        stop: where the lines end that are wanted; None reads to the end.
        number: lines before `start`.
        newline: what ends a line, as for `open`.

    Raises:
        DatasetError: when iterated, if the file cannot be read as UTF-8 text.
    """

    def __init__(
        self, path: AnyPath, *, start: int = 0, stop: int | None = None, number: int = 0, newline: str = "\n"
    ) -> None:
        self.path = path
        self.place = start
        """Bytes of text up to the end of the line that was given out last."""
        self.number = number
        """Number of that line, from 1."""
        self._stop, self._newline = stop, newline

    def __iter__(self) -> Iterator[str]:
        path = self.path
        try:
            if isinstance(path, Path):
                require_regular_file(path, "list", error=DatasetError)
            with path.open("rb") as stored, self._text(stored) as file:
                while self._stop is None or self.place < self._stop:
                    line = file.readline(LINE_BYTES + 1)
                    if not line:
                        return
                    self.number += 1
                    if len(line) > LINE_BYTES:
                        raise _too_long(path, self.number)
                    self.place += len(line) if line.isascii() else len(line.encode())
                    yield line.removeprefix("\ufeff") if self.number == 1 else line
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
            raise DatasetError(f"{path} cannot be read as UTF-8 text: {error}.") from error

    def bare(self) -> Iterator[str]:
        """Yield the lines without the line feed, and a carriage return before it, that ends them."""
        for line in self:
            yield line.removesuffix("\n").removesuffix("\r")

    def _text(self, stored: Any) -> io.TextIOWrapper[Any]:
        if self.path.suffix == ".gz":
            limit = inflated_bytes(self.path.stat().st_size)
            unpacked: Any = gzip.GzipFile(fileobj=stored)
            unpacked.seek(self.place)
            stored = io.BufferedReader(
                Bounded(unpacked, limit - self.place, str(self.path), error=DatasetError)
            )
        else:
            stored.seek(self.place)
        return io.TextIOWrapper(stored, encoding="utf-8", newline=self._newline)


def read_lines(path: AnyPath) -> Iterator[str]:
    """Yield the lines of a whole file as `Lines.bare` does."""
    return Lines(path).bare()


def lines_sha256(path: AnyPath) -> str:
    """Return the hash of a text file that is not packed, in hexadecimal.

    Raises:
        DatasetError: when it cannot be read, or at a line longer than any that is read: a file may be a hole of a terabyte.
    """
    digest, number, length = hashlib.sha256(), 1, 0
    try:
        if isinstance(path, Path):
            require_regular_file(path, "list", error=DatasetError)
        with path.open("rb") as file:
            while block := file.read(MIB):
                digest.update(block)
                number += block.count(b"\n")
                end = max(block.rfind(b"\n"), block.rfind(b"\r"))
                length = len(block) - 1 - end if end >= 0 else length + len(block)
                if length > LINE_BYTES:
                    raise _too_long(path, number)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read as UTF-8 text: {error}.") from error
    return digest.hexdigest()


def _too_long(path: AnyPath, number: int) -> DatasetError:
    return DatasetError(
        f"{path} line {number} is longer than {size_text(LINE_BYTES)}, the most that is read of one."
    )
