"""Check a token dataset against its plan, manifest and records, file by file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from speechtok.errors import DatasetError
from speechtok.limits import parse_json
from speechtok.shards.dataset_readme import read_readme, summary
from speechtok.shards.layout import Layout, is_there
from speechtok.shards.ledger import Ledger, is_version_1
from speechtok.shards.manifest import FileRecord
from speechtok.shards.parquet import open_parquet, read_group
from speechtok.shards.parts import PartRecord, is_intact
from speechtok.shards.plan import FAULT, Plan, PlanRows, read_plan, without_faults
from speechtok.shards.schema import METADATA_KEY, quarantine_schema
from speechtok.storage import AnyPath, as_path, file_sha256, local_copy

MOST_STRAYS = 10
"""Files that do not belong to a dataset and are named one by one."""
SECONDS_TOLERANCE = 0.3
"""How far a decoded length may lie from its header: compressed formats round up to their frames."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What `verify` found."""

    problems: tuple[str, ...]
    """One sentence per problem, each naming its file; empty when all is well."""
    shards: int
    """Shards planned."""
    files: int
    """Files recorded."""
    rows: int
    """Rows in intact files."""
    quarantined: int
    """Inputs recorded as failed."""
    seconds: float
    """Seconds of audio in intact files."""
    bytes: int
    """Size of the intact files."""


def verify(
    dataset: str | AnyPath | Layout, *, on_file: Callable[[FileRecord], None] | None = None
) -> Verification:
    """Check every file of a token dataset.

    Each part of the plan must be recorded; each file must exist with the recorded sha256, hold the planned utterances of its
    parts that are not in quarantine, in order, with the schema and fingerprint of the plan and every code in range.

    Args:
        dataset: its folder, or its URI in an object store.
        on_file: called after each file, for a progress display.

    Raises:
        DatasetError: when there is no plan to check against.
    """
    layout = dataset if isinstance(dataset, Layout) else Layout(as_path(dataset))
    plan = read_plan(layout)
    found: dict[str, list[str]] = {}  # what is the matter -> the files
    ledger = Ledger.read(layout, plan)
    check = _Check(layout, plan, ledger)
    for task in plan.tasks:
        if task.number not in ledger.parts:
            found.setdefault("has no record: the job is not finished, run it again", []).append(task.name)
    good = list[FileRecord]()
    for name, file in ledger.files.items():
        try:
            damage = check.problems(file)
        except DatasetError as error:
            damage = [f"could not be checked: {str(error).rstrip('.')}"]
        good += [] if damage else [file]
        for problem in damage:
            found.setdefault(problem, []).append(name)
        if on_file is not None:
            on_file(file)
    problems = [_summed(problem, files) for problem, files in found.items()]
    totals = ledger.totals
    rows = [check.totals[file.file] for file in good]
    return Verification(
        problems=(*problems, *_other_problems(layout, plan, ledger)),
        shards=len(plan.tasks),
        files=len(ledger.files),
        rows=sum(count for count, _ in rows),
        quarantined=totals.quarantined,
        seconds=sum(seconds for _, seconds in rows),
        bytes=sum(file.bytes for file in good),
    )


def quarantine_table(ledger: Ledger, split: str) -> pa.Table:
    """Return the failures of one split, as the records list them, in plan order."""
    schema = quarantine_schema()
    failures = [asdict(failure) for failure in ledger.failures(split)]
    return pa.Table.from_pylist(failures, schema=schema)


def has_quarantine(layout: Layout, ledger: Ledger, split: str) -> bool:
    """Return whether the quarantine file of a split lists the recorded failures."""
    wanted, path = quarantine_table(ledger, split), layout.quarantine(split)
    try:
        reader = open_parquet(path)
        groups = range(reader.metadata.num_row_groups)
        tables = [read_group(reader, path, group) for group in groups]
        return reader.schema_arrow.equals(wanted.schema) and bool(
            pa.concat_tables([wanted.schema.empty_table(), *tables]).equals(wanted)
        )
    except DatasetError:
        return False


