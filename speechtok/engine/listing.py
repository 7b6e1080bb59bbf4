"""The utterances of a corpus as rows of a plan, split by split, in bounded memory."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speechtok.corpora.corpus import repeated
from speechtok.errors import DatasetError
from speechtok.shards.layout import is_split
from speechtok.shards.plan import DUPLICATE_ID, ERROR, FAULT, PLAN_COLUMNS
from speechtok.shards.schema import column_names
from speechtok.storage import OwnedFolder
from speechtok.tokens import TokenizerInfo
from speechtok.utterances import Utterance

BATCH_ROWS = 5_000
"""Rows that are written at once, about."""
_OTHER_ID = "Give this one another and tokenize into another folder, or leave it out."
MANY_ROWS = 1 << 14
"""From so many utterances on, no corpus is planned of which most have the id of another."""
OWN = "own:"
"""Prefix that tells the corpus's own columns from ours until all of their names are known."""


def rows_of(utterances: Sequence[Utterance], name: str, split: str) -> pa.Table:
    """Return utterances as rows of a plan, with `shard` null and the corpus's own columns under names that begin with `OWN`.

    Args:
        utterances: what to list.
        name: of the corpus, for messages.
        split: of utterances that state none.

    Raises:
        DatasetError: when the corpus names a split that file names and `datasets` cannot have, or a column
            mixes types.
    """
    splits = [item.split or split for item in utterances]
    for one in set(splits):
        if not is_split(one):
            raise DatasetError(
                f"The corpus {name} has the split {one!r}; a split's name may hold letters, digits, "
                "underscores and single dots, such as 'train.clean.100'."
            )
    values: dict[str, list[Any]] = {"split": splits, "shard": [None] * len(utterances)}
    columns = {
        name: _array(name, values.get(name) or [getattr(item, name) for item in utterances], kind)
        for name, kind in PLAN_COLUMNS
    }
    if any(item.fault is not None for item in utterances):
        columns[FAULT] = pa.array([item.fault for item in utterances], type=pa.string())
    for own in dict.fromkeys(name for item in utterances for name in item.extra):
        columns[OWN + own] = _array(own, [item.extra.get(own) for item in utterances])
    return pa.table(columns)


