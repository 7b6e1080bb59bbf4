"""The files of a dataset with the columns of annotations, and what makes them the dataset.

Contents: `Files`, `put_together`, `tidy`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from speechtok.cards.markdown import merge, with_head
from speechtok.commands.annotation_plan import AnnotationPlan, Piece
from speechtok.commands.annotation_work import FAILURES, Values, read_values
from speechtok.errors import DatasetError
from speechtok.shards.annotated import annotated_bytes, settle
from speechtok.shards.dataset_readme import OF_ROWS, front_matter, read_readme, readme_body
from speechtok.shards.joining import clear
from speechtok.shards.layout import Layout, is_there
from speechtok.shards.ledger import Ledger
from speechtok.shards.manifest import (
    FileRecord,
    read_file_record,
    read_manifest,
    write_file_record,
    write_manifest,
)
from speechtok.shards.parquet import open_parquet, read_group
from speechtok.shards.parts import is_intact
from speechtok.shards.schema import quarantine_schema
from speechtok.shards.writer import ShardWriter, fitted, write_table
from speechtok.storage import StorePath, file_sha256, flush, put_in_place, unlink_all


@dataclass(frozen=True, kw_only=True)
class Files:
    """Writes a file of a dataset again, with new columns; a function for an executor."""

    layout: Layout
    """The dataset."""
    staged: Layout
    """Where the file goes."""
    values: Values
    """What has made the values."""
    pieces: Mapping[str, tuple[Piece, ...]]
    """The pieces of each file, in order."""
    schema: pa.Schema
    """Columns of the new file."""

    def __call__(self, record: FileRecord) -> FileRecord:
        """Return the record of the new file; one that is there already stays.

        Raises:
            DatasetError: when the old file or the values cannot be read.
            OSError: when the new one cannot be written.
        """
        path = self.staged.root / record.file
        known = read_file_record(self.staged, self.staged.file_record(record.file).name)
        if known is not None and is_intact(path, known.bytes, known.sha256):
            return known
        with self.staged.temporary(path) as temporary:
            with ShardWriter(temporary, self.schema, self.values.info) as writer:
                for table in self._tables(record):
                    writer.add_table(fitted(table, self.schema))
            made = replace(
                record,
                sha256=file_sha256(temporary),
                bytes=temporary.stat().st_size,
                groups=tuple(writer.groups),
            )
            put_in_place(temporary, path)
        write_file_record(self.staged, made)
        return made

    def failures(self, file: str) -> pa.Table:
        """Return the rows of a file that annotations have no value for, in quarantine's columns, annotation after annotation."""
        names = {annotation.name: number for number, (annotation, _) in enumerate(self.values.annotations)}
        found: list[list[dict[str, str]]] = [[] for _ in names]
        for piece in self.pieces[file]:
            table = read_values(self.values.path(piece), ["id", FAILURES])
            for row in table.to_pylist():
                for failure in row[FAILURES]:
                    found[names[failure["stage"]]].append({"id": row["id"], **failure})
        rows = [row for some in found for row in some]
        audio = self._audio(file, {row["id"] for row in rows})
        listed = [{**row, "audio": audio.get(row["id"])} for row in rows]
        return pa.Table.from_pylist(listed, schema=quarantine_schema())

    def _audio(self, file: str, ids: set[str]) -> dict[str, str]:
        """Return the recording of some rows of a file."""
        if not ids:
            return {}
        path = self.layout.current(self.layout.root / file)
        reader = open_parquet(path)
        groups = range(reader.metadata.num_row_groups)
        return {
            row["id"]: row["audio"]
            for group in groups
            for row in read_group(reader, path, group, ["id", "audio"]).to_pylist()
            if row["id"] in ids
        }

    def _tables(self, record: FileRecord) -> Iterator[pa.Table]:
        """Yield the rows of each row group with all columns."""
        path = self.layout.current(self.layout.root / record.file)
        reader = open_parquet(path)
        for group in range(reader.metadata.num_row_groups):
            old = read_group(reader, path, group)
            parts = [
                read_values(self.values.path(piece))
                for piece in self.pieces[record.file]
                if piece.group == group
            ]
            made = pa.concat_tables(parts)
            if not made["id"].equals(old["id"].cast(pa.string())):
                raise DatasetError(
                    f"{path} has other rows than when they were annotated; it was changed meanwhile, so run the same command again."
                )
            columns = dict(zip(old.column_names, old.columns, strict=True))
            columns |= {name: made[name] for name in made.column_names if name not in ("id", FAILURES)}
            yield pa.table(columns)


