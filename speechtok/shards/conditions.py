"""Conditions on rows, such as "duration < 20 and text is not null": an SQL expression, which DuckDB parses and computes.

Contents: `Condition`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from speechtok.errors import DatasetError

_SETTINGS: dict[str, Any] = {
    "threads": "1",
    "memory_limit": "1GB",
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
"""A condition computes, on one thread and in bounded memory; it reaches no file and no network."""
_ARITHMETIC = frozenset({"+", "-"})
"""Functions of the row alone, though DuckDB says otherwise of them as it does of `random`: with times they ask for the time zone."""
_EXAMPLE = 'write one such as "duration < 20 and text is not null" or "speaker = \'anna\'"'


class Condition:
    """Tells which rows of a table it holds of. A row for which it is null, as comparisons with empty cells are, is none of them.

    Args:
        text: an SQL expression over the columns, https://duckdb.org/docs/stable/sql/expressions/overview. It speaks of one row: no
            aggregates, windows, queries or random numbers.
        types: the columns it may name.
        place: what has them, for messages.

    Raises:
        DatasetError: when it names a column that is not there, or DuckDB is not installed.
        ValueError: when it is no condition, or compares what cannot be compared.
    """

    def __init__(self, text: str, types: Mapping[str, pa.DataType], place: object) -> None:
        self.text, self._place = text, place
        try:
            import duckdb
        except ImportError:
            raise DatasetError(
                "Conditions need the package duckdb: pip install 'speechtok[filter]'."
            ) from None
        self._error = duckdb.Error
        self._database = duckdb.connect(":memory:", config=_SETTINGS)
        nodes = list(self._nodes())
        named = {node["column_names"][0] for node in nodes if node.get("class") == "COLUMN_REF"}
        self.columns = [name for name in types if name.lower() in {item.lower() for item in named}]
        """The columns that it names, in the order of `types`."""
        self._check_functions({node["function_name"] for node in nodes if node.get("class") == "FUNCTION"})
        empty = pa.schema([(name, types[name]) for name in self.columns] or [("nothing", pa.null())])
        try:
            found = self._computed(empty.empty_table())
        except self._error as error:
            reason = _first_line(error)
            missing = re.search(r'[Cc]olumn "?(.+?)"? not found', reason)
            if missing is None:
                raise ValueError(f"'{text}' cannot be computed of the rows of {place}: {reason}") from None
            raise DatasetError(
                f"{place} has no column {missing[1]} to compare; it has: {', '.join(sorted(types))} (a text stands in single quotes: "
                f"'{missing[1]}')."
            ) from None
        if not pa.types.is_boolean(found.type):
            raise ValueError(f"'{text}' is {found.type} of each row, and neither true nor false; {_EXAMPLE}.")

    def __call__(self, rows: pa.Table) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return of which rows it holds, `(rows,)`.

        Args:
            rows: a table with at least `columns`.

        Raises:
            ValueError: when it cannot be computed of one of them, such as a text that is cast to a number and is none.
        """
        table = rows.select(self.columns) if self.columns else pa.table({"nothing": pa.nulls(len(rows))})
        try:
            found = self._computed(table)
        except self._error as error:
            raise ValueError(
                f"'{self.text}' cannot be computed of the rows of {self._place}: {_first_line(error)}"
            ) from None
        return found.fill_null(False).to_numpy().astype(bool)  # type: ignore[no-any-return]

    def _computed(self, table: pa.Table) -> pa.ChunkedArray:
        self._database.register("rows", table)
        try:
            query = f"SELECT ({self.text}\n) AS holds FROM rows"  # noqa: S608, an expression alone, see `_nodes`
            return self._database.sql(query).to_arrow_table()["holds"]
        finally:
            self._database.unregister("rows")

    def _asked(self, query: str, value: str) -> list[tuple[Any, ...]]:
        return list(self._database.sql(query, params=[value]).fetchall())

    def _nodes(self) -> Iterator[dict[str, Any]]:
        """Yield the nodes of the parsed expression.

        Raises:
            ValueError: when the text is not one expression, or holds a query or a window.
        """
        ((parsed,),) = self._asked("SELECT json_serialize_sql(?)", f"SELECT ({self.text}\n)")
        content = json.loads(parsed)
        if content["error"]:
            raise ValueError(f"'{self.text}' is no condition ({content['error_message']}); {_EXAMPLE}.")
        statements = [item["node"] for item in content["statements"]]
        if (
            len(statements) != 1
            or len(statements[0]["select_list"]) != 1
            or statements[0]["from_table"]["type"] != "EMPTY"
            or statements[0].get("where_clause")
        ):
            raise ValueError(f"'{self.text}' is more than one condition; {_EXAMPLE}.")
        for node in _walked(statements[0]["select_list"][0]):
            if node.get("class") in ("WINDOW", "SUBQUERY", "STAR", "PARAMETER"):
                raise ValueError(
                    f"'{self.text}' holds a {node['class'].lower()}, but a condition speaks of one row; {_EXAMPLE}."
                )
            yield node

    def _check_functions(self, names: set[str]) -> None:
        """Raise `ValueError` where a function sums up rows, or gives another result each time."""
        for name in sorted(names - _ARITHMETIC):
            kinds = self._asked(
                "SELECT DISTINCT function_type, stability FROM duckdb_functions() WHERE function_name = ?",
                name,
            )
            if name == "unnest" or any(kind == "aggregate" for kind, _ in kinds):
                raise ValueError(
                    f"'{self.text}' calls {name}(), which makes other rows of rows, but a condition speaks of one row."
                )
            if any(stability not in (None, "CONSISTENT") for _, stability in kinds):
                raise ValueError(
                    f"'{self.text}' calls {name}(), which gives another result each time, so no run could be repeated."
                )


def _walked(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _walked(child)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") + "."
