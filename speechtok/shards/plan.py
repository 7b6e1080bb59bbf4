"""The frozen plan of a dataset: which utterances go into which shard, in which order, once and for all.

A shard is what one worker makes in one go; what it leaves is a part.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speechtok import limits
from speechtok.errors import DatasetError
from speechtok.shards.annotated import Annotated, Provenance, read_annotated
from speechtok.shards.layout import Layout, check_split, is_there, json_bytes
from speechtok.shards.parquet import RowReader, open_parquet, read_group
from speechtok.shards.schema import FORMAT_VERSION, token_schema
from speechtok.shards.writer import write_table, write_tables
from speechtok.storage import (
    ABSENT,
    AnyPath,
    OwnedFolder,
    StorePath,
    copy_bytes,
    file_sha256,
    put_in_place,
)
from speechtok.tokens import TokenizerInfo

PLAN_COLUMNS = (
    ("id", pa.string()),
    ("audio", pa.string()),
    ("start", pa.float64()),
    ("segment_seconds", pa.float64()),
    ("split", pa.string()),
    ("text", pa.string()),
    ("speaker", pa.string()),
    ("language", pa.string()),
    ("seconds", pa.float64()),
    ("shard", pa.int32()),
)
"""Columns of the frozen utterances; corpus columns follow. `seconds` is null where probing failed."""
FAULT = "plan:fault"
"""Column of the frozen utterances in which those say why, that the corpus itself shows to be unreadable; only where there are such."""
ERROR = "plan:error"
"""Column with the type of that error; only where it is another than `DatasetError` for some."""
DUPLICATE_ID = "DuplicateId"
"""Type of the error of an utterance with the id of one before it in the corpus."""


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """One shard to be made: a place in the plan, small enough to send anywhere."""

    number: int
    """Number in the plan, over all splits; that of its part."""
    split: str
    """Split it belongs to."""
    index: int
    """Number within the split."""
    count: int
    """Shards of the split."""
    seconds: float
    """Seconds of audio expected, by the files' headers."""
    first_row: int
    """Where its utterances begin in the plan."""
    num_rows: int
    """How many there are."""
    file: AnyPath
    """The plan's utterances."""

    @property
    def name(self) -> str:
        """Name for messages, such as "train-00003-of-00016"."""
        return f"{self.split}-{self.index:05d}-of-{self.count:05d}"

    @property
    def rows(self) -> pa.Table:
        """The utterances, with the plan's columns, in order; `PlanRows` reads those of many shards."""
        return PlanRows(self.file).of(self)


