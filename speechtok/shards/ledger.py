"""What is known of a dataset's parts and files: read once, then kept in memory with running totals.

manifest.parquet, .speechtok/parts.parquet     files and parts of a finished dataset
.speechtok/parts/, .speechtok/files/           parts and records of a job that is not finished: newer than the former
.speechtok/shards/                             records of a dataset of format version 1: each of its files is one part
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TypeVar

import pyarrow as pa

from speechtok.errors import DatasetError
from speechtok.shards.layout import Layout, is_there
from speechtok.shards.manifest import FileRecord, read_file_record, read_manifest
from speechtok.shards.parquet import open_parquet, read_group
from speechtok.shards.parts import (
    Failure,
    PartRecord,
    is_intact,
    parse_record,
    read_part,
    read_small,
)
from speechtok.shards.plan import Plan, ShardTask
from speechtok.shards.writer import write_table
from speechtok.storage import AnyPath

THREADS = 32
"""Records are read, and files looked for, in this many threads: in a store each is a request that has to be waited for."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Totals:
    """Sums over parts."""

    rows: int = 0
    """Token rows."""
    seconds: float = 0.0
    """Seconds of audio."""
    quarantined: int = 0
    """Inputs that failed."""


class Ledger:
    """Parts by number, and files by path inside the dataset.

    Args:
        parts: records of the parts.
        files: records of the files.
        loose: numbers of the parts whose own file is there.
    """

    def __init__(
        self, parts: Iterable[PartRecord] = (), files: Iterable[FileRecord] = (), loose: Iterable[int] = ()
    ) -> None:
        self.parts: dict[int, PartRecord] = {}
        self.files = {file.file: file for file in files}
        self.loose = set(loose)
        self._rows = self._quarantined = 0
        self._seconds = 0.0
        for part in parts:
            self.put(part)

    def put(self, part: PartRecord) -> None:
        """Add a part, or let it stand for an earlier one of its number."""
        self.drop(part.number)
        self.parts[part.number] = part
        self._rows += part.rows
        self._seconds += part.seconds
        self._quarantined += len(part.quarantined)

    def drop(self, number: int) -> None:
        """Forget a part."""
        if (part := self.parts.pop(number, None)) is not None:
            self._rows -= part.rows
            self._seconds -= part.seconds
            self._quarantined -= len(part.quarantined)

    @property
    def in_order(self) -> list[PartRecord]:
        """The parts in the order of the plan."""
        return [self.parts[number] for number in sorted(self.parts)]

    @property
    def totals(self) -> Totals:
        """Sums over all parts."""
        seconds = sum(
            part.seconds for part in self.in_order
        )  # the same whatever the order in which they came
        return Totals(self._rows, seconds, self._quarantined)

    @property
    def quarantined(self) -> int:
        """How many inputs failed."""
        return self._quarantined

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in self.files.values())

    def failures(self, split: str | None = None) -> Iterator[Failure]:
        """Yield the inputs that failed, of one split or all, in plan order."""
        for part in self.in_order:
            for item in part.splits:
                if split in (None, item.split):
                    yield from item.quarantined

    def rows(self, split: str) -> int:
        """Return how many rows a split has."""
        return sum(item.rows for part in self.parts.values() for item in part.splits if item.split == split)

    def seconds(self, split: str) -> float:
        """Return how many seconds of audio a split has."""
        return sum(item.seconds for part in self.in_order for item in part.splits if item.split == split)

    def parts_of(self, file: FileRecord) -> list[PartRecord]:
        """Return the parts whose rows of its split are in a file, in order.

        Raises:
            DatasetError: naming one whose record is not there.
        """
        found = []
        for number in range(file.first_part, file.last_part + 1):
            if number not in self.parts:
                raise DatasetError(f"The record of part {number}, whose rows {file.file} holds, is lost.")
            part = self.parts[number]
            found += [part] if any(item.split == file.split for item in part.splits) else []
        return found

    def missing(self, layout: Layout, tasks: Sequence[ShardTask]) -> list[ShardTask]:
        """Return the tasks whose rows are not all there; what is damaged is forgotten."""
        for file, found in _in_threads(
            lambda file: is_intact(layout.root / file.file, file.bytes, file.sha256), self.files.values()
        ):
            if not found:
                del self.files[file.file]
        covered = {
            (number, file.split)
            for file in self.files.values()
            for number in range(file.first_part, file.last_part + 1)
        }
        unsure = [
            part
            for part in self.in_order
            if any(item.rows and (part.number, item.split) not in covered for item in part.splits)
        ]
        for part, found in _in_threads(
            lambda part: is_intact(layout.part(part.number), part.bytes, part.sha256), unsure
        ):
            if not found:
                self.drop(part.number)
        wrong = []
        for task in tasks:
            known = self.parts.get(task.number)
            if known is None or known.rows + len(known.quarantined) != task.num_rows:
                self.drop(task.number)
                wrong.append(task)
        return wrong

    @classmethod
    def read(cls, layout: Layout, plan: Plan) -> Ledger:
        """Return what is known of a dataset.

        Raises:
            DatasetError: when its manifest or its records are damaged or cannot be read.
        """
        files = read_manifest(layout)
        if files is None and is_version_1(layout):
            return _version_1(layout, plan)
        ledger = cls(_recorded(layout) if files is not None else (), files or ())
        numbers, ledger.loose = listed_parts(layout)
        for number, part in _in_threads(lambda number: read_part(layout, number), numbers):
            if part is None:
                ledger.drop(number)  # a damaged record proves nothing
            else:
                ledger.put(part)
        names = [path.name for path in listing(layout.state / "files") if path.name.endswith(".json")]
        for _, file in _in_threads(lambda name: read_file_record(layout, name), names):
            if file is not None:
                ledger.files[file.file] = file
        return ledger

    def write(self, layout: Layout) -> None:
        """Write the records of all parts into one file."""
        rows = [
            {"number": part.number, "record": json.dumps(asdict(part), sort_keys=True)}
            for part in self.in_order
        ]
        schema = pa.schema([("number", pa.int64()), ("record", pa.string())])
        with layout.replacing(layout.parts_table) as path:
            write_table(pa.Table.from_pylist(rows, schema=schema), path)


