"""Parquet files of any kind, opened and read within bounds, or refused in one sentence that names them.

A file of some kB can hold what fills a machine: a value repeated a milliard times takes a few bytes. So what a row
group will take in memory is asked of the file's metadata before any of it is read.

Contents: `open_parquet`, `reading`, `read_group`, `RowReader`, `read_parquet_rows`.
"""

from __future__ import annotations

import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from speechtok.errors import DatasetError, SpeechtokError
from speechtok.limits import COLUMNS, require_regular_file
from speechtok.parquet_footer import BYTE_ARRAY, column_chunks, open_file, page_values
from speechtok.storage import AnyPath, readable
from speechtok.wording import size_text

GROUP_VALUES = 1 << 28
"""Most values of one column in a row group; ten hours of 80 codes in 20 ms are 2^27 of them, and a writer closes a group at 2^26."""
INFLATION = 1000
"""Most values for each stored byte; speech takes some ten, and dozens where a speaker is silent for long."""
FREE_VALUES = 1 << 24
"""Values that any column chunk may have, however small it is stored: more than an hour of 80 codes in 20 ms."""
GROUP_BYTES = 1 << 31
"""Most bytes of one column in a row group, uncompressed."""
TEXT_BYTES = 1 << 29
"""Most bytes of text in one column of a row group, once each cell has its own copy."""
BATCH_ROWS = 1 << 12
"""Rows that become Python values at a time."""


@contextmanager
def reading(file: object) -> Iterator[None]:
    """Turn whatever pyarrow raises about a file, and there is much, into `DatasetError`."""
    try:
        yield
    except SpeechtokError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(f"{file} cannot be read as Parquet: {reason}") from error


def open_parquet(file: AnyPath, metadata: pq.FileMetaData | None = None) -> pq.ParquetFile:
    """Return a Parquet file, with its footer read.

    Args:
        file: the file.
        metadata: its footer, where it was read before.

    Raises:
        DatasetError: when it cannot be read.
    """
    if isinstance(file, Path):
        require_regular_file(file, "Parquet file", error=DatasetError)
    with reading(file):
        opened: pq.ParquetFile = open_file(readable(file), metadata)
    return opened


def read_group(
    reader: pq.ParquetFile, file: AnyPath, group: int, columns: Sequence[str] | None = None
) -> pa.Table:
    """Return the rows of one row group, once it is known that they fit into memory.

    Args:
        reader: the open file.
        file: where it lies.
        group: number of the row group.
        columns: only these, in this order; None reads all.

    Raises:
        DatasetError: when it cannot be read, or holds more than is read of one.
    """
    with reading(file):
        _check_size(reader.metadata, file, group, columns)
        table = reader.read_row_group(group, columns=None if columns is None else list(columns))
        table.validate(full=True)
    return table


class RowReader:
    """Rows of a Parquet file by their numbers, for who asks for one piece after the other: opened once, and the row group read last is kept.

    Args:
        file: the file.
        columns: only these, in this order; None reads all.
    """

    def __init__(self, file: AnyPath, columns: Sequence[str] | None = None) -> None:
        self._file, self._columns = file, columns
        self._last: tuple[int, pa.Table] | None = None

    def rows(self, start: int, stop: int) -> Iterator[pa.Table]:
        """Yield the rows from `start` up to `stop`, those of each row group together.

        Raises:
            DatasetError: when they cannot be read.
        """
        for group in range(bisect_right(self._begins, start) - 1, bisect_left(self._begins, stop)):
            if self._last is None or self._last[0] != group:
                self._last = group, read_group(self._reader, self._file, group, self._columns)
            first = max(start - self._begins[group], 0)
            yield self._last[1].slice(first, stop - self._begins[group] - first)

    @cached_property
    def _reader(self) -> pq.ParquetFile:
        return open_parquet(self._file)

    @cached_property
    def _begins(self) -> list[int]:
        """First row of each row group."""
        footer = self._reader.metadata
        lengths = (footer.row_group(group).num_rows for group in range(footer.num_row_groups))
        return list(accumulate(lengths, initial=0))[:-1]