class PlanRows:
    """The utterances of the shards of a plan, for who asks for many of them, one after the other.

    Args:
        file: the plan's utterances.
        columns: only these, in the plan's order; None reads all.
    """

    def __init__(self, file: AnyPath, columns: Sequence[str] | None = None) -> None:
        self._file, self._reader = file, RowReader(file, columns)

    def of(self, task: ShardTask) -> pa.Table:
        """Return the utterances of a shard, in order.

        Raises:
            DatasetError: when they cannot be read.
        """
        tables = self._reader.rows(task.first_row, task.first_row + task.num_rows)
        return pa.concat_tables(_whole(table, self._file) for table in tables)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a dataset will hold. Its utterances stay on disk, however many there are."""

    settings: Mapping[str, Any]
    """Everything that decides the rows: tokenizer, card, corpus, batching, shard size."""
    file: AnyPath
    """Parquet file of all utterances in shard order, with `PLAN_COLUMNS` and the corpus's own columns."""
    annotated: Annotated = field(default_factory=Annotated)
    """What annotations have added to the rows since they were made."""
    listing: Sequence[int] | None = field(default=None, repr=False)
    """Of each file of the corpus a hash of its name, size and version; only of a plan that was not frozen yet."""
    keep: OwnedFolder | None = field(default=None, repr=False)
    """What `file` vanishes with, for a plan that was not frozen yet."""

    @classmethod
    def of_tables(cls, settings: Mapping[str, Any], schema: pa.Schema, tables: Iterable[pa.Table]) -> Plan:
        """Return a plan that is not frozen yet.

        Args:
            settings: as in the field.
            schema: `PLAN_COLUMNS`, and the corpus's own columns.
            tables: all utterances in shard order.
        """
        folder = OwnedFolder()
        file = folder.path / "plan.parquet"
        write_tables(tables, schema, file)
        return cls(settings=settings, file=file, keep=folder)

    @property
    def info(self) -> TokenizerInfo:
        """The tokenizer the dataset is made with."""
        return TokenizerInfo.from_dict(self.settings["tokenizer"])

    @property
    def card(self) -> dict[str, Any]:
        """The tokenizer's card, as plain values."""
        return dict(self.settings["card"])

    @property
    def dropped(self) -> dict[str, dict[str, Any]]:
        """By split, `rows`, `bytes` and `sha256` of the files of rows that a filter left out of this dataset."""
        return dict(self.settings.get("derived", {}).get("dropped", {}))

    @cached_property
    def annotations(self) -> tuple[Provenance, ...]:
        """What has added columns: to the datasets that this one was derived from, and to this one since."""
        derived = self.settings.get("derived", {}).get("annotations", ())
        known = {item["name"]: Provenance.from_dict(item) for item in derived}
        return tuple((known | {item.name: item for item in self.annotated.provenances}).values())

    @cached_property
    def token_schema(self) -> pa.Schema:
        """Columns and metadata of the files of tokens."""
        return token_schema(self.info, self.card, self.extra_types, self.annotations)

    @property
    def rows(self) -> pa.Table:
        """All utterances at once; `batches` reads them bit by bit."""
        tables = list(self.batches())
        return pa.concat_tables(tables) if tables else self.schema.empty_table()

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the utterances in order, some thousands at a time.

        Args:
            columns: only these, in the plan's order; None reads all.
        """
        reader = open_parquet(self.file)
        for group in range(reader.metadata.num_row_groups):
            yield _whole(read_group(reader, self.file, group, columns), self.file)

    @cached_property
    def schema(self) -> pa.Schema:
        """Columns of the utterances."""
        return open_parquet(self.file).schema_arrow

    @property
    def num_rows(self) -> int:
        """Utterances planned."""
        return sum(task.num_rows for task in self.tasks)

    @cached_property
    def extra_types(self) -> dict[str, pa.DataType]:
        """Types of the corpus's own columns, and of `start` when utterances are segments of recordings."""
        known = {name for name, _ in PLAN_COLUMNS} | {FAULT, ERROR}
        extra = {item.name: item.type for item in self.schema if item.name not in known}
        has_segments = any(
            rows["segment_seconds"].null_count < len(rows) or bool(pc.max(rows["start"]).as_py())
            for rows in self.batches(["start", "segment_seconds"])
        )
        return {**({"start": pa.float64()} if has_segments else {}), **extra}

    @cached_property
    def labels(self) -> dict[str, int]:
        """How many utterances have a text, a speaker and a language."""
        found = dict.fromkeys(("text", "speaker", "language"), 0)
        for rows in self.batches(list(found)):
            for name in found:
                found[name] += pc.sum(pc.greater(pc.binary_length(rows[name]), 0)).as_py() or 0
        return found

    @property
    def splits(self) -> list[str]:
        """Splits in the order they were planned."""
        return list(dict.fromkeys(task.split for task in self.tasks))

    @cached_property
    def tasks(self) -> list[ShardTask]:
        """The shards, in order."""
        found: dict[tuple[str, int], list[float]] = {}  # rows and seconds
        last = None
        for rows in self.batches(["split", "seconds", "shard"]):
            for key, count, seconds in _runs(rows):
                if key in found and key != last:
                    raise DatasetError(
                        f"{self.file} is no plan that speechtok makes: it lists a shard in several places."
                    )
                item, last = found.setdefault(key, [0, 0.0]), key
                item[0] += count
                item[1] += seconds
        counts = Counter(split for split, _ in found)
        firsts = accumulate((int(rows) for rows, _ in found.values()), initial=0)
        return [
            ShardTask(
                number=number,
                split=split,
                index=index,
                count=counts[split],
                seconds=seconds,
                first_row=first,
                num_rows=int(rows),
                file=self.file,
            )
            for number, (((split, index), (rows, seconds)), first) in enumerate(
                zip(found.items(), firsts, strict=False)
            )
        ]

    @property
    def seconds(self) -> float:
        """Seconds of audio expected, by the files' headers."""
        return sum(task.seconds for task in self.tasks)

    def write(self, layout: Layout) -> None:
        """Freeze the plan: the listing and the utterances first, then the settings with their hash."""
        if self.listing is not None:
            with layout.replacing(layout.listing) as listing:
                write_table(pa.table({"file": pa.array(self.listing, pa.int64())}), listing)
        with layout.temporary(layout.plan_rows) as rows, layout.temporary(layout.plan) as settings:
            with rows.open("wb") as file:
                copy_bytes(self.file, file)
            content = {
                "format_version": FORMAT_VERSION,
                "settings": dict(self.settings),
                "settings_sha256": _settings_sha256(self.settings),
                "utterances": self.num_rows,
                "utterances_sha256": file_sha256(rows),
            }
            settings.write_bytes(json_bytes(content))
            _freeze(layout, rows, layout.plan_rows)
            _freeze(layout, settings, layout.plan)


