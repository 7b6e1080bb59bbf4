"""What workers do to annotate: make the values of new columns for some rows, and keep them.

Contents: `Values`, `Annotator`, `read_values`.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from speechtok.annotations import Annotation, Column, Provenance, Row
from speechtok.commands.annotation_audio import Recording, Recordings
from speechtok.commands.annotation_plan import Piece
from speechtok.corpora.originals import Originals
from speechtok.engine.isolated import ReadError
from speechtok.engine.observer import WorkerStatus
from speechtok.errors import AnnotationError, StorageError
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
    """What is made of the rows of a dataset, and where it goes; plain values, so it can travel."""

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
    timeout_seconds: float
    """How long reading one recording may take."""
    memory_mb: int
    """Memory that decoding may take, in MiB."""

    def path(self, piece: Piece) -> AnyPath:
        """Return where the values of a piece are kept."""
        return self.folder / f"{piece.name}.parquet"


class Annotator:
    """Makes the values of some rows, and keeps them in a file that appears whole; see `speechtok.engine.executor.Work`."""

    def __init__(self, values: Values) -> None:
        self._values = values
        self._needs = frozenset[str]().union(*(item.needs for item, _ in values.annotations))

    def begin(self) -> None:
        """See that this machine has the packages and models that were recorded, and have a process that reads.

        Raises:
            AnnotationError: when it has not.
        """
        values = self._values
        for annotation, made in values.annotations:
            if dict(annotation.files()) != dict(made.files):
                raise AnnotationError(
                    f"The annotation '{annotation.name}' has other model files on {platform.node()} than where the work was planned; give all "
                    "machines the same."
                )
        self._recordings = None
        if "audio" in self._needs:
            self._recordings = Recordings(
                values.originals,
                values.info.sample_rate,
                timeout_seconds=values.timeout_seconds,
                memory_mb=values.memory_mb,
            )

    def status(self) -> WorkerStatus:
        """Return which process this is; may be called from another thread."""
        return WorkerStatus(node=platform.node(), pid=os.getpid())

    def end(self) -> None:
        """Leave the process that reads to others."""
        if self._recordings is not None:
            self._recordings.close()

    def __call__(self, piece: Piece) -> int:
        """Annotate a piece; returns its number of rows.

        Raises:
            DatasetError: when the dataset cannot be read.
            AnnotationError: when an annotation does not give the columns that it states.
            StorageError: when a store fails.
            OSError: when the values cannot be written.
        """
        values = self._values
        types = {column.name: column.arrow_type for _, made in values.annotations for column in made.columns}
        schema = pa.schema([("id", pa.string()), *types.items(), (FAILURES, pa.list_(_FAILURE))])
        cells = list(self._cells(piece))
        if self._recordings is None:
            rows = [self._annotate(row, Recording()) for row in cells]
        else:
            with closing(self._recordings.of(cells)) as recordings:
                rows = [self._annotate(*pair) for pair in zip(cells, recordings, strict=True)]
        table = pa.Table.from_pylist(rows, schema=schema)
        with replacing(values.path(piece)) as path:
            write_table(table, path)
        return len(rows)

    def _cells(self, piece: Piece) -> Iterator[dict[str, Any]]:
        """Yield the cells of each row that annotations take, with the frames of each stream where they take these."""
        file = self._values.layout.current(self._values.layout.root / piece.file)
        reader = open_parquet(file)
        taken = {name for item, _ in self._values.annotations for name in (*item.requires, *item.uses)}
        taken |= {"id", "audio", "num_samples", "source_sample_rate", "start", "text"}
        streams = self._values.info.streams if "tokens" in self._needs else ()
        have = set(reader.schema_arrow.names)
        names = [name for name in reader.schema_arrow.names if name in taken]
        table = read_group(
            reader, file, piece.group, [*names, *(item.name for item in streams if item.name in have)]
        )
        table = table.slice(piece.start, piece.stop - piece.start)
        frames = {item.name: frames_of_rows(table, item).tolist() for item in streams}
        for position, cells in enumerate(table.select(names).to_pylist()):
            yield cells | {"num_frames": {name: counts[position] for name, counts in frames.items()}}

    def _annotate(self, cells: dict[str, Any], recording: Recording) -> dict[str, Any]:
        """Return the values of one row."""
        made: dict[str, Any] = {}
        failures: list[dict[str, str]] = []
        for annotation, provenance in self._values.annotations:
            columns = provenance.columns
            try:
                given = annotation(self._row(annotation, cells | made, recording))
                values = _checked(annotation, columns, given)
            except _OtherColumnsError as error:
                raise AnnotationError(str(error)) from None
            except (MemoryError, StorageError):  # of which no row is to blame
                raise
            except Exception as error:
                kind = error.error if isinstance(error, ReadError) else type(error).__name__
                failures.append({"stage": annotation.name, "error": kind, "message": redact(str(error))})
                values = dict.fromkeys(column.name for column in columns)
            made |= values
        return {"id": cells["id"], **made, FAILURES: failures}

    def _row(self, annotation: Annotation, cells: Mapping[str, Any], recording: Recording) -> Row:
        text = cells.get("text")
        if "text" in annotation.needs and not (text or "").strip():
            raise AnnotationError("The row has no text.")
        row = Row(
            id=cells["id"],
            duration=cells["num_samples"] / self._values.info.sample_rate,
            text=text,
            columns={name: cells[name] for name in (*annotation.requires, *annotation.uses) if name in cells},
            num_frames=cells["num_frames"],
            streams=self._values.info.streams,
        )
        if "audio" not in annotation.needs:
            return row
        if recording.error is not None:
            raise recording.error
        return replace(
            row, waveform=recording.samples, sample_rate=recording.sample_rate, _resampled=recording.resampled
        )


class _OtherColumnsError(Exception):
    """An annotation gives other columns than it states."""


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