def read_parquet_rows(path: AnyPath, start: int = 0, stop: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of any Parquet file as plain values.

    Args:
        path: the file.
        start: the first row that is wanted, from 0; row groups before it are not read.
        stop: the first that is not; None reads to the end.

    Raises:
        DatasetError: when the file cannot be read.
    """
    reader = open_parquet(path)
    if len(reader.schema_arrow) > COLUMNS:
        raise DatasetError(
            f"{path} has {len(reader.schema_arrow):,} columns, more than the {COLUMNS:,} that a list may have."
        )
    with reading(path):
        groups, begin, before = list[int](), 0, 0
        for group in range(reader.metadata.num_row_groups):
            _check_size(reader.metadata, path, group, None)
            first, begin = begin, begin + reader.metadata.row_group(group).num_rows
            if begin > start and (stop is None or first < stop):
                groups.append(group)
                before = first if len(groups) == 1 else before
        batches = reader.iter_batches(batch_size=BATCH_ROWS, row_groups=groups)
    left = sys.maxsize if stop is None else stop - start
    skipped = start - before if groups else 0
    while left > 0:
        with reading(path):
            batch = next(batches, None)
            if batch is None:
                return
            batch.validate(full=True)
            rows = batch.slice(skipped, left).to_pylist()
        skipped, left = max(0, skipped - len(batch)), left - len(rows)
        yield from rows


def _check_size(metadata: pq.FileMetaData, file: AnyPath, group: int, columns: Sequence[str] | None) -> None:
    rows = metadata.row_group(group).num_rows
    for chunk in column_chunks(metadata)[group]:
        name = chunk.path.split(".")[0]
        if columns is not None and name not in columns:
            continue
        stored, size = chunk.stored_bytes, chunk.size_bytes
        values = max(chunk.num_values, rows)
        most = min(GROUP_VALUES, max(FREE_VALUES, INFLATION * stored))
        if values > most or size > GROUP_BYTES:
            raise DatasetError(
                f"{file} holds {values:,} values ({size_text(size)}) in {size_text(stored)} of the column '{name}', row group "
                f"{group}; at most {most:,} in {size_text(GROUP_BYTES)} are read of one, so make or fetch the file again."
            )
        if "." in chunk.path:  # what repeats in a row ends with the pages, and not with the rows
            with file.open("rb") as pages:
                claimed = page_values(pages, chunk)
            if claimed > chunk.num_values:
                raise DatasetError(
                    f"{file} states {chunk.num_values:,} values of the column '{name}', row group {group}, but its pages claim "
                    f"{claimed:,}; make or fetch the file again."
                )
        if chunk.physical_type == BYTE_ARRAY and values * size > TEXT_BYTES:
            least = size - 8 * values  # without lengths, indices and levels
            if least > TEXT_BYTES or _text_bytes(metadata, file, group, chunk.path) > TEXT_BYTES:
                raise DatasetError(
                    f"{file} holds more than {size_text(TEXT_BYTES)} of text in the column '{name}', row group {group}, the "
                    "most that is read of one; make or fetch the file again."
                )


def _text_bytes(metadata: pq.FileMetaData, file: AnyPath, group: int, leaf: str) -> int:
    """Return how much text a column holds, without a copy of a text for each cell that repeats it."""
    if leaf.replace(".list.element", "").count("."):
        return TEXT_BYTES + 1  # inside structures a text is always copied
    table = open_file(readable(file), metadata, read_dictionary=[leaf]).read_row_group(group, columns=[leaf])
    total = 0
    for cells in table.column(0).chunks:
        while pa.types.is_list(cells.type):
            cells = cells.flatten()
        lengths = pc.binary_length(cells.dictionary)
        total += pc.sum(lengths.take(cells.indices.drop_null())).as_py() or 0
    return total
