"""Write token rows into one Parquet file, in memory bounded by one row group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from speechtok.shards.schema import code_type
from speechtok.tokens import StreamInfo, TokenizerInfo

ROW_GROUP_CODES = 1 << 21
"""Codes after which a row group is closed: enough for any dictionary to cost little, few enough to be read for one row."""
ROW_GROUP_ROWS = 10_000
"""Rows after which a row group is closed early, so that texts of very short rows stay within memory."""
DICTIONARY_CODES = 4096
"""Largest codebook whose codes are stored as places in a dictionary; larger ones would need one about as large as the codes."""
TABLE_GROUP_ROWS = 20_000
"""Rows per row group of tables without codes."""
COMPRESSION = ("zstd", 3)
"""Of most columns, with its level; higher ones gain 1 % and cost several times as long."""
SPLIT_COMPRESSION = ("brotli", 5)
"""Of codes split into bytes of which the highest is not full: zstd, which is faster, would pack it with others and lose some percent."""


@dataclass(frozen=True, kw_only=True)
class GroupRecord:
    """What a row group holds."""

    rows: int
    """Its rows."""
    seconds: float
    """Seconds of audio."""
    frames: dict[str, int]
    """Frames by stream."""


class ShardWriter:
    """Write rows to a Parquet file; use as a context manager.

    Row groups end where their rows alone say so, however the rows arrive.

    Args:
        path: file to write; give a temporary path and rename it afterwards.
        schema: from `token_schema`.
        info: the tokenizer whose streams the rows hold.
    """

    def __init__(self, path: Path, schema: pa.Schema, info: TokenizerInfo) -> None:
        self._schema, self._info = schema, info
        self._streams = {stream.name: stream for stream in info.streams}
        self._rows: list[Mapping[str, Any]] = []
        self._tables: list[pa.Table] = []
        self._num_rows = self._num_codes = 0
        self._writer = pq.ParquetWriter(path, schema, **_writer_options(schema, info))
        self.groups: list[GroupRecord] = []
        """What was written so far."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._writer.close()

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one row.

        Args:
            row: value by column; streams as integer `(codebooks, frames)` arrays,
                `speaker_embedding` as a float32 `(channels,)` array.
        """
        self._rows.append(row)
        self._count(1, sum(row[name].size for name in self._streams))

    def add_table(self, table: pa.Table) -> None:
        """Add rows that are columns of the schema already."""
        frames = [frames_of_rows(table, item) * item.num_codebooks for item in self._info.streams]
        codes = np.cumsum(sum(frames))
        start = 0
        while start < len(table):
            before = codes[start - 1] if start else 0
            full = int(np.searchsorted(codes, before + ROW_GROUP_CODES - self._num_codes)) + 1
            stop = min(len(table), full, start + ROW_GROUP_ROWS - self._num_rows)
            self._gather()
            self._tables.append(table.slice(start, stop - start))
            self._count(stop - start, int(codes[stop - 1] - before))
            start = stop

    def _count(self, rows: int, codes: int) -> None:
        self._num_rows += rows
        self._num_codes += codes
        if self._num_rows >= ROW_GROUP_ROWS or self._num_codes >= ROW_GROUP_CODES:
            self._flush()

    def _gather(self) -> None:
        """Turn the rows that were added one by one into a table."""
        if self._rows:
            columns = [self._column(field) for field in self._schema]
            self._tables.append(pa.Table.from_arrays(columns, schema=self._schema))
            self._rows = []

    def _flush(self) -> None:
        self._gather()
        if self._tables:
            table = pa.concat_tables(self._tables).combine_chunks()
            self._writer.write_table(table, row_group_size=len(table))
            samples = int(table["num_samples"].to_numpy().sum())
            frames = {
                name: int(frames_of_rows(table, stream).sum()) for name, stream in self._streams.items()
            }
            self.groups.append(
                GroupRecord(rows=len(table), seconds=samples / self._info.sample_rate, frames=frames)
            )
        self._tables, self._num_rows, self._num_codes = [], 0, 0

    def _column(self, field: pa.Field) -> pa.Array:
        values = [row[field.name] for row in self._rows]
        if field.name in self._streams:
            return codes_column(values, self._streams[field.name])
        if field.name == "speaker_embedding":
            flat = np.concatenate([np.asarray(value, dtype=np.float32) for value in values])
            return pa.FixedSizeListArray.from_arrays(flat, field.type.list_size)
        return pa.array(values, type=field.type)


def codes_column(values: list[np.ndarray[Any, Any]], stream: StreamInfo) -> pa.Array:
    """Return `(codebooks, frames)` arrays as one Arrow column, without a Python object per code.

    Args:
        values: one array per row.
        stream: what they hold; several codebooks become `list<list<…>>`, one alone its frames.
    """
    dtype = code_type(stream).to_pandas_dtype()
    flat = pa.array(np.concatenate([value.reshape(-1) for value in values]).astype(dtype, copy=False))
    frames = np.concatenate([np.full(value.shape[0], value.shape[1], dtype=np.int64) for value in values])
    inner = pa.ListArray.from_arrays(pa.array(_offsets(frames)), flat)
    if stream.num_codebooks == 1:
        return inner
    return pa.ListArray.from_arrays(pa.array(_offsets(np.array([value.shape[0] for value in values]))), inner)


def frames_of_rows(table: pa.Table, stream: StreamInfo) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return how many frames of a stream each row of a table has, `(rows,)`."""
    column = table[stream.name].combine_chunks()
    bounds = column.offsets.to_numpy().astype(np.int64)
    if stream.num_codebooks > 1:
        bounds = column.values.offsets.to_numpy().astype(np.int64)[bounds]
    frames: np.ndarray[Any, np.dtype[np.int64]] = np.diff(bounds) // stream.num_codebooks
    return frames


def fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with exactly the columns and types of a schema; what it lacks is null."""
    known = dict(zip(table.column_names, table.columns, strict=True))
    columns = [
        known[field.name].cast(field.type) if field.name in known else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a small table with the same settings as shards."""
    write_tables([table], table.schema, path)


def write_tables(tables: Iterable[pa.Table], schema: pa.Schema, path: Path) -> None:
    """Write rows that arrive in tables of any length; how they are cut changes nothing in the file.

    Without rows the file gets no row group: `datasets` cannot read a row group without rows.
    """
    with pq.ParquetWriter(path, schema, **_writer_options(schema, None)) as writer:
        for table in evenly(tables, TABLE_GROUP_ROWS):
            writer.write_table(table.cast(schema).combine_chunks(), row_group_size=TABLE_GROUP_ROWS)


def evenly(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Yield the same rows in tables of `rows` rows each, but for the last."""
    held: list[pa.Table] = []
    count = 0
    for table in tables:
        held.append(table)
        count += len(table)
        while count >= rows:
            joined = pa.concat_tables(held)
            yield joined.slice(0, rows)
            held, count = [joined.slice(rows)], count - rows
    if count:
        yield pa.concat_tables(held)


def _offsets(lengths: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.int32]]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)


def _writer_options(schema: pa.Schema, info: TokenizerInfo | None) -> dict[str, Any]:
    """Say how each column is stored.

    A dictionary packs codes into log2(codebook_size) bits, and is itself as large as the codebook; so those of large codebooks
    are split into their bytes. Float vectors lose by either.
    """
    streams = info.streams if info else ()
    large = {item.name for item in streams if item.codebook_size > DICTIONARY_CODES}
    loose = {
        item.name for item in streams if item.name in large and (item.codebook_size - 1).bit_length() % 8
    }
    leaves = {path: path.split(".")[0] for path in _leaf_paths(schema)}
    packed = {path: SPLIT_COMPRESSION if name in loose else COMPRESSION for path, name in leaves.items()}
    options: dict[str, Any] = {
        "compression": {path: codec for path, (codec, _) in packed.items()},
        "compression_level": {path: level for path, (_, level) in packed.items()},
        "use_dictionary": [
            path for path, name in leaves.items() if name not in {"speaker_embedding", "scale", *large}
        ],
        "write_page_index": True,
    }
    split = {path: "BYTE_STREAM_SPLIT" for path, name in leaves.items() if name in large}
    return options | ({"column_encoding": split} if split else {})


def _leaf_paths(schema: pa.Schema) -> list[str]:
    """Return the Parquet path of every leaf column, as the writer names them."""
    return [path for field in schema for path in _leaves(field.name, field.type)]


def _leaves(path: str, kind: pa.DataType) -> list[str]:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _leaves(f"{path}.list.element", kind.value_type)
    if pa.types.is_struct(kind):
        fields = [kind.field(index) for index in range(kind.num_fields)]
        return [leaf for field in fields for leaf in _leaves(f"{path}.{field.name}", field.type)]
    return [path]
