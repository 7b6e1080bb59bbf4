"""The manifest: which files a dataset has, what each row group holds, and what proves it.

`manifest.parquet` has one row per row group and is written last, so a dataset that has one is complete, and readers need to
open no file to know what is in it.

Contents: `FileRecord`, `read_manifest`, `write_manifest`, `read_file_record`, `write_file_record`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from speechtok.errors import DatasetError
from speechtok.shards.layout import Layout, check_split, is_there, write_json
from speechtok.shards.parquet import open_parquet, read_group
from speechtok.shards.parts import LARGEST, has_its_types, read_small
from speechtok.shards.writer import GroupRecord, write_table

_COLUMNS = {
    "file": pa.string(),
    "row_group": pa.int32(),
    "split": pa.string(),
    "rows": pa.int64(),
    "seconds": pa.float64(),
    "bytes": pa.int64(),
    "sha256": pa.string(),
    "fingerprint": pa.string(),
    "first_part": pa.int64(),
    "last_part": pa.int64(),
    "parts_sha256": pa.string(),
}
"""Columns of a manifest; `frames`, with one field per stream, comes besides. `row_group` is null for a file without rows."""


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """Proof that a file of `data/` is complete."""

    file: str
    """Its path inside the dataset."""
    split: str
    """The split all its rows belong to."""
    sha256: str
    """Hash of the file."""
    bytes: int
    """Size of the file."""
    fingerprint: str
    """Fingerprint of the tokenizer."""
    first_part: int
    """The first part whose rows of the split are in it …"""
    last_part: int
    """… and the last one; those between are too."""
    parts_sha256: str
    """Hash of the records of these parts."""
    groups: tuple[GroupRecord, ...]
    """Its row groups, in order."""

    @property
    def rows(self) -> int:
        """Rows in it."""
        return sum(group.rows for group in self.groups)


def write_manifest(layout: Layout, files: Sequence[FileRecord]) -> None:
    """Write the manifest of a dataset's files, in order."""
    rows: list[dict[str, Any]] = []
    for file in files:
        about = {name: getattr(file, name) for name in _COLUMNS if hasattr(file, name)}
        empty = GroupRecord(rows=0, seconds=0.0, frames={})
        rows += [
            {**about, "row_group": number if file.groups else None, **asdict(group)}
            for number, group in enumerate(file.groups or (empty,))
        ]
    streams = dict.fromkeys(name for file in files for group in file.groups for name in group.frames)
    frames = pa.struct([(name, pa.int64()) for name in streams or ("frames",)])
    schema = pa.schema([*_COLUMNS.items(), ("frames", frames)])
    with layout.replacing(layout.manifest) as path:
        write_table(pa.Table.from_pylist(rows, schema=schema), path)


def read_manifest(layout: Layout) -> list[FileRecord] | None:
    """Return the files of a dataset in order; None where there is no manifest.

    Raises:
        DatasetError: when it cannot be read, or says what no manifest says.
    """
    manifest = layout.current(layout.manifest)
    if not is_there(manifest):
        return None
    reader = open_parquet(manifest)
    kinds = {name: kind for name, kind in _COLUMNS.items() if name in reader.schema_arrow.names}
    is_right = kinds == _COLUMNS and all(
        reader.schema_arrow.field(name).type == kind for name, kind in kinds.items()
    )
    frames = reader.schema_arrow.field("frames").type if "frames" in reader.schema_arrow.names else None
    if not is_right or frames is None or not pa.types.is_struct(frames):
        raise DatasetError(f"{layout.manifest} is no manifest that speechtok makes: it has other columns.")
    groups = range(reader.metadata.num_row_groups)
    rows = [row for group in groups for row in read_group(reader, manifest, group).to_pylist()]
    return [_file(layout, list(found)) for _, found in groupby(rows, key=lambda row: row["file"])]


def _file(layout: Layout, rows: list[dict[str, Any]]) -> FileRecord:
    is_empty = rows[0]["row_group"] is None
    numbers = [row["row_group"] for row in rows]
    values = {name: rows[0][name] for name in _COLUMNS if name not in ("row_group", "rows", "seconds")}
    try:
        groups = tuple(
            GroupRecord(rows=row["rows"], seconds=row["seconds"], frames=row["frames"]) for row in rows
        )
        record = FileRecord(**values, groups=() if is_empty else groups)
        is_right = numbers == ([None] if is_empty else list(range(len(rows)))) and _is_sound(layout, record)
    except (TypeError, ValueError, DatasetError):
        is_right = False
    if not is_right:
        raise DatasetError(
            f"{layout.manifest} is no manifest that speechtok makes: what it says of {rows[0]['file']!r} cannot be."
        )
    return record


def _is_sound(layout: Layout, record: FileRecord) -> bool:
    parts = [record, *record.groups]
    numbers = [record.bytes, record.first_part, record.last_part]
    numbers += [value for group in record.groups for value in (group.rows, *group.frames.values())]
    return (
        all(map(has_its_types, parts))
        and all(isinstance(value, int) and 0 <= value < LARGEST for value in numbers)
        and all(np.isfinite(group.seconds) for group in record.groups)
        and record.file.startswith(f"data/{check_split(record.split)}-")
        and "/" not in record.file[len("data/") :]
    )


def write_file_record(layout: Layout, record: FileRecord) -> None:
    """Record a file that is in place."""
    write_json(layout, layout.file_record(record.file), asdict(record))


def read_file_record(layout: Layout, name: str) -> FileRecord | None:
    """Return what proves a file, by the name of the record; None when nothing does."""
    content = read_small(layout.state / "files" / name)
    try:
        values = json.loads(content or b"")
        groups = tuple(GroupRecord(**group) for group in values["groups"])
        record = FileRecord(**{**values, "groups": groups})
        return record if _is_sound(layout, record) else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, DatasetError):
        return None
