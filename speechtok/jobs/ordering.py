"""Tables in order, in memory that does not grow with their number: an external merge sort.

Each run of tables is sorted and put on disk; then all runs are read side by side. What lies below the
smallest of the last keys at hand is complete, so it is sorted, given out and forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

RUN_ROWS = 100_000
"""Rows sorted at once."""
PIECE_ROWS = 2_000
"""Rows of each run that are read at once."""


class Runs:
    """Rows that arrive in any order and are given out sorted, as often as wanted.

    Args:
        keys: columns to sort by, strings, the most important first; compared by Unicode code points.
        folder: an empty folder for sorted runs.
        run_rows: rows sorted at once.
        piece_rows: rows of each run that are read at once.
    """

    def __init__(
        self, keys: Sequence[str], folder: Path, *, run_rows: int = RUN_ROWS, piece_rows: int = PIECE_ROWS
    ) -> None:
        self._keys = [(key, "ascending") for key in keys]
        self._folder, self._run_rows, self._piece_rows = folder, run_rows, piece_rows
        self._pending: list[pa.Table] = []
        self._schemas: list[pa.Schema] = []
        self._files: list[Path] = []

    def add(self, table: pa.Table) -> None:
        """Add rows; tables may differ in columns and types, as far as `schema` can unite them."""
        self._pending.append(table)
        self._schemas = [_united([*self._schemas, table.schema])]
        if sum(len(item) for item in self._pending) >= self._run_rows:
            self._flush()

    @property
    def schema(self) -> pa.Schema:
        """Columns and types that all rows fit.

        Raises:
            pa.ArrowTypeError: when a column has types that do not go together.
        """
        return self._schemas[0] if self._schemas else pa.schema([])

    def sorted(self) -> Iterator[pa.Table]:
        """Yield all rows in order, in tables of any length, with the columns of `schema`."""
        self._flush()
        readers = [_pieces(file, self._piece_rows, self.schema) for file in self._files]
        heads = {number: head for number, reader in enumerate(readers) if (head := next(reader, None))}
        while heads:
            limit = self._order(pa.concat_tables(head.slice(len(head) - 1) for head in heads.values())).slice(
                0, 1
            )
            ready = []
            for number, head in list(heads.items()):
                count = self._count_up_to(head, limit)
                ready.append(head.slice(0, count))
                rest: pa.Table | None = head.slice(count)
                if not len(head) - count:
                    rest = next(readers[number], None)
                if rest is None:
                    del heads[number]
                else:
                    heads[number] = rest
            yield self._order(pa.concat_tables(ready))

    def _flush(self) -> None:
        if not self._pending:
            return
        file = self._folder / f"{len(self._files):06d}.parquet"
        table = self._order(pa.concat_tables(fitted(item, self.schema) for item in self._pending))
        pq.write_table(table, file, row_group_size=self._piece_rows, compression="lz4")
        self._files.append(file)
        self._pending = []

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
    columns = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _united(schemas: Sequence[pa.Schema]) -> pa.Schema:
    return pa.unify_schemas(schemas, promote_options="permissive")


def _pieces(file: Path, rows: int, schema: pa.Schema) -> Iterator[pa.Table]:
    for batch in pq.ParquetFile(file).iter_batches(batch_size=rows):
        yield fitted(pa.Table.from_batches([batch]), schema)
