"""Write token rows into one Parquet file, in memory bounded by one row group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from speechtok.tokens import TokenizerInfo

ROW_GROUP_ROWS = 200
"""Rows per row group: small enough for random access, large enough to compress."""
ROW_GROUP_CODES = 1 << 26
"""Codes after which a row group is closed early, so that hour-long rows stay within memory."""
TABLE_GROUP_ROWS = 20_000
"""Rows per row group of tables without codes."""
COMPRESSION_LEVEL = 3
"""zstd; higher levels gain 1 % and cost several times as long."""


class ShardWriter:
    """Write rows to a Parquet file; use as a context manager.

    Args:
        path: file to write; give a temporary path and rename it afterwards.
        schema: from `token_schema`.
        info: the tokenizer whose streams the rows hold.
    """

    def __init__(self, path: Path, schema: pa.Schema, info: TokenizerInfo) -> None:
        self._schema = schema
        self._codes = {stream.name: stream.num_codebooks for stream in info.streams}
        self._rows: list[Mapping[str, Any]] = []
        self._pending_codes = 0
        self._writer = pq.ParquetWriter(path, schema, **_writer_options(schema))

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
            row: value by column; streams as uint16 `(codebooks, frames)` arrays,
                `speaker_embedding` as a float32 `(channels,)` array.
        """
        self._rows.append(row)
        self._pending_codes += sum(row[name].size for name in self._codes)
        if len(self._rows) >= ROW_GROUP_ROWS or self._pending_codes >= ROW_GROUP_CODES:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        columns = [self._column(field) for field in self._schema]
        self._writer.write_table(
            pa.Table.from_arrays(columns, schema=self._schema), row_group_size=len(self._rows)
        )
        self._rows, self._pending_codes = [], 0

    def _column(self, field: pa.Field) -> pa.Array:
        values = [row[field.name] for row in self._rows]
        if field.name in self._codes:
            return codes_column(values, nested=self._codes[field.name] > 1)
        if field.name == "speaker_embedding":
            flat = np.concatenate([np.asarray(value, dtype=np.float32) for value in values])
            return pa.FixedSizeListArray.from_arrays(flat, field.type.list_size)
        return pa.array(values, type=field.type)


def codes_column(values: list[np.ndarray[Any, np.dtype[np.uint16]]], *, nested: bool) -> pa.Array:
    """Return `(codebooks, frames)` arrays as one Arrow column, without a Python object per code.

    Args:
        values: one array per row.
        nested: whether the column holds `list<list<uint16>>`; otherwise the only codebook's frames.
    """
    flat = pa.array(np.concatenate([value.reshape(-1) for value in values]).astype(np.uint16, copy=False))
    frames = np.concatenate([np.full(value.shape[0], value.shape[1], dtype=np.int64) for value in values])
    inner = pa.ListArray.from_arrays(pa.array(_offsets(frames)), flat)
    if not nested:
        return inner
    return pa.ListArray.from_arrays(pa.array(_offsets(np.array([value.shape[0] for value in values]))), inner)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a small table with the same settings as shards."""
    write_tables([table], table.schema, path)


def write_tables(tables: Iterable[pa.Table], schema: pa.Schema, path: Path) -> None:
    """Write rows that arrive in tables of any length; how they are cut changes nothing in the file.

    Without rows the file gets no row group: `datasets` cannot read a row group without rows.
    """
    with pq.ParquetWriter(path, schema, **_writer_options(schema)) as writer:
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


def _writer_options(schema: pa.Schema) -> dict[str, Any]:
    """Dictionary encoding packs codes to log2(codebook_size) bits; float vectors only lose by it."""
    plain = {"speaker_embedding", "scale"}
    return {
        "compression": "zstd",
        "compression_level": COMPRESSION_LEVEL,
        "use_dictionary": [path for path in _leaf_paths(schema) if path.split(".")[0] not in plain],
        "write_page_index": True,
    }


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