def has_dropped(layout: Layout, plan: Plan, split: str) -> bool:
    """Return whether the file of the rows of a split that were left out is the planned one."""
    wanted = plan.dropped[split]
    try:
        return is_intact(layout.dropped(split), wanted["bytes"], wanted["sha256"])
    except OSError:
        return False


def has_annotation_quarantine(layout: Layout, plan: Plan, split: str) -> bool:
    """Return whether the file of the rows of a split that annotations have no value for is the recorded one."""
    wanted = plan.annotated.quarantine[split]
    try:
        return is_intact(
            layout.current(layout.annotation_quarantine(split)), wanted["bytes"], wanted["sha256"]
        )
    except OSError:
        return False


def _summed(problem: str, files: list[str]) -> str:
    """Return one sentence about a problem, however many files or shards have it."""
    if len(files) == 1:
        return f"{files[0]} {problem}."
    return f"{len(files):,} of them, from {files[0]} to {files[-1]}: each {problem}."


class _Check:
    """Checks the files of a dataset one after the other."""

    def __init__(self, layout: Layout, plan: Plan, ledger: Ledger) -> None:
        self._layout, self._plan, self._ledger = layout, plan, ledger
        self._schema = plan.token_schema
        self._tasks = {task.number: task for task in plan.tasks}
        self._rows = PlanRows(plan.file, ["id", "seconds", FAULT])
        self.totals: dict[str, tuple[int, float]] = {}
        """Rows and seconds of each file, as its parts are recorded."""

    def problems(self, file: FileRecord) -> list[str]:
        """Return what is the matter with a file."""
        path = self._layout.current(self._layout.root / file.file)
        try:
            path.stat()
        except FileNotFoundError:
            return ["is missing"]
        except OSError as error:
            return [f"cannot be read: {error.strerror or error}"]
        with local_copy(path) as copy:
            try:
                if file_sha256(copy) != file.sha256:
                    return ["is damaged: its sha256 differs from its record"]
            except OSError as error:
                return [f"cannot be read: {error.strerror or error}"]
            reader = open_parquet(copy)
            if not reader.schema_arrow.equals(self._schema, check_metadata=False):
                return ["has other columns than planned"]
            if _parsed_metadata(reader.schema_arrow) != _parsed_metadata(self._schema):
                return ["was made by another tokenizer: its metadata differ from the plan's"]
            return [*self._row_problems(file, reader, copy), *_code_problems(self._plan, reader, copy)]

    def _row_problems(self, file: FileRecord, reader: pq.ParquetFile, copy: Path) -> list[str]:
        problems: list[str] = []
        groups = range(reader.metadata.num_row_groups)
        columns = ["id", "num_samples", "duration"]
        tables = [read_group(reader, copy, group, columns) for group in groups]
        table = pa.concat_tables([reader.schema_arrow.empty_table().select(columns), *tables])
        if any(column.null_count for column in table.columns):
            return ["has rows without id, num_samples or duration"]
        ids, durations = table["id"].to_pylist(), table["duration"].to_pylist()
        parts = self._ledger.parts_of(file)
        expected, planned = self._expected(parts)
        if ids != expected:
            problems.append("does not hold exactly the planned utterances that are not in quarantine")
        mine = [item for part in parts for item in part.splits if item.split == file.split]
        count, seconds = sum(item.rows for item in mine), sum(item.seconds for item in mine)
        self.totals[file.file] = count, seconds
        if len(ids) != count or not np.isclose(sum(durations), seconds, atol=1e-6):
            problems.append(
                f"holds {len(ids)} rows and {sum(durations):.3f} s, but {count} and {seconds:.3f} s are recorded"
            )
        if file.groups and [group.rows for group in file.groups] != [len(item) for item in tables]:
            problems.append("has other row groups than the manifest says")
        if any(
            abs(samples / self._plan.info.sample_rate - length) > 1e-9
            for samples, length in zip(table["num_samples"].to_pylist(), durations, strict=True)
        ):
            problems.append("has a row whose duration is not its num_samples")
        wrong = [
            name
            for name, length in zip(ids, durations, strict=True)
            if (known := planned.get(name)) is not None and abs(known - length) > SECONDS_TOLERANCE
        ]
        if wrong:
            problems.append(f"has {len(wrong)} rows shorter or longer than their recording, first {wrong[0]}")
        return problems

    def _expected(self, parts: Iterable[PartRecord]) -> tuple[list[str] | None, dict[str, float | None]]:
        """Return the ids that parts must hold, in order, None when failures were not planned; and the planned lengths by id."""
        expected, planned, is_planned = list[str](), dict[str, float | None](), True
        for part in parts:
            rows = self._rows.of(self._tasks[part.number])
            good, failed = without_faults(rows), Counter(item.id for item in part.quarantined)
            ids = good["id"].to_pylist()
            untried = Counter(rows["id"].to_pylist()) - Counter(ids)
            is_planned = is_planned and untried <= failed <= untried + Counter(ids)
            expected += [name for name in ids if failed[name] == untried[name]]
            planned |= zip(ids, good["seconds"].to_pylist(), strict=True)
        return expected if is_planned else None, planned


