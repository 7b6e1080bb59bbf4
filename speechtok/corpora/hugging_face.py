"""Hugging Face datasets: Parquet files with audio in them, or a folder that `save_to_disk` wrote.

Source: `datasets`, "Dataset features": an `Audio` column is `{"bytes": …, "path": …}`; decoded rows that were written
without their features are `{"array": …, "sampling_rate": …}`.

Recordings stay in their cells and are read from there; all other columns are read to plan a job.
Rows without bytes name a file by their path.

Files are data of others: they must be regular files, and what they hold is checked, by value and by size, before it
is used.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from speechtok.audio.location import Location, is_location
from speechtok.corpora.corpus import (
    Corpus,
    Pairs,
    Unique,
    json_value,
    labelled,
    plain_path,
    renamed,
    short,
    text_of,
)
from speechtok.corpora.folder import count_unlisted, recordings_below, walk
from speechtok.errors import DatasetError
from speechtok.limits import read_json, require_regular_file
from speechtok.parquet_footer import column_chunks
from speechtok.shards.parquet import open_parquet, read_group
from speechtok.storage import AnyPath, relative

STATE = "state.json"
"""Names the files of a dataset that was saved to disk."""
SPLITS = "dataset_dict.json"
"""Names the splits of a dataset that was saved to disk, each a folder."""
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


def read_hugging_face(path: AnyPath, columns: Mapping[str, str]) -> Corpus:
    """Return the rows of a Parquet file, of all Parquet files below a folder, or of a saved dataset.

    The id is the column `id`; without it the path in the audio column, or, where there is none or several rows have it,
    file and row.

    Args:
        path: the file or the folder.
        columns: names the dataset uses, by the name they have here.

    Raises:
        DatasetError: when iterated, for a file that cannot be read or has no audio, or an id that occurs twice.
    """
    root = path if path.is_dir() else path.parent
    ignored = Counter[str]()

    def read() -> Pairs:
        ignored.clear()
        used = set[str]()
        repeated = _repeated(path, columns)
        for file, split in _files(path):
            for item, place in _utterances(root, file, split, columns, repeated):
                if not is_location(item.audio):
                    used.add(item.audio)
                yield item, place
        if path.is_dir():
            count_unlisted(recordings_below(path) - used, ignored)

    utterances = Unique(read, str(path), advice="Name a column of ids with --column id=NAME.")
    return Corpus(
        kind="hugging_face", name=path.resolve().name, root=root, utterances=utterances, ignored=ignored
    )


def _files(path: AnyPath) -> Iterator[tuple[AnyPath, str | None]]:
    """Yield the files of a dataset, each with its split."""
    if path.is_file():
        yield path, _split_of(path)
    elif (path / SPLITS).is_file():
        for split in _json(path / SPLITS).get("splits", []):
            for file in _saved_files(_inside(path, split)):
                yield file, split
    elif (path / STATE).is_file():
        split = _json(path / STATE).get("_split")
        for file in _saved_files(path):
            yield file, split if isinstance(split, str) else None
    else:
        for file in walk(path):
            if file.suffix == ".parquet":
                yield file, _split_of(file)


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


def _repeated(path: AnyPath, columns: Mapping[str, str]) -> set[int]:
    """Return the hashes of paths that several rows have, where these are to be ids."""
    hashes = array("q")  # 8 bytes per row
    for file, _ in _files(path):
        schema, batches = _opened(file, columns, only_paths=True)
        if "id" not in columns and "id" not in schema.names:
            hashes.extend(hash(name) for _, paths, _ in batches for name in paths if name)
    ordered = np.sort(np.frombuffer(hashes, np.int64)) if hashes else np.zeros(0, np.int64)
    return set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())


def _utterances(
    root: AnyPath, file: AnyPath, split: str | None, columns: Mapping[str, str], repeated: set[int]
) -> Pairs:
    name = plain_path(relative(file, root), str(root))
    row = 0
    try:
        schema, batches = _opened(file, columns)
        audio = _audio_column(schema, columns)
        if audio is None:
            raise DatasetError(
                f"{file} has no column of audio; it has: {', '.join(schema.names)}. "
                "Binary columns are audio when named so: --column audio=NAME."
            )
        labels = _labels(schema)
        renames = {ours: theirs for ours, theirs in columns.items() if ours != "audio"}
        renamed(dict.fromkeys(schema.names), renames, str(file))  # before any row, so that all names are told
        for values, paths, are_files in batches:
            for item, path, is_file in zip(values, paths, are_files, strict=True):
                place = Location(path=name, row=row, column=audio)
                named = {key: _label(labels.get(key), value) for key, value in item.items()}
                named = {"split": split} | renamed(named, renames, str(file))
                own = path if path and hash(path) not in repeated else f"{name}:{row:08d}"
                identity = text_of(named.pop("id", None)) or own
                yield labelled(identity, path if is_file and path else str(place), named), f"{name} row {row}"
                row += 1
    except (OSError, pa.ArrowException, UnicodeDecodeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:500]
        raise DatasetError(f"{file} cannot be read: {reason}.") from error


_Batches = Iterator[tuple[list[dict[str, Any]], list[str | None], list[bool]]]


def _opened(
    file: AnyPath, columns: Mapping[str, str], *, only_paths: bool = False
) -> tuple[pa.Schema, _Batches]:
    """Return the schema of a file and its rows: other columns, path of the audio, whether that is a file."""
    if file.suffix == ".arrow":
        table = _arrow_table(file)
        schema, read = table.schema, partial(_arrow_batches, table)
    else:
        reader = open_parquet(file)
        schema, read = reader.schema_arrow, partial(_parquet_batches, reader, file)
    kept = [field.name for field in schema if _is_plain(field.type) and not only_paths]
    return schema, read(_audio_column(schema, columns), kept)


def _arrow_table(file: AnyPath) -> pa.Table:
    """Return an Arrow file, mapped into memory, whose values were checked to lie in it."""
    if isinstance(file, Path):
        require_regular_file(file, "Arrow file", error=DatasetError)
    try:
        mapped = pa.memory_map(str(file)) if isinstance(file, Path) else pa.PythonFile(file.open("rb"))
        table = pa.ipc.open_stream(mapped).read_all()
        table.validate(full=True)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise DatasetError(f"{file} cannot be read: {' '.join(str(error).split())[:500]}.") from error
    return table


def _arrow_batches(table: pa.Table, audio: str | None, kept: list[str]) -> _Batches:
    for batch in table.to_batches(max_chunksize=_BATCH_ROWS):  # whose audio stays in the mapped file
        paths, are_files = _unknown(len(batch))
        if audio is not None and pa.types.is_struct(batch.schema.field(audio).type):
            names = _fields(batch.schema.field(audio).type)
            paths = batch[audio].field("path").to_pylist() if "path" in names else paths
            are_files = batch[audio].field("bytes").is_null().to_pylist() if "bytes" in names else are_files
        yield batch.select(kept).to_pylist() if kept else [{}] * len(batch), paths, are_files


def _unknown(rows: int) -> tuple[list[str | None], list[bool]]:
    return [None] * rows, [False] * rows


def _parquet_batches(reader: pq.ParquetFile, file: AnyPath, audio: str | None, kept: list[str]) -> _Batches:
    schema = reader.schema_arrow
    names = _fields(schema.field(audio).type) if audio is not None else set()
    paths_of = [f"{audio}.path"] if "path" in names else []
    place = _leaf(reader, f"{audio}.bytes") if "bytes" in names else None
    for group in range(reader.metadata.num_row_groups):
        are_cells_empty = _empty_cells(reader, group, audio, place)
        whole = read_group(reader, file, group, [*kept, *paths_of])
        rows = reader.metadata.row_group(group).num_rows  # which a table without columns does not know
        for begin in range(0, rows, _BATCH_ROWS):
            table, count = whole.slice(begin, _BATCH_ROWS), min(_BATCH_ROWS, rows - begin)
            paths, are_files = _unknown(count)
            if paths_of:
                paths = table[audio].combine_chunks().field("path").to_pylist()
            if place is not None:
                are_files = list(islice(are_cells_empty, count))
            yield table.select(kept).to_pylist() if kept else [{}] * count, paths, are_files


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
