"""Tables in order, in memory that does not grow with their number: an external merge sort.

Sorted runs of tables are put on disk. Of these, a fixed number is read side by side at a time and merged into
one longer run: what lies below the smallest of the last keys at hand is complete, so it is sorted, written
and forgotten.

Source: Knuth 1998, The Art of Computer Programming 3, section 5.4.1 (multiway merging).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from speechtok.shards.writer import evenly

RUN_ROWS = 50_000
"""Rows sorted at once."""
PIECE_ROWS = 2_000
"""Rows of each run that are read at once."""
MAX_RUNS = 8
"""Runs of like length that are merged into a longer one."""


class Runs:
    """Rows that arrive in any order and are given out sorted, as often as wanted.

    Args:
        keys: columns to sort by, strings, the most important first; compared by Unicode code points.
        folder: an empty folder for sorted runs.
        run_rows: rows sorted at once.
        piece_rows: rows of each run that are read at once.
        max_runs: runs that are read side by side, at least 2.
    """

    def __init__(
        self,
        keys: Sequence[str],
        folder: Path,
        *,
        run_rows: int = RUN_ROWS,
        piece_rows: int = PIECE_ROWS,
        max_runs: int = MAX_RUNS,
    ) -> None:
        self._keys = [(key, "ascending") for key in keys]
        self._folder, self._run_rows, self._piece_rows = folder, run_rows, piece_rows
        self._max_runs = max_runs
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._schema = pa.schema([])
        self._levels: list[list[Path]] = []  # a run of one level holds `max_runs` of the level below
        self._written = 0

    def add(self, table: pa.Table) -> None:
        """Add rows; tables may differ in columns and types, as far as `schema` can unite them."""
        self._schema = _united([self._schema, table.schema])
        self._pending.append(table)
        self._pending_rows += len(table)
        if self._pending_rows >= self._run_rows:
            self._flush()

    @property
    def schema(self) -> pa.Schema:
        """Columns and types that all rows fit.

        Raises:
            pa.ArrowTypeError: when a column has types that do not go together.
        """
        return self._schema

    def sorted(self) -> Iterator[pa.Table]:
        """Yield all rows in order, in tables of any length, with the columns of `schema`."""
        self._flush()
        files = [file for level in self._levels for file in level]  # the shortest first
        while len(files) > 1:
            files = [*files[self._max_runs :], self._merged(files[: self._max_runs])]
        self._levels = [*([] for _ in self._levels[1:]), files]
        for file in files:
            yield from _pieces(file, self.schema)

    def _flush(self) -> None:
        if not self._pending:
            return
        table = self._order(pa.concat_tables(fitted(item, self.schema) for item in self._pending))
        self._pending, self._pending_rows = [], 0
        self._keep(self._write([table]), 0)

    def _keep(self, file: Path, level: int) -> None:
        """Add a run; as soon as there are enough of its length, they become one."""
        if level == len(self._levels):
            self._levels.append([])
        self._levels[level].append(file)
        if len(self._levels[level]) >= self._max_runs:
            files, self._levels[level] = self._levels[level], []
            self._keep(self._merged(files), level + 1)

    def _merged(self, files: Sequence[Path]) -> Path:
        """Return one run of several, which are removed."""
        merged = self._write(self._merge([_pieces(file, self.schema) for file in files]))
        for file in files:
            file.unlink()
        return merged

    def _write(self, tables: Iterable[pa.Table]) -> Path:
        file = self._folder / f"{self._written:06d}.arrow"
        self._written += 1
        options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, self.schema, options=options) as out:
            for table in evenly(tables, self._piece_rows):
                out.write_table(table.combine_chunks(), max_chunksize=self._piece_rows)
        return file

    def _merge(self, readers: Sequence[Iterator[pa.Table]]) -> Iterator[pa.Table]:
        """Yield the rows of several runs in order."""
        heads = {number: head for number, reader in enumerate(readers) if (head := next(reader, None))}
        while heads:
            lasts = pa.concat_tables(head.slice(len(head) - 1) for head in heads.values())
            limit = self._order(lasts).slice(0, 1)
            ready = []
            for number, head in list(heads.items()):
                count = self._count_up_to(head, limit)
                ready.append(head.slice(0, count))
                rest = head.slice(count) if count < len(head) else next(readers[number], None)
                if rest is None:
                    del heads[number]
                else:
                    heads[number] = rest
            yield self._order(pa.concat_tables(ready))

    def _order(self, table: pa.Table) -> pa.Table:
        return table.take(pc.sort_indices(table, sort_keys=self._keys))

    def _count_up_to(self, table: pa.Table, limit: pa.Table) -> int:
        """Return how many rows of a sorted table come before, or equal, the row `limit`."""
        below: pa.ChunkedArray | None = None
        for key, _ in reversed(self._keys):
            value = limit[key][0]
            less, equal = pc.less(table[key], value), pc.equal(table[key], value)
            below = pc.or_(less, equal if below is None else pc.and_(equal, below))
        return int(pc.sum(below).as_py() or 0)


def fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with exactly the columns and types of a schema; what it lacks is null."""
    known = dict(zip(table.column_names, table.columns, strict=True))
    columns = [
        known[field.name].cast(field.type) if field.name in known else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _united(schemas: Sequence[pa.Schema]) -> pa.Schema:
    return pa.unify_schemas(schemas, promote_options="permissive")


def _pieces(file: Path, schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the rows of a run, a piece at a time."""
    with pa.OSFile(str(file)) as source, pa.ipc.open_stream(source) as reader:
        for batch in reader:
            yield fitted(pa.Table.from_batches([batch]), schema)