def _parsed_metadata(schema: pa.Schema) -> dict[str, Any]:
    """Return the JSON that other writers may have spelled differently, ready to compare."""
    entries = (METADATA_KEY, b"huggingface")
    found: dict[str, Any] = {
        key.decode(): parse_json(
            (schema.metadata or {}).get(key, b"null"), "its metadata", error=DatasetError
        )
        for key in entries
    }
    if isinstance(found["speechtok"], dict):
        found["speechtok"].pop("format_version", None)  # that of an earlier version is as good
    return found


def _code_problems(plan: Plan, reader: pq.ParquetFile, copy: Path) -> list[str]:
    problems: list[str] = []
    for stream in plan.info.streams:
        highest = -1
        for group in range(reader.metadata.num_row_groups):
            codes = read_group(reader, copy, group, [stream.name])[stream.name]
            while pa.types.is_list(codes.type):
                codes = pc.list_flatten(codes)
            highest = max(highest, pc.max(codes).as_py() or 0) if len(codes) else highest
        if highest >= stream.codebook_size:
            problems.append(
                f"has code {highest} in stream {stream.name}, outside [0, {stream.codebook_size})"
            )
    return problems


def _other_problems(layout: Layout, plan: Plan, ledger: Ledger) -> list[str]:
    problems = []
    strays = sorted(
        name for path in layout.data.glob("*") if (name := layout.relative(path)) not in ledger.files
    )
    problems += [f"{name} does not belong to the dataset; remove it." for name in strays[:MOST_STRAYS]]
    if len(strays) > MOST_STRAYS:
        problems.append(
            f"data holds {len(strays):,} files in all that do not belong to the dataset; remove them."
        )
    if len(ledger.parts) == len(plan.tasks) and not (is_there(layout.manifest) or is_version_1(layout)):
        problems.append("manifest.parquet is missing: the job is not finished, run it again.")
    problems += [
        f"{layout.relative(layout.quarantine(split))} is missing or does not list the recorded failures; run the job again."
        for split in plan.splits
        if not has_quarantine(layout, ledger, split)
    ]
    problems += [
        f"{layout.relative(layout.dropped(split))} is missing or does not list the rows that were left out; filter again."
        for split in plan.dropped
        if not has_dropped(layout, plan, split)
    ]
    problems += [
        f"{layout.relative(layout.annotation_quarantine(split))} is missing or does not list the rows without values; annotate again."
        for split in plan.annotated.quarantine
        if not has_annotation_quarantine(layout, plan, split)
    ]
    if layout.is_moving:
        problems.append("New columns are not yet in their places: annotating was interrupted, run it again.")
    if not layout.readme.is_file():
        problems.append("README.md is missing; run the job again.")
    elif len(ledger.parts) == len(plan.tasks) and summary(ledger) not in read_readme(layout):
        problems.append(
            f"README.md does not say what the records say, '{summary(ledger)}'; run the job again."
        )
    return problems
