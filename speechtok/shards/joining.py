"""Join parts into the files of a dataset, in plan order; or take files apart again, when parts of them are made anew.

    parts ──join──> data/<split>-00000-of-000NN.parquet, its record ──> manifest.parquet

Which parts make up which file follows from the records alone, and the rows of a file alone decide its bytes. A file is put in
place whole, then recorded; only then its parts go. So whatever is interrupted, the same call goes on, and leaves the same bytes;
beside the dataset it needs room for the files that are being written.

Contents: `FileTask`, `planned_files`, `join`, `restore_parts`, `clear`.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from speechtok.errors import DatasetError
from speechtok.shards.layout import Layout
from speechtok.shards.ledger import THREADS, Ledger, is_version_1, listing
from speechtok.shards.manifest import FileRecord, read_manifest, write_file_record, write_manifest
from speechtok.shards.parquet import RowReader
from speechtok.shards.parts import PartRecord, commit, is_intact
from speechtok.shards.plan import Plan
from speechtok.shards.writer import ShardWriter, fitted
from speechtok.storage import StorePath, file_sha256, local_copy, put_in_place, unlink_all
from speechtok.tokens import TokenizerInfo
from speechtok.wording import printable

FILES_AT_ONCE = 2
"""Files that are written at the same time, unless more are asked for …"""
MAX_FILES_AT_ONCE = 8
"""… which so many have room for: each takes its size on the local disk, and a row group in memory."""
MIB = 1 << 20

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class FileTask:
    """One file to be made of parts."""

    split: str
    """The split it belongs to."""
    index: int
    """Number within the split."""
    count: int
    """Files of the split."""
    parts: tuple[PartRecord, ...]
    """What it is made of, in order."""

    @property
    def parts_sha256(self) -> str:
        """Hash of the records of the parts: another one means another file."""
        proofs = [[part.number, part.sha256, *(asdict(item) for item in part.splits)] for part in self.parts]
        return hashlib.sha256(json.dumps(proofs, sort_keys=True).encode()).hexdigest()


def planned_files(parts: Sequence[PartRecord], splits: Sequence[str], file_bytes: float) -> list[FileTask]:
    """Return the files that parts make up: a file ends with the part that fills it.

    Args:
        parts: in plan order.
        splits: names of the splits, in order.
        file_bytes: size of a file, as near as whole parts come; each split has at least one file.
    """
    tasks = []
    for split in splits:
        files: list[list[PartRecord]] = [[]]
        filled = 0.0
        for part in parts:
            rows = sum(item.rows for item in part.splits if item.split == split)
            if rows == 0 and all(item.split != split for item in part.splits):
                continue
            if rows and filled >= file_bytes:
                files.append([])
                filled = 0.0
            files[-1].append(part)
            filled += part.bytes * rows / max(part.rows, 1)
        tasks += [
            FileTask(split=split, index=index, count=len(files), parts=tuple(found))
            for index, found in enumerate(files)
        ]
    return tasks


def join(
    layout: Layout,
    plan: Plan,
    ledger: Ledger,
    *,
    file_mb: float,
    at_once: int | None = None,
    on_file: Callable[[FileRecord], None] = lambda record: None,
) -> None:
    """Make the files of a dataset, then its manifest; what is there already stays.

    Args:
        layout: the dataset.
        plan: what it holds.
        ledger: all its parts.
        file_mb: size of a file, in MiB.
        at_once: files that are written at the same time; None takes a few.
        on_file: called after each file that was made.

    Raises:
        DatasetError: naming a part that is lost or damaged.
    """
    if is_version_1(layout):
        return
    for task in plan.tasks:
        if task.number not in ledger.parts:
            raise DatasetError(
                f"The record of part {task.number} of {layout.root} (shard {task.name}) is lost, although it was made; run the same "
                "command again."
            )
    while (
        True
    ):  # another version of a library may write the same rows in other bytes, and so move where files end
        tasks = {
            layout.relative(layout.file(task.split, task.index, task.count)): task
            for task in planned_files(ledger.in_order, plan.splits, file_mb * MIB)
        }
        stale = [
            file
            for name, file in ledger.files.items()
            if name not in tasks or tasks[name].parts_sha256 != file.parts_sha256
        ]
        if not stale:
            break
        restore_parts(layout, plan, ledger, stale)
    _make_files(layout, plan, ledger, tasks, at_once or FILES_AT_ONCE, on_file)
    files = [ledger.files[name] for name in tasks]
    if read_manifest(layout) != files or listing(layout.parts):
        ledger.write(layout)
        write_manifest(layout, files)


def _make_files(
    layout: Layout,
    plan: Plan,
    ledger: Ledger,
    tasks: Mapping[str, FileTask],
    at_once: int,
    on_file: Callable[[FileRecord], None],
) -> None:
    """Make the files that are missing, and remove the parts of those that are there."""
    schema = plan.token_schema
    waiting = {number: len(part.splits) for number, part in ledger.parts.items()}
    with ThreadPoolExecutor(at_once) as makers, ThreadPoolExecutor(THREADS) as fetchers:
        missing = (
            partial(_make, layout, plan.info, schema, task, fetchers)
            for name, task in tasks.items()
            if name not in ledger.files
        )
        made = _ahead(makers, missing, at_once)
        for name, task in tasks.items():
            if name not in ledger.files:
                ledger.files[name] = next(made)
                on_file(ledger.files[name])
            for part in task.parts:
                waiting[part.number] -= 1
            done = {part.number for part in task.parts if not waiting[part.number]} & ledger.loose
            unlink_all(map(layout.part, done))
            ledger.loose -= done


def clear(layout: Layout) -> None:
    """Remove what the manifest and the table of parts repeat: parts, and the records of parts and files."""
    for folder in (layout.state / "files", layout.parts):
        unlink_all(listing(folder))
        if isinstance(folder, Path) and folder.is_dir():
            with suppress(OSError):  # what a network file system does not list yet is removed by the next run
                folder.rmdir()


def restore_parts(layout: Layout, plan: Plan, ledger: Ledger, files: Iterable[FileRecord]) -> None:
    """Take files apart: write their parts again, then remove the files."""
    schema = plan.token_schema
    joined = _JoinedRows(layout, ledger)
    for file in list(files):
        if file.rows != sum(
            item.rows for part in ledger.parts_of(file) for item in part.splits if item.split == file.split
        ):
            raise DatasetError(
                f"{file.file} of {layout.root} has not the rows of the parts that it was made of; restore its records."
            )
        for part in ledger.parts_of(file):
            path = layout.part(part.number)
            if part.number in ledger.loose and is_intact(path, part.bytes, part.sha256):
                continue
            if part.rows:
                with layout.temporary(path) as temporary:
                    try:
                        with ShardWriter(temporary, schema, plan.info) as writer:
                            for table in joined.of(part):
                                writer.add_table(fitted(table, schema))
                    except pa.ArrowException as error:
                        raise DatasetError(
                            f"{file.file} of {layout.root} is damaged: it lacks codes or ids, or has them in another form "
                            f"({printable(str(error))}); remove the dataset and make it again."
                        ) from error
                    record = replace(part, sha256=file_sha256(temporary), bytes=temporary.stat().st_size)
                    ledger.put(commit(layout, temporary, record, instead_of=part))
                ledger.loose.add(part.number)
        (layout.root / file.file).unlink(missing_ok=True)
        layout.file_record(file.file).unlink(missing_ok=True)
        ledger.files.pop(file.file, None)


class _JoinedRows:
    """The rows of parts, in the files that hold them."""

    def __init__(self, layout: Layout, ledger: Ledger) -> None:
        self._layout = layout
        self._readers: dict[str, RowReader] = {}
        self._places: dict[tuple[int, str], tuple[str, int]] = {}  # part and split: file and first row
        for file in ledger.files.values():
            first = 0
            for part in ledger.parts_of(file):
                for item in part.splits:
                    if item.split == file.split:
                        self._places[part.number, item.split] = file.file, first
                        first += item.rows

    def of(self, part: PartRecord) -> Iterator[pa.Table]:
        """Yield the rows of a part.

        Raises:
            DatasetError: when they are in no file, or cannot be read.
        """
        for item in part.splits:
            if not item.rows:
                continue
            if (part.number, item.split) not in self._places:
                raise DatasetError(f"The rows of part {part.number} of {self._layout.root} are in no file.")
            file, first = self._places[part.number, item.split]
            if file not in self._readers:
                self._readers[file] = RowReader(self._layout.root / file)
            yield from self._readers[file].rows(first, first + item.rows)


def _make(
    layout: Layout, info: TokenizerInfo, schema: pa.Schema, task: FileTask, fetchers: ThreadPoolExecutor
) -> FileRecord:
    """Make one file, and record it."""
    path = layout.file(task.split, task.index, task.count)
    with layout.temporary(path) as temporary:
        with ShardWriter(temporary, schema, info) as writer:
            for part, copy in _fetched(layout, task.parts, fetchers):
                for table in _part_rows(layout, part, task.split, copy):
                    writer.add_table(fitted(table, schema))
        record = FileRecord(
            file=layout.relative(path),
            split=task.split,
            sha256=file_sha256(temporary),
            bytes=temporary.stat().st_size,
            fingerprint=info.fingerprint,
            first_part=task.parts[0].number,
            last_part=task.parts[-1].number,
            parts_sha256=task.parts_sha256,
            groups=tuple(writer.groups),
        )
        put_in_place(temporary, path)
    write_file_record(layout, record)
    return record


def _part_rows(layout: Layout, part: PartRecord, split: str, copy: Path) -> Iterator[pa.Table]:
    """Yield the rows of one split of a part.

    Raises:
        DatasetError: when the part is not what was recorded.
    """
    if file_sha256(copy) != part.sha256:
        raise DatasetError(
            f"{layout.part(part.number)} is damaged: its sha256 differs from its record; run the same command again, which makes it anew."
        )
    reader, start = RowReader(copy), 0
    for item in part.splits:
        if item.split == split:
            yield from reader.rows(start, start + item.rows)
        start += item.rows


def _fetched(
    layout: Layout, parts: Iterable[PartRecord], fetchers: ThreadPoolExecutor
) -> Iterator[tuple[PartRecord, Path]]:
    """Yield the parts that have rows, each with a local copy of its file; those of a store are fetched ahead."""

    def fetch(part: PartRecord) -> tuple[PartRecord, Path, ExitStack]:
        with ExitStack() as stack:
            path = layout.part(part.number)
            try:
                copy = stack.enter_context(local_copy(path))
                if not copy.is_file():
                    raise FileNotFoundError
                return part, copy, stack.pop_all()
            except FileNotFoundError:
                raise DatasetError(
                    f"{path} is lost, although it was made; run the same command again, which makes it anew."
                ) from None

    calls = (partial(fetch, part) for part in parts if part.rows)
    for part, copy, stack in _ahead(fetchers, calls, THREADS if isinstance(layout.root, StorePath) else 1):
        with stack:
            yield part, copy


def _ahead(pool: ThreadPoolExecutor, calls: Iterable[Callable[[], Result]], at_once: int) -> Iterator[Result]:
    """Yield what functions return, in order; so many are called at once."""
    rest = iter(calls)
    waiting: deque[Future[Result]] = deque(pool.submit(call) for call in islice(rest, at_once))
    while waiting:
        result = waiting.popleft().result()
        waiting.extend(pool.submit(call) for call in islice(rest, 1))
        yield result