def to_bytes(table: pa.Table) -> bytes:
    """Return a table as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table)
    return bytes(sink.getvalue())


def from_bytes(content: bytes) -> pa.Table:
    """Return the table in an Arrow stream."""
    return pa.ipc.open_stream(content).read_all()


class Listing:
    """Keeps the rows of a corpus on disk, and gives them out as often as wanted.

    Rows are ordered by split, and within one as the corpus has them. They have `PLAN_COLUMNS`, with `shard` null, and the
    corpus's own columns, of which a name that means something here gets the prefix `corpus_`. An utterance with the id of one
    before it in the corpus has a fault that names that one, and no length.

    Args:
        tables: all rows, as `rows_of` gives them, in tables of any length.
        info: the tokenizer, whose streams are columns too.
        advice: what to do where ids are not unique.

    Raises:
        DatasetError: when a column mixes types, or most ids of a large corpus are those of others.
    """

    def __init__(self, tables: Iterable[pa.Table], info: TokenizerInfo, *, advice: str = "") -> None:
        self._folder = OwnedFolder()
        self._files: list[tuple[Path, set[str]]] = []
        self._held = pa.schema([])
        self._hashes = array("q")  # of ids, 8 bytes each
        self._advice, self._checked = advice, MANY_ROWS
        waiting, rows = list[pa.Table](), 0
        for table in tables:
            waiting.append(table)
            rows += len(table)
            if rows >= BATCH_ROWS:
                self._add(waiting)
                waiting, rows = [], 0
        self._add(waiting)
        self._mark_repeated()
        own = [name for name in self._held.names if name.startswith(OWN)]
        self._names = _own_names([name.removeprefix(OWN) for name in own], info)

    @property
    def _planned(self) -> list[tuple[str, pa.DataType]]:
        return [
            *PLAN_COLUMNS,
            *((name, pa.string()) for name in (FAULT, ERROR) if name in self._held.names),
        ]

    @property
    def schema(self) -> pa.Schema:
        """Columns of the rows."""
        own = {field.name: field.type for field in self._held if field.name.startswith(OWN)}
        return pa.schema(
            [
                *self._planned,
                *(
                    (name, pa.string() if pa.types.is_null(own[OWN + theirs]) else own[OWN + theirs])
                    for theirs, name in self._names.items()
                ),
            ]
        )

    def batches(self) -> Iterator[pa.Table]:
        """Yield all rows in order, in tables of any length."""
        names = [*(name for name, _ in self._planned), *(OWN + name for name in self._names)]
        for split in sorted(set[str]().union(*(splits for _, splits in self._files))):
            for file, splits in self._files:
                if split in splits:
                    rows = _fitted(_read(file), self._held)
                    rows = rows if len(splits) == 1 else rows.filter(pc.equal(rows["split"], split))
                    yield rows.select(names).rename_columns(self.schema.names).cast(self.schema)

    def _add(self, tables: Sequence[pa.Table]) -> None:
        try:
            self._held = pa.unify_schemas(
                [self._held, *(table.schema for table in tables)], promote_options="permissive"
            )
        except pa.ArrowException as error:
            reason = " ".join(str(error).split()).replace(OWN, "")
            named = re.search(r"Field (.+?) has incompatible", reason)
            raise DatasetError(_mixed(named[1] if named else "", reason)) from error
        if not any(map(len, tables)):
            return
        whole = pa.concat_tables([_fitted(table, self._held) for table in tables])
        file = self._folder.path / f"{len(self._files):06d}.arrow"
        _write(file, whole)
        self._files.append((file, set(whole["split"].unique().to_pylist())))
        self._hashes.extend(map(hash, whole["id"].to_pylist()))
        while len(self._hashes) >= self._checked:
            self._check_ids(self._checked)
            self._checked *= 2

    def _check_ids(self, count: int) -> None:
        """Raise `DatasetError` when most of so many utterances have the id of another: a file of some kilobytes can list millions."""
        if 2 * len(np.unique(np.frombuffer(self._hashes, np.int64, count))) < count:
            raise DatasetError(
                f"Of the first {count:,} utterances, more than half have the id of one before them; ids must be unique. {self._advice or 'Give each its own.'}"
            )

    def _mark_repeated(self) -> None:
        """Give utterances with the id of one before them the fault that says so."""
        suspects = repeated(np.frombuffer(self._hashes, np.int64))
        del self._hashes
        seen: dict[str, str] = {}  # recording of the first utterance of each suspected id
        for file, _ in self._files if suspects else ():
            table = _read(file)
            told: list[str | None] = [None] * len(table)
            for number, (name, audio) in enumerate(
                zip(table["id"].to_pylist(), table["audio"].to_pylist(), strict=True)
            ):
                if name in seen:
                    told[number] = (
                        f"{audio!r} has the id '{name}', which {seen[name]!r} before it has; ids must be unique, so only the first one "
                        f"is tokenized. {self._advice or _OTHER_ID}"
                    )
                elif hash(name) in suspects:
                    seen[name] = audio
            if any(told):
                _write(file, _with_faults(table, told))
                self._held = pa.unify_schemas(
                    [self._held, pa.schema([(FAULT, pa.string()), (ERROR, pa.string())])]
                )


def _with_faults(table: pa.Table, told: list[str | None]) -> pa.Table:
    """Return rows of which some have the fault that their id is another's."""
    own = table[FAULT] if FAULT in table.column_names else pa.nulls(len(table), pa.string())
    is_repeated = pc.is_valid(pa.array(told, pa.string()))
    columns = dict(zip(table.column_names, table.columns, strict=True))
    columns["seconds"] = pc.if_else(is_repeated, pa.scalar(None, pa.float64()), table["seconds"])
    columns[FAULT] = pc.if_else(is_repeated, pa.array(told, pa.string()), own)
    columns[ERROR] = pc.if_else(is_repeated, DUPLICATE_ID, pa.scalar(None, pa.string()))
    return pa.table(columns)


def _read(file: Path) -> pa.Table:
    with pa.OSFile(str(file)) as source:
        return pa.ipc.open_stream(source).read_all()


def _write(file: Path, table: pa.Table) -> None:
    options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
    with (
        pa.OSFile(str(file), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema, options=options) as out,
    ):
        out.write_table(table)


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with exactly the columns and types of a schema; what it lacks is null."""
    known = dict(zip(table.column_names, table.columns, strict=True))
    columns = list[Any]()
    for field in schema:
        try:
            columns.append(
                known[field.name].cast(field.type)
                if field.name in known
                else pa.nulls(len(table), field.type)
            )
        except pa.ArrowException as error:
            raise DatasetError(_mixed(field.name.removeprefix(OWN), " ".join(str(error).split()))) from error
    return pa.table(columns, schema=schema)


def _own_names(names: Iterable[str], info: TokenizerInfo) -> dict[str, str]:
    """Return the name that each of the corpus's own columns has here."""
    names = dict.fromkeys(names)
    taken = column_names(info) | {name for name, _ in PLAN_COLUMNS} | {FAULT, ERROR}
    found = {}
    for name in names:
        ours = name
        while ours in taken or (ours != name and ours in names):
            ours = f"corpus_{ours}"
        found[name] = ours
    return found


def _array(name: str, values: list[Any], kind: pa.DataType | None = None) -> pa.Array:
    try:
        return pa.array(values, type=kind)
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        reason = " ".join(str(error).split())
        raise DatasetError(_mixed(name, reason)) from error


def _mixed(name: str, reason: str) -> str:
    return f"The manifest's column {name} mixes types or holds what Parquet cannot: {reason}."
