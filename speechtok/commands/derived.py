"""Token datasets → another token dataset, into which codes are copied: nothing is encoded again.

Contents: `Derived`, `select_rows`, `merge_datasets`, `join_columns`.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speechtok.commands.tokenize import finish
from speechtok.corpora.lines import Lines, read_lines
from speechtok.corpora.manifest import delimited
from speechtok.engine.output_lock import check_output, output_lock
from speechtok.engine.settings import JobSettings
from speechtok.errors import DatasetError
from speechtok.shards.conditions import Condition
from speechtok.shards.layout import Layout
from speechtok.shards.ledger import Ledger
from speechtok.shards.parquet import open_parquet, read_group
from speechtok.shards.parts import PartRecord, commit, part_record
from speechtok.shards.plan import PLAN_COLUMNS, Plan, ShardTask, has_plan, read_plan
from speechtok.shards.reader import TokenDataset
from speechtok.shards.rows import Rows
from speechtok.shards.schema import column_names, read_annotations, stream_type
from speechtok.shards.verify import has_dropped
from speechtok.shards.writer import ShardWriter, fitted, write_table
from speechtok.storage import AnyPath, OwnedFolder, as_path, copy_bytes, file_sha256, relative
from speechtok.tokens import StreamInfo, TokenizerInfo, with_codebooks
from speechtok.utterances import RESERVED_COLUMNS
from speechtok.version import __version__
from speechtok.wording import count_text, duration_text, size_text

SHARD_SECONDS = 3600.0
"""Audio per shard, in seconds."""
LABELS = ("text", "speaker", "language")
"""Columns that every dataset has and whose cells may be empty."""
Array = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Derived:
    """What came of it."""

    rows: int
    """Utterances of the new dataset."""
    seconds: float
    """Their audio."""
    bytes: int
    """Size of its shards."""
    shards: int
    """How many shards it has."""
    shards_made: int
    """How many of them this call made; the others were there."""
    unmatched: int = 0
    """Rows of which a joined table says nothing, and which stayed as they were."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """By reason, how many rows a filter left out."""

    def __str__(self) -> str:
        here = "" if self.shards_made else "; all of it was there already"
        return f"{count_text(self.rows, 'utterance')}, {duration_text(self.seconds)}, {size_text(self.bytes)}{here}."


def select_rows(
    dataset: str | AnyPath,
    output: str | AnyPath,
    *,
    split: str | None = None,
    ids: Iterable[str] | None = None,
    where: str | Sequence[str] = (),
    streams: Sequence[str] | None = None,
    num_codebooks: int | None = None,
    columns: Sequence[str] | None = None,
    allow_partial: bool = False,
) -> Derived:
    """Make a token dataset of some rows, streams, codebooks or columns of another one.

    What is interrupted is finished by the same call; it gives the same bytes each time.

    Args:
        dataset: a token dataset or token file.
        output: folder of the new one; new, empty, or begun by the same call.
        split: only this split.
        ids: only these utterances, in the order of the dataset.
        where: SQL conditions that must all hold, or one, such as `"duration <= 20"` or `"speaker = 'anna'"`, see
            `speechtok.shards.conditions`; of an empty cell no comparison holds.
        streams: only these streams.
        num_codebooks: only the first ones of each stream, which are the coarse ones.
        columns: which of the further columns, and of `text`, `speaker` and `language`, to keep; None keeps all.
        allow_partial: take what is there of an unfinished dataset.

    Raises:
        DatasetError: when there is no such split, stream, column or id, nothing is left, or the output holds another
            dataset.
        JobError: when the output is in use or cannot be written.
        ValueError: for a condition that is none.
    """
    where = [where] if isinstance(where, str) else where
    source = Source(dataset, split=split, allow_partial=allow_partial)
    wanted = None if ids is None else list(dict.fromkeys(ids))
    info = source.info
    for name in streams or ():
        if name not in [item.name for item in info.streams]:
            have = ", ".join(item.name for item in info.streams)
            raise DatasetError(f"{dataset} has no stream {name}; it has: {have}.")
    if streams is not None:
        info = replace(info, streams=tuple(item for item in info.streams if item.name in streams))
    if num_codebooks is not None and num_codebooks < 1:
        raise ValueError(f"`num_codebooks` must be at least 1, got {num_codebooks}.")
    info = with_codebooks(info, num_codebooks)
    choice = [*LABELS, *source.extra_types]
    kept = set(choice if columns is None else columns)
    if unknown := sorted(kept.difference(choice)):
        raise DatasetError(f"{dataset} has no column {unknown[0]} to choose; it has: {', '.join(choice)}.")
    types = {name: kind for name, kind in source.extra_types.items() if name in kept}
    rows = Chosen(types, kept, wanted, [condition_on(text, source) for text in where])
    options = {
        "split": split,
        "ids": None if wanted is None else hashlib.sha256("\n".join(sorted(wanted)).encode()).hexdigest(),
        "where": list(where),
        "streams": [stream.name for stream in info.streams],
        "num_codebooks": num_codebooks,
        "columns": sorted(kept),
    }
    return derive("select", output, [source], info, options, rows)


def merge_datasets(
    datasets: Sequence[str | AnyPath], output: str | AnyPath, *, allow_partial: bool = False
) -> Derived:
    """Make one token dataset of several of the same tokenizer: the rows of one after those of the other, split by split.

    A column that only some have is empty in the rows of the others.

    Args:
        datasets: token datasets or token files.
        output: folder of the new one; new, empty, or begun by the same call.
        allow_partial: take what is there of unfinished datasets.

    Raises:
        DatasetError: when tokenizers, streams or types of columns differ, an id occurs twice, or the output holds another
            dataset.
        JobError: when the output is in use or cannot be written.
    """
    if not datasets:
        raise ValueError("`datasets` must name at least one dataset.")
    sources = [Source(item, allow_partial=allow_partial) for item in datasets]
    first, *others = sources
    types = dict(first.extra_types)
    for source in others:
        if source.info != first.info:
            raise DatasetError(
                f"{source.place} holds tokens of '{source.info.name}' ({source.info.fingerprint}), and {first.place} of "
                f"'{first.info.name}' ({first.info.fingerprint}), or with other streams or codebooks; only tokens of one kind can "
                "be merged: select what both have, or encode one of them anew."
            )
        for name, kind in source.extra_types.items():
            if types.setdefault(name, kind) != kind:
                raise DatasetError(
                    f"{source.place} has the column '{name}' as {kind}, and another dataset as {types[name]}; leave it out of one of "
                    "them with `speechtok select`."
                )
    return derive("merge", output, sources, first.info, {}, Chosen(types))


def join_columns(
    dataset: str | AnyPath,
    table: str | AnyPath,
    output: str | AnyPath,
    *,
    ignore_unknown: bool = False,
    allow_partial: bool = False,
) -> Derived:
    """Make a token dataset with columns from a table, such as other transcripts or speakers.

    Args:
        dataset: a token dataset or token file.
        table: .tsv or .csv file with a header; its column `id` names rows, the others replace columns of the dataset or are
            added. An empty cell empties the cell; rows it does not name stay as they are.
        output: folder of the new dataset; new, empty, or begun by the same call.
        ignore_unknown: pass over lines whose id the dataset does not have.
        allow_partial: take what is there of an unfinished dataset.

    Raises:
        DatasetError: when the table cannot be read, repeats an id, names one that is not there or a column that says how the
            tokens were made, or holds what a column cannot; or when the output holds another dataset.
        JobError: when the output is in use or cannot be written.
    """
    source = Source(dataset, allow_partial=allow_partial)
    joined = _Joined(as_path(table), source, ignore_unknown)
    return derive("join", output, [source], source.info, {"sha256": file_sha256(as_path(table))}, joined)


class Source:
    """A dataset that rows come from, and what is taken of it."""

    def __init__(self, place: str | AnyPath, *, split: str | None = None, allow_partial: bool) -> None:
        self._rows = TokenDataset(place, split=split, allow_partial=allow_partial)
        self.place, self.info, self.card = place, self._rows.info, self._rows.card
        self.files = self._rows.files
        self._reader = self.files[0], open_parquet(self.files[0])
        schema = self._reader[1].schema_arrow
        self.annotations = read_annotations(schema, str(self.files[0]))
        types = {field.name: field.type for field in schema}
        self._types = types
        known, taken = column_names(self.info), {name for name, _ in PLAN_COLUMNS}
        self._theirs = {
            f"corpus_{name}" if name in taken - {"start"} else name: name
            for name in types
            if name not in known
        }
        self.extra_types = {name: types[theirs] for name, theirs in self._theirs.items()}
        self.splits = list(dict.fromkeys(self._rows.file_splits))

    def facts(self) -> dict[str, str]:
        """Return what tells this dataset, as it is now, from others."""
        root = self._rows.path
        listed = [
            (relative(file, root) if file != root else file.name, file.stat().st_size) for file in self.files
        ]
        return {"name": root.name, "files": hashlib.sha256(repr(listed).encode()).hexdigest()}

    def groups(self, split: str) -> Iterator[tuple[AnyPath, int]]:
        """Yield the row groups of a split."""
        for file, own in zip(self.files, self._rows.file_splits, strict=True):
            if own == split:
                yield from ((file, group) for group in range(self._opened(file).metadata.num_row_groups))

    def about(self, file: AnyPath, group: int) -> pa.Table:
        """Return all but the codes and vectors of a row group, under the names they have in the output."""
        names = [name for name in self._types if name in column_names(self.info) and name not in self._heavy]
        table = read_group(self._opened(file), file, group, [*names, *self._theirs.values()])
        rows, rate = len(table), self.info.sample_rate
        samples = Rows(table.select(["id", "num_samples"]), self.info, file).num_samples
        columns: dict[str, Any] = {
            "id": table["id"].cast(pa.string()),
            "num_samples": pa.array(samples),
            "duration": pa.array(samples / rate),
            "audio": pc.coalesce(
                *(table[name].cast(pa.string()) for name in ("audio", "id") if name in names)
            ),
            "source_sample_rate": table["source_sample_rate"].cast(pa.int32())
            if "source_sample_rate" in names
            else pa.array(np.full(rows, rate, dtype=np.int32)),
        }
        for name in LABELS:
            columns[name] = table[name].cast(pa.string()) if name in names else pa.nulls(rows, pa.string())
        return pa.table(columns | {name: table[theirs] for name, theirs in self._theirs.items()})

    def codes(self, file: AnyPath, group: int) -> Rows:
        """Return the rows of a row group with their codes."""
        names = [*(stream.name for stream in self.info.streams), "id", "num_samples"]
        return Rows(read_group(self._opened(file), file, group, names), self.info, file)

    def tokens(self, file: AnyPath, group: int, info: TokenizerInfo) -> dict[str, Any]:
        """Return the codes and vectors of a row group, of the streams and codebooks of `info`, after a look at each value."""
        table = read_group(self._opened(file), file, group, [*self._heavy, "id", "num_samples"])
        rows = Rows(table, self.info, file)
        _ = rows.num_samples, rows.codes
        vectors = [name for name in ("speaker_embedding", "scale") if name in self._heavy]
        _ = Rows(table.select([*vectors, "id"]), self.info, file).values
        own = {stream.name: stream for stream in self.info.streams}
        kept = {
            item.name: _coarse(table[item.name].combine_chunks(), own[item.name], item)
            for item in info.streams
        }
        return kept | {name: table[name] for name in vectors}

    def _opened(self, file: AnyPath) -> Any:
        if self._reader[0] != file:
            self._reader = file, open_parquet(file)
        return self._reader[1]

    @cached_property
    def _heavy(self) -> list[str]:
        names = [*(stream.name for stream in self.info.streams), "speaker_embedding", "scale"]
        return [name for name in names if name in self._types]


class Chosen:
    """Rows and columns that a dataset keeps.

    Args:
        types: further columns of the output, and `start` where it has segments.
        labels: which of `LABELS` keep what they hold.
        ids: the utterances; None keeps all.
        conditions: what must hold of each.
    """

    def __init__(
        self,
        types: Mapping[str, pa.DataType],
        labels: Iterable[str] = LABELS,
        ids: Sequence[str] | None = None,
        conditions: Sequence[Callable[[pa.Table], Any]] = (),
    ) -> None:
        self.types, self._emptied = types, set(LABELS).difference(labels)
        self.changed = frozenset[str]()  # columns whose cells are no longer those of the source
        self.dropped: dict[str, pa.Table] = {}  # what is listed as left out, by split of the source
        self._ids = None if ids is None else pa.array(ids, type=pa.string())
        self._conditions = conditions
        self._found = 0

    def splits(self, sources: Sequence[Source]) -> list[str]:
        """Return the splits of the output, in order."""
        return list(dict.fromkeys(split for source in sources for split in source.splits))

    def groups(self, source: Source, split: str) -> Iterator[tuple[AnyPath, int]]:
        """Yield the row groups that rows of a split of the output come from."""
        return source.groups(split)

    def keep(self, about: pa.Table, place: tuple[AnyPath, int], split: str) -> Array:
        """Return the positions of the rows of a row group that belong to a split of the output."""
        mask = np.ones(len(about), dtype=bool)
        if self._ids is not None:
            mask &= pc.is_in(about["id"], value_set=self._ids).to_numpy()
            self._found += int(mask.sum())
        for holds in self._conditions:
            mask &= holds(about)
        return np.flatnonzero(mask)

    def change(self, about: pa.Table) -> pa.Table:
        """Return the rows with the columns of the output, but for codes and vectors."""
        columns = {}
        for name, kind in {**dict.fromkeys(RESERVED_COLUMNS), **self.types}.items():
            is_empty = name in self._emptied or name not in about.column_names
            columns[name] = pa.nulls(len(about), kind or pa.string()) if is_empty else about[name]
        return pa.table(columns)

    def ended(self, place: object) -> int:
        """Return how many rows nothing was said of, once all were seen."""
        if self._ids is not None and self._found < len(self._ids):
            raise DatasetError(
                f"{place} lacks {len(self._ids) - self._found:,} of the {len(self._ids):,} ids that were asked for; take them off the list."
            )
        return 0


class _Joined(Chosen):
    """Rows with columns of a table."""

    def __init__(self, table: AnyPath, source: Source, ignore_unknown: bool) -> None:
        self._table, self._ignore = table, ignore_unknown
        if table.suffix not in (".tsv", ".csv"):
            raise DatasetError(
                f"{table} is no .tsv or .csv file; write the columns to one, with `id` in its header."
            )
        lines: dict[str, str] = {}
        cells: dict[str, list[str | None]] = {}
        for place, row in delimited(Lines(table, newline="")):
            name = row.pop("id", None)
            if name is None:
                raise DatasetError(
                    f"{table} {place} has no id; the column `id` must name a row in every line."
                )
            if name in lines:
                raise DatasetError(
                    f"{table} {place} repeats the id '{name}' of {lines[name]}; keep one of them."
                )
            lines[name] = place
            for column, cell in row.items():
                cells.setdefault(column, []).append(cell)
        if not cells:
            raise DatasetError(f"{table} has no rows with columns beside `id`; there is nothing to join.")
        fixed = (column_names(source.info) | {name for name, _ in PLAN_COLUMNS}) - set(LABELS)
        for column in cells:
            if column in fixed:
                raise DatasetError(
                    f"{table} has the column '{column}', which says what the tokens are and cannot be changed; leave it out."
                )
        added = {name: pa.string() for name in cells if name not in (*LABELS, *source.extra_types)}
        super().__init__({**source.extra_types, **added})
        self.changed = frozenset(cells)
        self._lines = pa.array(lines, type=pa.string())
        self._cells = {
            name: self._typed(name, values, self.types.get(name, pa.string()))
            for name, values in cells.items()
        }
        self._unmatched = self._matched = 0

    def change(self, about: pa.Table) -> pa.Table:
        about = super().change(about)
        places = pc.index_in(about["id"], value_set=self._lines)
        has = pc.is_valid(places)
        for name, values in self._cells.items():
            column = pc.if_else(has, values.take(places), about[name])
            about = about.set_column(about.schema.get_field_index(name), name, column)
        self._matched += pc.sum(has).as_py() or 0
        self._unmatched += pc.sum(pc.invert(has)).as_py() or 0
        return about

    def ended(self, place: object) -> int:
        unknown = len(self._lines) - self._matched
        if unknown and not self._ignore:
            raise DatasetError(
                f"{self._table} names {unknown:,} ids that {place} does not have; take these lines out, or pass over them with --ignore-unknown."
            )
        return self._unmatched

    def _typed(self, name: str, values: list[str | None], kind: pa.DataType) -> pa.Array:
        try:
            return pa.array(values, type=pa.string()).cast(kind)
        except pa.ArrowInvalid as error:
            raise DatasetError(
                f"{self._table} has cells in the column '{name}' that are no {kind}: {error}."
            ) from None


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """Rows of one row group that go into the output one after the other."""

    source: Source
    file: AnyPath
    group: int
    rows: Array
    """Positions in the row group."""


def derive(
    kind: str,
    output: str | AnyPath,
    sources: Sequence[Source],
    info: TokenizerInfo,
    options: Mapping[str, Any],
    rows: Chosen,
) -> Derived:
    """Write the dataset: its plan first, then each shard that is not there."""
    layout = Layout(as_path(output))
    check_output(layout)
    listed = OwnedFolder()
    dropped = _dropped_files(rows.dropped, listed.path)
    for source in sources:
        if as_path(source.place) == layout.root:
            raise DatasetError(f"{output} is where the rows come from; write to another folder.")
    kept = _annotations(sources, rows)
    settings = {
        "tokenizer": info.to_dict(),
        "card": sources[0].card,
        "corpus": {"kind": kind, "name": " + ".join(as_path(source.place).name for source in sources)},
        "job": JobSettings().to_dict(),
        "derived": {"sources": [source.facts() for source in sources], "options": dict(options)}
        | kept
        | dropped,
        "speechtok_version": __version__,
    }
    further = [(name, kind) for name, kind in rows.types.items() if name != "start"]
    schema = pa.schema([*PLAN_COLUMNS, *further])
    pieces: list[_Piece] = []
    with output_lock(layout):
        made = Plan.of_tables(settings, schema, _planned(sources, rows, schema, pieces))
        pieces = [piece for piece in pieces if len(piece.rows)]
        ends = np.cumsum([len(piece.rows) for piece in pieces]).tolist()
        unmatched = rows.ended(sources[0].place)
        if not pieces:
            raise DatasetError(f"Nothing is left for {output}: no row is chosen; ask for others.")
        if not has_plan(layout):
            made.write(layout)
        plan = read_plan(layout)
        if dict(plan.settings) != json.loads(json.dumps(settings)) or file_sha256(plan.file) != file_sha256(
            made.file
        ):
            raise DatasetError(
                f"{output} holds another dataset than this command makes from what is there now; write to another folder."
            )
        ledger = Ledger.read(layout, plan)
        missing = ledger.missing(layout, plan.tasks)
        for task in missing:
            ledger.put(_write_part(layout, plan, task, pieces, ends, rows))
            ledger.loose.add(task.number)
        for split in plan.dropped:
            if not has_dropped(layout, plan, split):
                with layout.replacing(layout.dropped(split)) as path, path.open("wb") as file:
                    copy_bytes(listed.path / f"{split}.parquet", file)
        finish(layout, plan, ledger)
    totals = ledger.totals
    return Derived(
        rows=totals.rows,
        seconds=totals.seconds,
        bytes=ledger.bytes,
        shards=len(plan.tasks),
        shards_made=len(missing),
        unmatched=unmatched,
    )


def _annotations(sources: Sequence[Source], rows: Chosen) -> dict[str, Any]:
    """Return what a plan says of the annotations whose columns are kept."""
    found: dict[str, dict[str, Any]] = {}
    for source in sources:
        for item in source.annotations:
            columns = tuple(
                column
                for column in item.columns
                if column.name in rows.types and column.name not in rows.changed
            )
            about = replace(item, columns=columns).to_dict()
            if columns and found.setdefault(item.name, about) != about:
                raise DatasetError(
                    f"{source.place} has columns of the annotation '{item.name}' that were made with other settings or by another version "
                    "than those of another dataset; annotate one of them again with --replace, or leave the columns out with "
                    "`speechtok select`."
                )
    return {"annotations": list(found.values())} if found else {}


def _dropped_files(dropped: Mapping[str, pa.Table], folder: Path) -> dict[str, Any]:
    """Write the rows that are left out into a folder, and return what a plan says of them."""
    facts = {}
    for split, table in dropped.items():
        file = folder / f"{split}.parquet"
        write_table(table, file)
        facts[split] = {"rows": len(table), "bytes": file.stat().st_size, "sha256": file_sha256(file)}
    return {"dropped": facts} if facts else {}


def _planned(
    sources: Sequence[Source], chosen: Chosen, schema: pa.Schema, pieces: list[_Piece]
) -> Iterator[pa.Table]:
    """Yield the rows of the plan, and note where each comes from."""
    seen: dict[str, object] = {}
    for split in chosen.splits(sources):
        seconds, shards = 0.0, _Shards()
        for source in sources:
            for file, group in chosen.groups(source, split):
                about = source.about(file, group)
                rows = chosen.keep(about, (file, group), split)
                about = chosen.change(about.take(pa.array(rows)))
                for name in about["id"].to_pylist():
                    if name in seen:
                        raise DatasetError(
                            f"The id '{name}' is in {seen[name]} and in {source.place}; ids must differ: select other rows of one of them."
                        )
                    seen[name] = source.place
                pieces.append(_Piece(source=source, file=file, group=group, rows=rows))
                durations = about["duration"].to_numpy()
                has_start = "start" in about.column_names
                columns = {
                    **{name: about[name] for name in schema.names if name in about.column_names},
                    "start": about["start"].fill_null(0.0) if has_start else pa.array(np.zeros(len(rows))),
                    "segment_seconds": pc.if_else(pc.is_valid(about["start"]), about["duration"], None)
                    if has_start
                    else pa.nulls(len(rows), pa.float64()),
                    "split": pa.array([split] * len(rows), type=pa.string()),
                    "seconds": about["duration"],
                    "shard": pa.array(shards.of(seconds + np.cumsum(durations) - durations), type=pa.int32()),
                }
                seconds += float(durations.sum())
                yield pa.table([columns[name] for name in schema.names], schema=schema)


class _Shards:
    """Numbers of the shards of one split: a new one whenever the last is full."""

    def __init__(self) -> None:
        self._last, self._number = -1, -1

    def of(self, begins: np.ndarray[Any, Any]) -> list[int]:
        """Return the shard of each row, by the seconds before it."""
        numbers = []
        for full in (begins // SHARD_SECONDS).astype(np.int64).tolist():
            self._number += full != self._last
            self._last = full
            numbers.append(self._number)
        return numbers


def _write_part(
    layout: Layout,
    plan: Plan,
    task: ShardTask,
    pieces: Sequence[_Piece],
    ends: Sequence[int],
    chosen: Chosen,
) -> PartRecord:
    path = layout.part(task.number)
    schema, seconds = plan.token_schema, 0.0
    with layout.temporary(path) as temporary:
        with ShardWriter(temporary, schema, plan.info) as writer:
            last = task.first_row + task.num_rows
            for number in range(bisect_right(ends, task.first_row), bisect_left(ends, last) + 1):
                piece, begin = pieces[number], ends[number] - len(pieces[number].rows)
                rows = pa.array(piece.rows[max(0, task.first_row - begin) : last - begin])
                about = chosen.change(piece.source.about(piece.file, piece.group).take(rows))
                tokens = piece.source.tokens(piece.file, piece.group, plan.info)
                columns = {name: about[name] for name in about.column_names}
                columns |= {name: column.take(rows) for name, column in tokens.items()}
                writer.add_table(fitted(pa.table(columns), schema))
                seconds += float(pc.sum(about["duration"]).as_py())
        record = part_record(task.number, temporary, task.split, rows=task.num_rows, seconds=seconds)
        return commit(layout, temporary, record)


def _coarse(column: Any, stream: StreamInfo, kept: StreamInfo) -> Any:
    """Return the first codebooks of codes, as rows of the kind that a stream of so many has."""
    if stream.num_codebooks == kept.num_codebooks:
        return column.cast(stream_type(kept))
    places = np.arange(len(column))[:, None] * stream.num_codebooks + np.arange(kept.num_codebooks)
    inner = column.flatten().take(pa.array(places.reshape(-1)))
    if kept.num_codebooks > 1:
        offsets = np.arange(len(column) + 1, dtype=np.int32) * kept.num_codebooks
        inner = pa.ListArray.from_arrays(pa.array(offsets), inner)
    return inner.cast(stream_type(kept))


def condition_on(text: str, source: Source) -> Condition:
    """Return a condition on the rows of a dataset, as `Source.about` gives them."""
    types = {"duration": pa.float64(), "num_samples": pa.int64()} | source.extra_types
    types |= {"source_sample_rate": pa.int32(), "id": pa.string(), "audio": pa.string()}
    return Condition(text, types | dict.fromkeys(LABELS, pa.string()), source.place)


def read_ids(file: AnyPath) -> list[str]:
    """Return the ids that a file lists, one a line; blank lines are passed over.

    Raises:
        DatasetError: when an id is there twice, or the file cannot be read.
    """
    ids = [line.rstrip("\r\n") for line in read_lines(file) if line.strip()]
    twice = next((name for name, count in Counter(ids).items() if count > 1), None)
    if twice is not None:
        raise DatasetError(f"{file} lists the id '{twice}' twice; keep one of them.")
    return ids
