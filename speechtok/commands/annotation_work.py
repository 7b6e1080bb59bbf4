"""What workers do to annotate: make the values of new columns for some rows, and keep them.

Contents: `Values`, `read_values`.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from speechtok.annotations import Annotation, Column, Provenance, Row
from speechtok.audio.resample import resampled_length
from speechtok.commands.annotation_plan import Piece
from speechtok.corpora.originals import Originals
from speechtok.engine.observer import WorkerStatus
from speechtok.errors import AnnotationError, AudioError, StorageError
from speechtok.redaction import redact
from speechtok.shards.layout import Layout
from speechtok.shards.parquet import open_parquet, read_group
from speechtok.shards.writer import frames_of_rows, write_table
from speechtok.storage import AnyPath, replacing
from speechtok.tokens import TokenizerInfo

FAILURES = "annotation:failures"
"""Column of the values of some rows that lists the annotations that have none, each with the type of the error and its sentence."""
_FAILURE = pa.struct([(name, pa.string()) for name in ("stage", "error", "message")])


@dataclass(frozen=True, kw_only=True)
class Values:
    """Makes the values of some rows, and keeps them in a file that appears whole; see `speechtok.engine.executor.Work`."""

    layout: Layout
    """The dataset."""
    folder: AnyPath
    """Where the values go, a file for each piece."""
    info: TokenizerInfo
    """The tokenizer of its tokens."""
    annotations: tuple[tuple[Annotation, Provenance], ...]
    """What annotates, in this order, and what is recorded of each."""
    originals: Originals
    """Where the recordings lie."""

    def path(self, piece: Piece) -> AnyPath:
        """Return where the values of a piece are kept."""
        return self.folder / f"{piece.name}.parquet"

    def begin(self) -> None:
        """See that this machine has the packages and models that were recorded.

        Raises:
            AnnotationError: when it has not.
        """
        for annotation, made in self.annotations:
            if dict(annotation.files()) != dict(made.files):
                raise AnnotationError(
                    f"The annotation '{annotation.name}' has other model files on {platform.node()} than where the work was planned; give all "
                    "machines the same."
                )

    def status(self) -> WorkerStatus:
        """Return which process this is."""
        return WorkerStatus(node=platform.node(), pid=os.getpid())

    def end(self) -> None:
        """Nothing is left to let go."""

    def __call__(self, piece: Piece) -> int:
        """Annotate a piece; returns its number of rows.

        Raises:
            DatasetError: when the dataset cannot be read.
            AnnotationError: when an annotation does not give the columns that it states.
            OSError: when the values cannot be written.
        """
        types = {column.name: column.arrow_type for _, made in self.annotations for column in made.columns}
        schema = pa.schema([("id", pa.string()), *types.items(), (FAILURES, pa.list_(_FAILURE))])
        rows = [self._annotate(cells) for cells in self._cells(piece)]
        table = pa.Table.from_pylist(rows, schema=schema)
        with replacing(self.path(piece), self.layout.tmp if isinstance(self.folder, Path) else None) as path:
            write_table(table, path)
        return len(rows)

    def _cells(self, piece: Piece) -> Iterator[dict[str, Any]]:
        """Yield the cells of each row that annotations take, with the frames of each stream where they take these."""
        file = self.layout.current(self.layout.root / piece.file)
        reader = open_parquet(file)
        taken = {name for item, _ in self.annotations for name in (*item.requires, *item.uses)}
        taken |= {"id", "audio", "num_samples", "source_sample_rate", "start", "text"}
        streams = self.info.streams if any("tokens" in item.needs for item, _ in self.annotations) else ()
        have = set(reader.schema_arrow.names)
        names = [name for name in reader.schema_arrow.names if name in taken]
        table = read_group(
            reader, file, piece.group, [*names, *(item.name for item in streams if item.name in have)]
        )
        table = table.slice(piece.start, piece.stop - piece.start)
        frames = {item.name: frames_of_rows(table, item).tolist() for item in streams}
        for position, cells in enumerate(table.select(names).to_pylist()):
            yield cells | {"num_frames": {name: counts[position] for name, counts in frames.items()}}

    def _annotate(self, cells: dict[str, Any]) -> dict[str, Any]:
        """Return the values of one row."""
        made: dict[str, Any] = {}
        failures: list[dict[str, str]] = []
        recording = _Recording(cells, self.originals, self.info.sample_rate)
        for annotation, provenance in self.annotations:
            columns = provenance.columns
            row = None
            try:
                row = self._row(annotation, cells | made, recording)
                given = annotation(row)
                values = _checked(annotation, columns, given)
            except _OtherColumnsError as error:
                raise AnnotationError(str(error)) from None
            except (MemoryError, StorageError):  # of which no row is to blame
                raise
            except Exception as error:
                kind = type(error).__name__
                failures.append({"stage": annotation.name, "error": kind, "message": redact(str(error))})
                values = dict.fromkeys(column.name for column in columns)
            made |= values
        return {"id": cells["id"], **made, FAILURES: failures}

    def _row(self, annotation: Annotation, cells: Mapping[str, Any], recording: _Recording) -> Row:
        text = cells.get("text")
        if "text" in annotation.needs and not (text or "").strip():
            raise AnnotationError("The row has no text.")
        row = Row(
            id=cells["id"],
            duration=cells["num_samples"] / self.info.sample_rate,
            text=text,
            columns={name: cells[name] for name in (*annotation.requires, *annotation.uses) if name in cells},
            num_frames=cells["num_frames"],
            streams=self.info.streams,
        )
        if "audio" not in annotation.needs:
            return row
        samples, rate, resampled = recording.read
        return replace(row, waveform=samples, sample_rate=rate, _resampled=resampled)


class _OtherColumnsError(Exception):
    """An annotation gives other columns than it states."""


@dataclass(frozen=True)
class _Recording:
    """The audio of one row, read when it is first wanted."""

    cells: Mapping[str, Any]
    originals: Originals
    sample_rate: int
    failed: list[AudioError] = field(default_factory=list)

    @property
    def read(self) -> tuple[np.ndarray[Any, np.dtype[np.float32]], int, dict[int, Any]]:
        """Samples, their rate, and what they were resampled to so far."""
        if self.failed:
            raise self.failed[0]
        try:
            return self._read
        except AudioError as error:
            self.failed.append(error)
            raise

    @cached_property
    def _read(self) -> tuple[np.ndarray[Any, np.dtype[np.float32]], int, dict[int, Any]]:
        cells = self.cells
        if not cells.get("audio"):
            raise AudioError("The row names no recording.")
        rate = cells.get("source_sample_rate") or self.sample_rate
        length = max(1, resampled_length(cells["num_samples"], self.sample_rate, rate))
        originals = replace(self.originals, starts={cells["id"]: cells.get("start") or 0.0})
        samples = originals.read(cells["id"], cells["audio"], rate, length)
        return samples.astype(np.float32), rate, {}


def _checked(annotation: Annotation, columns: Sequence[Column], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an annotation has given, once it is known to fit its columns."""
    names = [column.name for column in columns]
    if sorted(given) != sorted(names):
        raise _OtherColumnsError(
            f"The annotation '{annotation.name}' gives the columns {', '.join(sorted(given)) or 'none'}, but states "
            f"{', '.join(sorted(names))}; mend it, or use another version of its package."
        )
    values = {}
    for column in columns:
        value = given[column.name]
        if not _is_finite(value):
            raise AnnotationError(f"The value of {column.name} is NaN or infinite.")
        try:
            values[column.name] = pa.scalar(value, type=column.arrow_type).as_py()
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise AnnotationError(f"The value of {column.name} is no {column.type}: {error}") from error
    return values


def _is_finite(value: Any) -> bool:
    if isinstance(value, float | np.floating):
        return math.isfinite(value)
    if isinstance(value, list | tuple | np.ndarray):
        return all(map(_is_finite, value))
    return True


def read_values(path: AnyPath, columns: Sequence[str] | None = None) -> pa.Table:
    """Return what a worker has kept of a piece."""
    reader = open_parquet(path)
    tables = [read_group(reader, path, group, columns) for group in range(reader.metadata.num_row_groups)]
    return pa.concat_tables(tables)
