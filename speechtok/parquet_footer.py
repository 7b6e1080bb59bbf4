"""What the footer of a Parquet file says of its column chunks and their pages of themselves, decoded from their bytes.

pyarrow tells the same, but where a footer is damaged it throws in C++ outside of any handler and ends the process
(a histogram of the wrong length is enough). Reading rows is guarded there; asking for a column chunk or writing a footer
is not, so that the bytes are taken from the file. Of pages
it tells nothing, and believes them: five bytes make one of two milliard values.

Source: Apache Parquet, parquet.thrift (FileMetaData, RowGroup, ColumnChunk, ColumnMetaData, PageHeader); Apache Thrift,
compact protocol.

Contents: `Chunk`, `open_file`, `column_chunks`, `page_values`.
"""

from __future__ import annotations

import io
import weakref
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from speechtok.limits import FOOTER_BYTES
from speechtok.wording import size_text

BYTE_ARRAY = 6
"""Number of the physical type of texts and bytes."""
MAX_PAGES = 100_000
"""Pages of a column chunk; writers make them 8 kB to 1 MB long."""
_DATA_PAGES = (5, 8)
"""Numbers of the fields of a page's header that describe values, in either version; dictionaries and indices have others."""
_HEADER_BYTES = 1 << 10
_DEPTH = 64
_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12
_INTEGERS = (4, 5, 6)
_MAGIC = b"PAR1"
_TAIL_BYTES = 1 << 16
_FOOTERS: dict[int, bytes] = {}
"""Footers of open files, by the identity of pyarrow's metadata that are still there."""
_KNOWN: dict[int, tuple[tuple[Chunk, ...], ...]] = {}
"""What was decoded of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """One column of one row group."""

    path: str
    """Its leaf, with dots between the levels."""
    physical_type: int
    """As Parquet numbers them, such as `BYTE_ARRAY`."""
    num_values: int
    """Values, those that are null included."""
    stored_bytes: int
    """Bytes in the file."""
    size_bytes: int
    """Bytes uncompressed."""
    null_count: int | None
    """Values that are null, where it is stated."""
    start: int
    """Where its first page begins in the file, in bytes."""


def open_file(source: Path | BinaryIO, metadata: Any = None, **options: Any) -> Any:
    """Return a `pyarrow.parquet.ParquetFile`, of whose footer `column_chunks` knows the bytes.

    Args:
        source: a local path, or an open file.
        metadata: that of another one of the same file that was opened here, which spares reading the footer.
        options: as pyarrow takes them.

    Raises:
        ValueError: when it has no footer, or one that is longer than is read of one.
        OSError, pyarrow.ArrowException: as pyarrow does.
    """
    import pyarrow.parquet as pq

    if metadata is None:
        with source.open("rb") if isinstance(source, Path) else nullcontext(source) as file:
            footer = _footer(file)
        framed = b"".join((_MAGIC, footer, len(footer).to_bytes(4, "little"), _MAGIC))
        metadata = pq.read_metadata(io.BytesIO(framed))
    else:
        footer = _FOOTERS[id(metadata)]
    opened = pq.ParquetFile(source, metadata=metadata, **options)
    key = id(opened.metadata)
    _FOOTERS[key] = footer
    weakref.finalize(opened.metadata, _forget, key)
    return opened


def _footer(file: BinaryIO) -> bytes:
    size = file.seek(0, io.SEEK_END)
    length = _TAIL_BYTES
    for _ in range(2):
        file.seek(-min(size, length + 8), io.SEEK_END)
        tail = file.read(length + 8)
        if tail[-4:] != _MAGIC:
            raise ValueError("it does not end as a Parquet file does")
        stated = int.from_bytes(tail[-8:-4], "little")
        if stated > FOOTER_BYTES:
            raise ValueError(
                f"its footer is longer than {size_text(FOOTER_BYTES)}, the most that is read of one"
            )
        if stated <= len(tail) - 8:
            return tail[-8 - stated : -8]
        length = stated
    raise ValueError("its footer is cut short")


def _forget(key: int) -> None:
    del _FOOTERS[key]
    _KNOWN.pop(key, None)


def column_chunks(metadata: Any) -> tuple[tuple[Chunk, ...], ...]:
    """Return the chunks of each row group, in the order of the file.

    Args:
        metadata: of what `open_file` returned; what was decoded is kept as long as it.

    Raises:
        ValueError: when it is damaged.
    """
    key = id(metadata)
    if key not in _KNOWN:
        try:
            groups = _Decoder(_FOOTERS[key]).struct(0)[4]
            _KNOWN[key] = tuple(tuple(_chunk(column[3]) for column in group[1]) for group in groups)
        except (KeyError, IndexError, TypeError, UnicodeDecodeError, AttributeError):
            raise ValueError("its footer is damaged") from None
    return _KNOWN[key]


def page_values(file: BinaryIO, chunk: Chunk) -> int:
    """Return how many values the pages of a chunk claim to hold together.

    Args:
        file: the whole Parquet file.
        chunk: as its footer states it.

    Raises:
        ValueError: when the header of a page is damaged, or there are more pages than any writer makes.
    """
    place, end, values = chunk.start, chunk.start + chunk.stored_bytes, 0
    for _ in range(MAX_PAGES):
        if place >= end:
            return values
        head, length = _page_header(file, place, end)
        try:
            values += sum(head[number][1] for number in _DATA_PAGES if number in head)
            size = head[3]
        except (KeyError, IndexError, TypeError):
            size = -1
        if not 0 <= size <= end - place - length:
            raise ValueError("the header of a page is damaged")
        place += length + size
    raise ValueError(f"a column of a row group has more than {MAX_PAGES:,} pages")


def _page_header(file: BinaryIO, place: int, end: int) -> tuple[dict[int, Any], int]:
    """Return the fields of a page's header and how long it is."""
    for size in (_HEADER_BYTES, FOOTER_BYTES):  # few hold long texts as their bounds
        file.seek(place)
        decoder = _Decoder(file.read(min(size, end - place)))
        try:
            return decoder.struct(0), decoder.place
        except (ValueError, IndexError, TypeError):
            if size == FOOTER_BYTES:
                raise ValueError("the header of a page is damaged") from None
    raise AssertionError


