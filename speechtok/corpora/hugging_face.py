"""Hugging Face datasets: Parquet files with audio in them, or a folder that `save_to_disk` wrote.

Source: `datasets`, "Dataset features": an `Audio` column is `{"bytes": …, "path": …}`; decoded rows that were written
without their features are `{"array": …, "sampling_rate": …}`.

Recordings stay in their cells and are read from there; all other columns are read to plan a job.
Rows without bytes name a file by their path.

Files are data of others: they must be regular files, and what they hold is checked, by value and by size, before it
is used.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice, repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from speechtok.audio.location import Location
from speechtok.corpora.corpus import json_value, labelled, plain_path, renamed, short, text_of
from speechtok.corpora.folder import count_unlisted, listed, recordings_below, suffix_of
from speechtok.corpora.slices import File, Pairs, Slice, Source, of_length
from speechtok.errors import DatasetError
from speechtok.limits import read_json, require_regular_file
from speechtok.parquet_footer import column_chunks
from speechtok.shards.parquet import open_parquet, read_group
from speechtok.storage import AnyPath, relative

STATE = "state.json"
"""Names the files of a dataset that was saved to disk."""
SPLITS = "dataset_dict.json"
"""Names the splits of a dataset that was saved to disk, each a folder."""
BYTE_RATE = 16_000
"""Bytes of a second of speech in a cell, to guess from the size of a row group how long it is."""
_BATCH_ROWS = 1000
_CELLS = 16
"""Recordings that are read at once to see which cells are empty."""


def is_saved(path: AnyPath) -> bool:
    """Return whether a folder was written by `save_to_disk`."""
    return (path / STATE).is_file() or (path / SPLITS).is_file()


def holds_audio(path: AnyPath, columns: Mapping[str, str]) -> bool:
    """Return whether a Parquet file keeps recordings in its cells, and not only paths of them."""
    try:
        with open_parquet(path) as file:
            schema = file.schema_arrow
    except DatasetError:
        return False  # which the reader of manifests explains
    return _audio_column(schema, columns) is not None


def names_files(path: AnyPath, columns: Mapping[str, str]) -> bool:
    """Return whether a folder has Parquet files with audio beside what else lies in it, which their rows may name."""
    for folder in (path, path / "data"):
        found: list[AnyPath] = sorted(folder.glob("*.parquet"), key=str)
        if found:
            return holds_audio(found[0], columns)
    return False


class HuggingFace(Source):
    """The rows of a Parquet file, of all Parquet files below a folder, or of a saved dataset.

    The id is the column `id`; without it the path in the audio column or, where there is none or several rows have it,
    file and row.

    Args:
        path: the file or the folder.
        columns: names the dataset uses, by the name they have here.

    Raises:
        DatasetError: when read, for a file that cannot be read or has no audio.
    """

    kind = "hugging_face"
    advice = "Name a column of ids with --column id=NAME."

    def __init__(self, path: AnyPath, columns: Mapping[str, str]) -> None:
        super().__init__(path if path.is_dir() else path.parent, path.resolve().name)
        self.place, self._columns = path, columns

    def files(self) -> Iterator[File]:
        for file, _ in self._listed():
            plain_path(file.name, str(self.root))
            yield file

    def slices(self, files: Iterable[File], seconds: float) -> Iterator[Slice]:
        splits = {file.name: split for file, split in self._listed()}
        found = [
            Slice(
                container=file.name,
                start=group.start,
                stop=group.stop,
                split=splits[file.name],
                seconds=group.seconds,
            )
            for file in files
            for group in _Table(self.root / file.name, self._columns).groups
        ]
        repeated = self._repeated(found)
        for part in of_length(found, seconds):
            names = (
                dict.fromkeys(name for name in self._paths(part) if _key(name) in repeated)
                if repeated
                else ()
            )
            yield replace(part, names=tuple(names))

    def _listed(self) -> Iterator[tuple[File, str | None]]:
        """Yield the files of the dataset, each with its split."""
        path = self.place
        if path.is_file():
            yield self._file(path), _split_of(path)
        elif (path / SPLITS).is_file():
            for split in _json(path / SPLITS).get("splits", []):
                for file in _saved_files(_inside(path, split)):
                    yield self._file(file), split
        elif (path / STATE).is_file():
            split = _json(path / STATE).get("_split")
            for file in _saved_files(path):
                yield self._file(file), split if isinstance(split, str) else None
        else:
            for found in listed(path):
                if suffix_of(found.name) == ".parquet":
                    yield found, _split_of(path / found.name)

    def _file(self, path: AnyPath) -> File:
        try:
            head = path.stat()
        except OSError as error:
            raise DatasetError(f"{path} cannot be read: {error.strerror or error}.") from error
        return File(relative(path, self.root), head.st_size)

    def _repeated(self, parts: Sequence[Slice]) -> set[int]:
        """Return the keys of paths that several rows have, where these are to be ids; count files that no row names."""
        keys, used = array("Q"), set[str]()  # 8 bytes per row
        for part in parts:
            table = _Table(self.root / part.container, self._columns)
            for _, paths, are_files in table.rows(part, only_paths=True):
                used.update(path for path, is_file in zip(paths, are_files, strict=True) if path and is_file)
                if not table.has_ids:
                    keys.extend(_key(path) for path in paths if path)
        if self.place.is_dir():
            count_unlisted(recordings_below(self.place) - used, self.ignored)
        ordered = np.sort(np.frombuffer(keys, np.uint64)) if keys else np.zeros(0, np.uint64)
        return set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())

    def _paths(self, part: Slice) -> Iterator[str]:
        for _, paths, _ in _Table(self.root / part.container, self._columns).rows(part, only_paths=True):
            yield from filter(None, paths)

    def read(self, part: Slice) -> Pairs:
        file, name, row, repeated = self.root / part.container, part.container, part.start, set(part.names)
        try:
            table = _Table(file, self._columns)
            labels = _labels(table.schema)
            for values, paths, are_files in table.rows(part):
                for item, path, is_file in zip(values, paths, are_files, strict=True):
                    place = Location(path=name, row=row, column=table.audio)
                    named = {key: _label(labels.get(key), value) for key, value in item.items()}
                    named = {"split": part.split} | renamed(named, table.renames, str(file))
                    own = path if path and path not in repeated else f"{name}:{row:08d}"
                    identity = text_of(named.pop("id", None)) or own
                    yield (
                        labelled(identity, path if is_file and path else str(place), named),
                        f"{name} row {row}",
                    )
                    row += 1
        except (OSError, pa.ArrowException, UnicodeDecodeError, OverflowError) as error:
            reason = " ".join(str(error).split())[:500]
            raise DatasetError(f"{file} cannot be read: {reason}.") from error


def _key(path: str) -> int:
    """Return a number that is the same in every process, and practically never that of another path."""
    return int.from_bytes(hashlib.blake2b(path.encode(errors="surrogatepass"), digest_size=8).digest())


def _saved_files(folder: AnyPath) -> list[AnyPath]:
    state = _json(folder / STATE)
    if state.get("_indices_data_files"):
        raise DatasetError(f"{folder} holds a selection of rows; call `flatten_indices()` and save it again.")
    files = state.get("_data_files", [])
    if not isinstance(files, list) or not all(isinstance(item, dict) for item in files):
        raise DatasetError(f"{folder / STATE} must list files, as `save_to_disk` writes it.")
    return [_inside(folder, item.get("filename")) for item in files]


def _inside(folder: AnyPath, name: Any) -> AnyPath:
    """Return what a saved dataset names in its folder."""
    if (
        not isinstance(name, str)
        or not name
        or "/" in name
        or "\\" in name
        or "\0" in name
        or name in (".", "..")
    ):
        raise DatasetError(f"{folder} names the file {short(name)}, which is none in this folder.")
    return folder / name


def _split_of(file: AnyPath) -> str | None:
    """Return the split of `train-00000-of-00004.parquet`, or of `train/0000.parquet` as the Hub converts."""
    found = re.fullmatch(r"(\w+(?:\.\w+)*)-\d{5}-of-\d{5}(?:-\w+)?", file.stem)
    if found:
        return found[1]
    return file.parent.name.removeprefix("partial-") if re.fullmatch(r"\d{4,5}", file.stem) else None


def _json(path: AnyPath) -> dict[str, Any]:
    content = read_json(path, error=DatasetError)
    return content if isinstance(content, dict) else {}


_Rows = Iterator[tuple[list[dict[str, Any]], list[str | None], list[bool]]]
"""Other columns of some rows, path of the audio of each, and whether that is a file."""


class _Group(NamedTuple):
    """A run of rows that are stored together."""

    start: int
    stop: int
    seconds: float
    """By the size of their audio."""


class _Table:
    """One file of a dataset.

    Args:
        file: where it lies.
        columns: names the dataset uses, by the name they have here.

    Raises:
        DatasetError: when it cannot be read, has no audio, or lacks a column.
    """

    def __init__(self, file: AnyPath, columns: Mapping[str, str]) -> None:
        self._file = file
        self._parquet = None if file.suffix == ".arrow" else open_parquet(file)
        if self._parquet is None:
            with _opened_arrow(file) as reader:
                self.schema = reader.schema
        else:
            self.schema = self._parquet.schema_arrow
        self.has_ids = "id" in columns or "id" in self.schema.names
        audio = _audio_column(self.schema, columns)
        if audio is None:
            raise DatasetError(
                f"{file} has no column of audio; it has: {', '.join(self.schema.names)}. "
                "Binary columns are audio when named so: --column audio=NAME."
            )
        self.audio: str = audio
        """The column of audio."""
        self.renames = {ours: theirs for ours, theirs in columns.items() if ours != "audio"}
        """Names it uses of other columns, by the name they have here."""
        renamed(dict.fromkeys(self.schema.names), self.renames, str(file))
        names = _fields(self.schema.field(audio).type)
        self._has_paths, self._has_bytes = "path" in names, "bytes" in names
        self._kept = [field.name for field in self.schema if _is_plain(field.type)]

    @property
    def groups(self) -> Iterator[_Group]:
        """The runs of rows that are read at once."""
        if self._parquet is None:
            sizes = [(len(batch), batch.get_total_buffer_size()) for batch in _arrow_batches(self._file)]
        else:
            footer, chunks = self._parquet.metadata, column_chunks(self._parquet.metadata)
            sizes = [
                (
                    footer.row_group(group).num_rows,
                    sum(
                        chunk.stored_bytes
                        for chunk in chunks[group]
                        if chunk.path.split(".")[0] == self.audio
                    ),
                )
                for group in range(footer.num_row_groups)
            ]
        begin = 0
        for rows, size in sizes:
            yield _Group(begin, begin + rows, max(size / BYTE_RATE, 0.1 * rows))
            begin += rows

    def rows(self, part: Slice, *, only_paths: bool = False) -> _Rows:
        """Yield the rows of a slice, some at a time."""
        kept = [] if only_paths else self._kept
        for number, group in enumerate(self.groups):
            if group.stop > part.start and (part.stop is None or group.start < part.stop):
                yield from (
                    self._parquet_rows(number, kept) if self._parquet else self._arrow_rows(number, kept)
                )

    def _arrow_rows(self, number: int, kept: list[str]) -> _Rows:
        whole = next(islice(_arrow_batches(self._file), number, None))
        try:
            whole.validate(full=True)
        except (pa.ArrowException, ValueError) as error:
            raise DatasetError(
                f"{self._file} cannot be read: {' '.join(str(error).split())[:500]}."
            ) from error
        for begin in range(0, len(whole), _BATCH_ROWS):
            batch = whole.slice(begin, _BATCH_ROWS)  # whose audio stays in the mapped file
            paths, are_files = _unknown(len(batch))
            if self._has_paths:
                paths = batch[self.audio].field("path").to_pylist()
            if self._has_bytes:
                are_files = batch[self.audio].field("bytes").is_null().to_pylist()
            yield batch.select(kept).to_pylist() if kept else [{}] * len(batch), paths, are_files

    def _parquet_rows(self, group: int, kept: list[str]) -> _Rows:
        reader = self._parquet
        assert reader is not None  # noqa: S101 - for mypy
        paths_of = [f"{self.audio}.path"] if self._has_paths else []
        place = _leaf(reader, f"{self.audio}.bytes") if self._has_bytes else None
        are_cells_empty = _empty_cells(reader, group, self.audio, place)
        whole = read_group(reader, self._file, group, [*kept, *paths_of])
        rows = reader.metadata.row_group(group).num_rows  # which a table without columns does not know
        for begin in range(0, rows, _BATCH_ROWS):
            table, count = whole.slice(begin, _BATCH_ROWS), min(_BATCH_ROWS, rows - begin)
            paths, are_files = _unknown(count)
            if paths_of:
                paths = table[self.audio].combine_chunks().field("path").to_pylist()
            if place is not None:
                are_files = list(islice(are_cells_empty, count))
            yield table.select(kept).to_pylist() if kept else [{}] * count, paths, are_files


@contextmanager
def _opened_arrow(file: AnyPath) -> Iterator[pa.RecordBatchReader]:
    """Give the batches of an Arrow file, mapped into memory."""
    if isinstance(file, Path):
        require_regular_file(file, "Arrow file", error=DatasetError)
    try:
        mapped = pa.memory_map(str(file)) if isinstance(file, Path) else pa.PythonFile(file.open("rb"))
        with pa.ipc.open_stream(mapped) as reader:
            yield reader
    except (OSError, pa.ArrowException, ValueError) as error:
        raise DatasetError(f"{file} cannot be read: {' '.join(str(error).split())[:500]}.") from error


def _arrow_batches(file: AnyPath) -> Iterator[pa.RecordBatch]:
    with _opened_arrow(file) as reader:
        yield from reader


def _unknown(rows: int) -> tuple[list[str | None], list[bool]]:
    return [None] * rows, [False] * rows


def _leaf(reader: pq.ParquetFile, path: str) -> int:
    return next(index for index in range(len(reader.schema)) if reader.schema.column(index).path == path)


def _empty_cells(reader: pq.ParquetFile, group: int, audio: str | None, place: int | None) -> Iterator[bool]:
    """Yield whether the cell of each row of a group holds no bytes; they are read only where some do and some do not."""
    if place is None:
        return
    rows = reader.metadata.row_group(group).num_rows
    empty = column_chunks(reader.metadata)[group][place].null_count
    if empty in (0, rows):
        yield from repeat(empty == rows, rows)
        return
    for batch in reader.iter_batches(batch_size=_CELLS, row_groups=[group], columns=[f"{audio}.bytes"]):
        yield from batch.column(0).field("bytes").is_null().to_pylist()


def _audio_column(schema: pa.Schema, columns: Mapping[str, str]) -> str | None:
    """Return the column of audio: the one named, else `audio`, else the only one of the type."""
    found = [field.name for field in schema if _is_audio(field.type)]
    wanted = columns.get("audio")
    if wanted is not None:
        is_binary = wanted in schema.names and _is_binary(schema.field(wanted).type)
        return wanted if wanted in found or is_binary else None
    if "audio" in found:
        return "audio"
    return found[0] if len(found) == 1 and "audio" not in schema.names else None


def _is_audio(kind: pa.DataType) -> bool:
    names = _fields(kind)
    return names == {"bytes", "path"} or names >= {"array", "sampling_rate"}


def _fields(kind: pa.DataType) -> set[str]:
    """Return the names in a structure; none for another type."""
    return {kind.field(index).name for index in range(kind.num_fields)} if pa.types.is_struct(kind) else set()


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_plain(kind: pa.DataType) -> bool:
    return not (pa.types.is_nested(kind) or _is_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _labels(schema: pa.Schema) -> dict[str, list[str]]:
    """Return the names of classes of the columns that hold their numbers, where the metadata are as `datasets` writes them."""
    try:
        described = json_value((schema.metadata or {}).get(b"huggingface", b"{}").decode())
        features = described.get("info", {}).get("features", {})
        classes = {
            name: item["names"] for name, item in features.items() if item.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, AttributeError):
        return {}
    return {
        name: names
        for name, names in classes.items()
        if isinstance(names, list) and all(isinstance(item, str) for item in names)
    }


def _label(names: list[str] | None, value: Any) -> Any:
    if names is None or not isinstance(value, int):
        return value
    return names[value] if 0 <= value < len(names) else None