def without_faults(rows: pa.Table) -> pa.Table:
    """Return the rows of a plan whose utterances are tried."""
    return rows.filter(pc.is_null(rows[FAULT])) if FAULT in rows.column_names else rows


def _whole(rows: pa.Table, source: AnyPath) -> pa.Table:
    """Return rows of a plan.

    Raises:
        DatasetError: when they lack what every row has, or state lengths that cannot be.
    """
    for name in ("id", "audio", "start", "split", "shard"):
        if name in rows.column_names and rows[name].null_count:
            raise DatasetError(f"{source} is no plan that speechtok makes: it has rows without `{name}`.")
    for name in ("start", "segment_seconds", "seconds"):
        values = rows[name].drop_null().to_numpy() if name in rows.column_names else np.zeros(0)
        if len(values) and not (np.isfinite(values).all() and values.min() >= 0):
            raise DatasetError(
                f"{source} is no plan that speechtok makes: it has rows whose `{name}` is no time."
            )
    return rows


def _runs(rows: pa.Table) -> list[tuple[tuple[str, int], int, float]]:
    """Return split and shard of rows that follow each other, how many they are, and their seconds."""
    split = rows["split"].combine_chunks().dictionary_encode().indices.to_numpy()
    shard, seconds = rows["shard"].to_numpy(), rows["seconds"].fill_null(0.0).to_numpy()
    begins = np.flatnonzero((np.diff(split, prepend=-1) != 0) | (np.diff(shard, prepend=-1) != 0))
    keys = zip(rows["split"].take(begins).to_pylist(), shard[begins].tolist(), strict=True)
    counts = np.diff(begins, append=len(rows)).tolist()
    return list(zip(keys, counts, np.add.reduceat(seconds, begins).tolist(), strict=True))


def has_plan(layout: Layout) -> bool:
    """Return whether a plan was frozen here.

    Raises:
        DatasetError: when that cannot be found out.
    """
    return is_there(layout.plan)


def read_plan(layout: Layout) -> Plan:
    """Return the frozen plan.

    Raises:
        DatasetError: when there is none, or its files are damaged.
    """
    if not has_plan(layout):
        if isinstance(layout.root, StorePath):
            layout.root.is_dir()  # a bucket that is missing has a sentence of its own
        raise DatasetError(
            f"{layout.root} is no token dataset made by `speechtok tokenize`: it has no {layout.relative(layout.plan)}."
        )
    if isinstance(layout.updated, Path) and layout.updated.is_dir():
        raise DatasetError(
            f"An update of {layout.root} was interrupted when its files were about to be moved to their places; run it again."
        )
    content = read_json(layout.plan)
    version = content.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise DatasetError(f"{layout.plan} has a newer format than this speechtok reads; upgrade speechtok.")
    settings: Any = content.get("settings")
    try:
        is_frozen = content.get("settings_sha256") == _settings_sha256(settings)
    except RecursionError:
        is_frozen = False
    if not is_frozen:
        raise DatasetError(
            f"{layout.plan} is damaged: its settings are not those that were frozen; "
            "restore the file or tokenize into another folder."
        )
    _check_settings(settings, layout.plan)
    try:
        is_frozen = file_sha256(layout.plan_rows) == content.get("utterances_sha256")
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            raise DatasetError(f"{layout.plan_rows} cannot be read: {error}.") from error
        is_frozen = False
    if not is_frozen:
        raise DatasetError(
            f"{layout.plan_rows} is missing or damaged, so nothing can be said about this dataset; "
            "restore the file or tokenize into another folder."
        )
    plan = Plan(settings=settings, file=layout.plan_rows.resolve(), annotated=read_annotated(layout))
    _check_rows(plan)
    return plan


