"""Check a token dataset against its plan and commit records, file by file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from speechtok.errors import DatasetError
from speechtok.limits import parse_json
from speechtok.shards.dataset_readme import read_readme, summary
from speechtok.shards.layout import Layout
from speechtok.shards.parquet import open_parquet, read_group
from speechtok.shards.plan import Plan, ShardRecord, ShardTask, read_plan, read_record
from speechtok.shards.schema import METADATA_KEY, quarantine_schema, token_schema
from speechtok.storage import AnyPath, as_path, file_sha256, local_copy
from speechtok.wording import count_text

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
    rows: int
    """Rows in intact shards."""
    quarantined: int
    """Inputs recorded as failed."""
    seconds: float
    """Seconds of audio in intact shards."""
    bytes: int
    """Size of the token shards."""


def verify(
    dataset: str | AnyPath | Layout, *, on_shard: Callable[[ShardTask], None] | None = None
) -> Verification:
    """Check every file of a token dataset.

    Each shard must exist with the recorded sha256, hold the planned utterances that are not in
    quarantine, in order, with the schema and fingerprint of the plan and every code in range.

    Args:
        dataset: its folder, or its URI in an object store.
        on_shard: called after each shard, for a progress display.

    Raises:
        DatasetError: when there is no plan to check against.
    """
    layout = dataset if isinstance(dataset, Layout) else Layout(as_path(dataset))
    plan = read_plan(layout)
    schema = token_schema(plan.info, plan.card, plan.extra_types)
    found: dict[str, list[str]] = {}  # what is the matter -> the files
    records: list[ShardRecord] = []
    recorded: list[ShardRecord] = []
    for task in plan.tasks:
        name = layout.relative(layout.shard(task.split, task.index, task.count))
        try:
            record = read_record(layout, task.split, task.index)
            damage = _shard_problems(layout, plan, schema, task, record)
            recorded += [] if record is None else [record]
            records += [record] if record is not None and not damage else []
        except DatasetError as error:
            damage = [f"could not be checked: {str(error).rstrip('.')}"]
        for problem in damage:
            found.setdefault(problem, []).append(name)
        if on_shard is not None:
            on_shard(task)
    problems = [_summed(problem, files, len(plan.tasks)) for problem, files in found.items()]
    problems += _other_problems(layout, plan, recorded)
    return Verification(
        problems=tuple(problems),
        shards=len(plan.tasks),
        rows=sum(record.rows for record in records),
        quarantined=sum(len(record.quarantined) for record in records),
        seconds=sum(record.seconds for record in records),
        bytes=sum(record.bytes for record in records),
    )


def quarantine_table(layout: Layout, plan: Plan, split: str) -> pa.Table:
    """Return the failures of one split, as the commit records list them, in plan order."""
    records = (read_record(layout, task.split, task.index) for task in plan.tasks if task.split == split)
    failures = [failure for record in records if record is not None for failure in record.quarantined]
    schema = quarantine_schema()
    return pa.Table.from_pylist(
        [{name: getattr(failure, name) for name in schema.names} for failure in failures], schema=schema
    )


def has_quarantine(layout: Layout, plan: Plan, split: str) -> bool:
    """Return whether the quarantine file of a split lists the recorded failures."""
    wanted, path = quarantine_table(layout, plan, split), layout.quarantine(split)
    try:
        reader = open_parquet(path)
        groups = range(reader.metadata.num_row_groups)
        tables = [read_group(reader, path, group) for group in groups]
        return reader.schema_arrow.equals(wanted.schema) and bool(
            pa.concat_tables([wanted.schema.empty_table(), *tables]).equals(wanted)
        )
    except DatasetError:
        return False


def _summed(problem: str, files: list[str], shards: int) -> str:
    """Return one sentence about a problem, however many files have it."""
    if len(files) == 1:
        return f"{files[0]} {problem}."
    return f"{len(files):,} of {count_text(shards, 'shard')}, from {files[0]} to {files[-1]}: each {problem}."


def _shard_problems(
    layout: Layout, plan: Plan, schema: pa.Schema, task: ShardTask, record: ShardRecord | None
) -> list[str]:
    if record is None:
        return ["has no commit record: the job is not finished, run it again"]
    path = layout.shard(task.split, task.index, task.count)
    try:
        path.stat()
    except FileNotFoundError:
        return ["is missing"]
    except OSError as error:
        return [f"cannot be read: {error.strerror or error}"]
    with local_copy(path) as copy:
        return _content_problems(layout, plan, schema, task, record, copy)


def _content_problems(
    layout: Layout, plan: Plan, schema: pa.Schema, task: ShardTask, record: ShardRecord, copy: Path
) -> list[str]:
    path = layout.shard(task.split, task.index, task.count)
    if record.file != layout.relative(path):
        return [f"is recorded as {record.file}"]
    try:
        is_recorded = file_sha256(copy) == record.sha256
    except OSError as error:
        return [f"cannot be read: {error.strerror or error}"]
    if not is_recorded:
        return ["is damaged: its sha256 differs from the commit record"]
    file = open_parquet(copy)
    if not file.schema_arrow.equals(schema, check_metadata=False):
        return ["has other columns than planned"]
    if _parsed_metadata(file.schema_arrow) != _parsed_metadata(schema):
        return ["was made by another tokenizer: its metadata differ from the plan's"]
    return _row_problems(file, copy, plan, task, record)


def _parsed_metadata(schema: pa.Schema) -> dict[str, Any]:
    """Return the JSON that other writers may have spelled differently, ready to compare."""
    entries = (METADATA_KEY, b"huggingface")
    return {
        key.decode(): parse_json(
            (schema.metadata or {}).get(key, b"null"), "its metadata", error=DatasetError
        )
        for key in entries
    }


def _row_problems(
    file: pq.ParquetFile, copy: Path, plan: Plan, task: ShardTask, record: ShardRecord
) -> list[str]:
    problems: list[str] = []
    rows = task.rows
    planned = dict(zip(rows["id"].to_pylist(), rows["seconds"].to_pylist(), strict=True))
    groups = range(file.metadata.num_row_groups)
    columns = ["id", "num_samples", "duration"]
    tables = [read_group(file, copy, group, columns) for group in groups]
    table = pa.concat_tables([file.schema_arrow.empty_table().select(columns), *tables])
    if any(column.null_count for column in table.columns):
        return ["has rows without id, num_samples or duration"]
    ids, durations = table["id"].to_pylist(), table["duration"].to_pylist()
    if ids != task.expected_ids(record):
        problems.append("does not hold exactly the planned utterances that are not in quarantine")
    if len(ids) != record.rows or not np.isclose(sum(durations), record.seconds, atol=1e-6):
        problems.append(
            f"holds {len(ids)} rows and {sum(durations):.3f} s, but {record.rows} and {record.seconds:.3f} s are recorded"
        )
    if any(
        abs(samples / plan.info.sample_rate - seconds) > 1e-9
        for samples, seconds in zip(table["num_samples"].to_pylist(), durations, strict=True)
    ):
        problems.append("has a row whose duration is not its num_samples")
    wrong = [
        name
        for name, seconds in zip(ids, durations, strict=True)
        if planned.get(name) is not None and abs(planned[name] - seconds) > SECONDS_TOLERANCE
    ]
    if wrong:
        problems.append(f"has {len(wrong)} rows shorter or longer than their recording, first {wrong[0]}")
    for stream in plan.info.streams:
        highest = -1
        for group in groups:
            codes = read_group(file, copy, group, [stream.name])[stream.name]
            while pa.types.is_list(codes.type):
                codes = pc.list_flatten(codes)
            highest = max(highest, pc.max(codes).as_py() or 0) if len(codes) else highest
        if highest >= stream.codebook_size:
            problems.append(
                f"has code {highest} in stream {stream.name}, outside [0, {stream.codebook_size})"
            )
    return problems


def _other_problems(layout: Layout, plan: Plan, recorded: list[ShardRecord]) -> list[str]:
    problems = []
    expected = {layout.shard(task.split, task.index, task.count) for task in plan.tasks}
    strays = sorted(path for path in layout.data.glob("*") if path not in expected)
    problems += [
        f"{layout.relative(path)} does not belong to the plan; remove it." for path in strays[:MOST_STRAYS]
    ]
    if len(strays) > MOST_STRAYS:
        problems.append(
            f"data holds {len(strays):,} files in all that do not belong to the plan; remove them."
        )
    for split in plan.splits:
        try:
            is_listed = has_quarantine(layout, plan, split)
        except DatasetError:  # a record that could not be read, which is named already
            continue
        if not is_listed:
            problems.append(
                f"{layout.relative(layout.quarantine(split))} is missing or does not list the recorded failures; run the job again."
            )
    if not layout.readme.is_file():
        problems.append("README.md is missing; run the job again.")
    elif len(recorded) == len(plan.tasks) and summary(recorded) not in read_readme(layout):
        problems.append(
            f"README.md does not say what the commit records say, '{summary(recorded)}'; run the job again."
        )
    return problems