def _chunk(fields: dict[int, Any]) -> Chunk:
    statistics = fields.get(12, {})
    found = Chunk(
        path=".".join(part.decode() for part in fields[3]),
        physical_type=fields[1],
        num_values=fields[5],
        stored_bytes=fields[7],
        size_bytes=fields[6],
        null_count=statistics.get(3),
        start=min(filter(None, (fields[9], fields.get(11))), default=0),  # no rows, no page of data
    )
    if min(found.num_values, found.stored_bytes, found.size_bytes, found.start) < 0:
        raise ValueError("its footer states negative sizes")
    return found


class _Decoder:
    """Thrift's compact protocol: fields by number, nothing named."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.place = 0

    def struct(self, depth: int) -> dict[int, Any]:
        """Return the fields of a structure by number."""
        if depth > _DEPTH:
            raise ValueError("its footer is nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while True:
            head = self._content[self.place]
            self.place += 1
            kind = head & 15
            if kind == _STOP:
                return fields
            number = number + (head >> 4) if head >> 4 else self._integer()
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)

    def _value(self, kind: int, depth: int) -> Any:
        if kind in _INTEGERS:
            return self._integer()
        if kind == _BINARY:
            return self._take(self._number())
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_LIST, _SET):
            head = self._take(1)[0]
            count = self._number() if head >> 4 == 15 else head >> 4
            if count > len(self._content) - self.place:
                raise ValueError("its footer is damaged")
            return [self._value(head & 15, depth + 1) for _ in range(count)]
        if kind in (_TRUE, _FALSE, _BYTE):
            return self._take(1)[0]
        if kind == _DOUBLE:
            return self._take(8)
        if kind == _MAP and self._number() == 0:  # no structure of Parquet has a map
            return {}
        raise ValueError("its footer is damaged")

    def _take(self, count: int) -> bytes:
        piece = self._content[self.place : self.place + count]
        if len(piece) != count:
            raise ValueError("its footer is cut short")
        self.place += count
        return piece

    def _integer(self) -> int:
        number = self._number()
        return (number >> 1) ^ -(number & 1)

    def _number(self) -> int:
        number = shift = 0
        while shift < 70:
            byte = self._content[self.place]
            self.place += 1
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7
        raise ValueError("its footer is damaged")