def _check_settings(settings: Any, source: AnyPath) -> None:
    """Raise `DatasetError` unless the settings of a plan have what every reader of it relies on."""
    try:
        TokenizerInfo.from_dict(settings["tokenizer"])
        parts = [settings["card"], settings.get("corpus", {}), settings.get("job", {})]
        texts = [*(settings.get("corpus") or {}).values(), settings.get("speechtok_version", "")]
        texts += [settings["card"].get(name, "") for name in ("licence_code", "citation")]
        parts += settings["card"].get("files") or []
        derived, numbers = settings.get("derived", {}), list[Any]()
        parts += [derived, derived.get("dropped", {}), *derived.get("dropped", {}).values()]
        for item in derived.get("annotations", ()):
            Provenance.from_dict(item)
        for split, item in derived.get("dropped", {}).items():
            check_split(split, str(source))
            texts.append(item["sha256"])
            numbers += [item["rows"], item["bytes"]]
        is_right = all(
            isinstance(item, kind)
            for kind, items in ((dict, parts), (str, texts), (int, numbers))
            for item in items
        )
        is_right = is_right and float(settings.get("run_seconds") or 1) > 0
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DatasetError(
            f"{source} is no plan that speechtok makes: its settings lack something ({error!r})."
        ) from error
    if not is_right:
        raise DatasetError(f"{source} is no plan that speechtok makes: its settings are of other kinds.")


def _check_rows(plan: Plan) -> None:
    """Raise `DatasetError` unless a plan has its columns, and splits and shards that can be."""
    schema = plan.schema
    faults = [(name, pa.string()) for name in (FAULT, ERROR) if name in schema.names]
    for name, kind in (*PLAN_COLUMNS, *faults):
        found = schema.get_all_field_indices(name)
        if len(found) != 1 or schema.field(found[0]).type != kind:
            raise DatasetError(
                f"{plan.file} is no plan that speechtok makes: it has no column '{name}' of type {kind}."
            )
    if len(set(schema.names)) < len(schema.names):
        raise DatasetError(f"{plan.file} is no plan that speechtok makes: it has a column twice.")
    numbers: dict[str, int] = {}
    for task in plan.tasks:
        check_split(task.split, str(plan.file))
        if task.index != numbers.get(task.split, 0):
            raise DatasetError(
                f"{plan.file} is no plan that speechtok makes: the shards of split '{task.split}' are not numbered 0, 1, 2 …, one after the other."
            )
        numbers[task.split] = task.index + 1


def _freeze(layout: Layout, file: Path, path: AnyPath) -> None:
    """Put a file of the plan in place, unless another job has frozen another plan meanwhile."""
    if not isinstance(path, StorePath):
        put_in_place(file, path)
        return
    sha256 = file_sha256(file)
    if path.put(file, sha256=sha256, replaces=ABSENT) is not None:
        return
    head = path.stat()
    is_same = (head.sha256 or file_sha256(path)) == sha256
    if not is_same and (has_plan(layout) or path.put(file, sha256=sha256, replaces=head.version) is None):
        raise DatasetError(
            f"Another job has frozen a plan in {layout.root} meanwhile; run the same command again, or use another place."
        )


def _settings_sha256(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def read_json(path: AnyPath) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        DatasetError: when the file cannot be read as one.
    """
    content = limits.read_json(path, error=DatasetError)
    if not isinstance(content, dict):
        raise DatasetError(f"{path} is damaged: it holds no JSON object.")
    return content