def put_together(plan: AnnotationPlan, files: Files, records: Sequence[FileRecord]) -> dict[str, int]:
    """Write what belongs to the new files, then let all of it be the dataset.

    Args:
        plan: what is made of which dataset.
        files: what has written them.
        records: what proves them, in order.

    Returns:
        By annotation, how many rows it has no value for.
    """
    staged, tables = files.staged, _failures(plan, files)
    failed = {
        name: sum(table["stage"].to_pylist().count(name) for table in tables.values()) for name in plan.made
    }
    annotated = plan.entries(
        failed, {split: _write_failures(staged, split, table) for split, table in tables.items()}
    )
    with staged.replacing(staged.annotations) as path:
        path.write_bytes(annotated_bytes(annotated))
    now = replace(plan.plan, annotated=annotated)
    ledger = Ledger.read(plan.source, now)
    ledger.files = {file.file: file for file in records}
    text = with_head(front_matter(now, ledger), readme_body(now, ledger))
    with staged.replacing(staged.readme) as path:  # in which what people have written stays
        path.write_text(merge(text, read_readme(plan.source), stale=OF_ROWS), encoding="utf-8")
    write_manifest(staged, records)
    if staged == plan.target:
        tidy(staged)
    else:
        _commit(staged, plan.target)
    return failed


def _write_failures(layout: Layout, split: str, table: pa.Table) -> dict[str, Any]:
    """Write the rows of a split without values, and return what is recorded of the file."""
    with layout.replacing(layout.annotation_quarantine(split)) as path:
        write_table(table, path)
        return {"rows": len(table), "bytes": path.stat().st_size, "sha256": file_sha256(path)}


def _commit(staged: Layout, target: Layout) -> None:
    """Make new files the dataset by one rename, then bring them to their places."""
    assert isinstance(staged.root, Path)  # noqa: S101
    assert isinstance(target.annotated, Path)  # noqa: S101
    for folder in (staged.state / "files", staged.tmp):
        shutil.rmtree(folder, ignore_errors=True)  # type: ignore[arg-type]
    staged.root.rename(target.annotated)
    flush(target.annotated.parent)
    settle(target)


def tidy(layout: Layout) -> None:
    """Remove what is left of the work in an object store, where files are written to their places at once."""
    if isinstance(layout.annotating, StorePath) and read_manifest(layout) is not None:
        clear(layout)
        with suppress(FileNotFoundError):
            unlink_all(layout.annotating.files())


def _failures(plan: AnnotationPlan, files: Files) -> dict[str, pa.Table]:
    """Return the rows without values of each split: those of annotations that stay first."""
    tables = {}
    for split in plan.plan.splits:
        path = plan.source.current(plan.source.annotation_quarantine(split))
        old = quarantine_schema().empty_table()
        if is_there(path):
            reader = open_parquet(path)
            groups = range(reader.metadata.num_row_groups)
            old = pa.concat_tables([old, *(read_group(reader, path, group) for group in groups)])
        kept = old.filter(pa.array([name not in plan.made for name in old["stage"].to_pylist()], pa.bool_()))
        new = pa.concat_tables(
            [quarantine_schema().empty_table()]
            + [files.failures(file.file) for file in plan.files if file.split == split]
        )
        order = {name: number for number, name in enumerate(plan.made)}
        places = sorted(range(len(new)), key=[order[name] for name in new["stage"].to_pylist()].__getitem__)
        tables[split] = pa.concat_tables([kept, new.take(pa.array(places, pa.int64()))])
    return tables