def listing(folder: AnyPath) -> list[AnyPath]:
    """Return what lies in a folder of a dataset's own; nothing where there is none."""
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def is_version_1(layout: Layout) -> bool:
    """Return whether a dataset has the records of format version 1, where each shard was a file."""
    return (layout.state / "shards").is_dir()


def listed_parts(layout: Layout) -> tuple[list[int], set[int]]:
    """Return the numbers of the parts that have a record, and of those that have a file too; one listing."""
    records, files = [], set()
    for path in listing(layout.parts):
        stem, _, suffix = path.name.partition(".")
        if stem.isdecimal() and layout.part(int(stem)).name.partition(".")[0] == stem:
            if suffix == "json":
                records.append(int(stem))
            elif suffix == "parquet":
                files.add(int(stem))
    return sorted(records), files & set(records)


def _recorded(layout: Layout) -> Iterator[PartRecord]:
    """Yield the records of a finished dataset.

    Raises:
        DatasetError: when they are not there, or damaged.
    """
    if not is_there(layout.parts_table):
        raise DatasetError(
            f"{layout.parts_table} is missing, so nothing proves what {layout.manifest} says; restore it, or tokenize into "
            "another folder."
        )
    reader = open_parquet(layout.parts_table)
    for group in range(reader.metadata.num_row_groups):
        table = read_group(reader, layout.parts_table, group)
        if table.schema.names != ["number", "record"]:
            raise DatasetError(f"{layout.parts_table} is damaged: it has other columns.")
        for row in table.to_pylist():
            record = parse_record(row["record"] or "", row["number"])
            if record is None:
                raise DatasetError(
                    f"{layout.parts_table} is damaged: what it says of part {row['number']} cannot be; restore it, or tokenize "
                    "into another folder."
                )
            yield record


def _version_1(layout: Layout, plan: Plan) -> Ledger:
    """Return what is known of a dataset of format version 1."""
    ledger = Ledger()
    for task, record in _in_threads(lambda task: _shard_record(layout, task), plan.tasks):
        if record is None:
            continue
        part, name = record
        ledger.put(part)
        ledger.files[name] = FileRecord(
            file=name,
            split=task.split,
            sha256=part.sha256,
            bytes=part.bytes,
            fingerprint=plan.info.fingerprint,
            first_part=task.number,
            last_part=task.number,
            parts_sha256="",
            groups=(),
        )
    return ledger


def _shard_record(layout: Layout, task: ShardTask) -> tuple[PartRecord, str] | None:
    """Return the record of format version 1 of a shard, and its file; None when there is none that proves it."""
    content = read_small(layout.state / "shards" / f"{task.split}-{task.index:05d}.json")
    try:
        values = json.loads(content or b"")
        split = {name: values[name] for name in ("split", "rows", "seconds", "quarantined")}
        known = {"sha256": values["sha256"], "bytes": values["bytes"], "splits": [split]}
        record = parse_record(json.dumps({"number": task.number, **known}), task.number)
        is_right = (values["split"], values["index"]) == (task.split, task.index)
        name = f"data/{task.name}.parquet"
        return None if record is None or not is_right or values["file"] != name else (record, name)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _in_threads(call: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
    """Yield each item with what a function says of it, asked in threads."""
    items = list(items)
    with ThreadPoolExecutor(THREADS) as pool:
        yield from zip(items, pool.map(call, items), strict=True)
