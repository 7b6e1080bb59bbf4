"""Hugging Face datasets: Parquet files with audio in them, or a folder that `save_to_disk` wrote.

Source: `datasets`, "Dataset features": an `Audio` column is `{"bytes": …, "path": …}`.

Recordings stay in their cells and are read from there; all other columns are read to plan a job.
Rows without bytes name a file by their path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from speechtok.audio.location import Location
from speechtok.corpora.corpus import Corpus, Pairs, Unique, labelled, plain_path, renamed, text_of
from speechtok.corpora.folder import walk
from speechtok.errors import DatasetError
from speechtok.storage import AnyPath, readable, relative

STATE = "state.json"
"""Names the files of a dataset that was saved to disk."""
SPLITS = "dataset_dict.json"
"""Names the splits of a dataset that was saved to disk, each a folder."""
_BATCH_ROWS = 1000


def is_saved(path: AnyPath) -> bool:
    """Return whether a folder was written by `save_to_disk`."""
    return (path / STATE).is_file() or (path / SPLITS).is_file()


def holds_audio(path: AnyPath, columns: Mapping[str, str]) -> bool:
    """Return whether a Parquet file keeps recordings in its cells, and not only paths of them."""
    try:
        schema = pq.read_schema(readable(path))
    except (OSError, pa.ArrowException):
        return False  # which the reader of manifests explains
    return _audio_column(schema, columns) is not None


def read_hugging_face(path: AnyPath, columns: Mapping[str, str]) -> Corpus:
    """Return the rows of a Parquet file, of all Parquet files below a folder, or of a saved dataset.

    The id is the column `id`; without it the path in the audio column, or else file and row.

    Args:
        path: the file or the folder.
        columns: names the dataset uses, by the name they have here.

    Raises:
        DatasetError: when iterated, for a file that cannot be read or has no audio, or an id that occurs twice.
    """
    root = path if path.is_dir() else path.parent

    def read() -> Pairs:
        for file, split in _files(path):
            yield from _utterances(root, file, split, columns)

    return Corpus(
        kind="hugging_face", name=path.resolve().name, root=root, utterances=Unique(read, str(path))
    )


def _files(path: AnyPath) -> Iterator[tuple[AnyPath, str | None]]:
    """Yield the files of a dataset, each with its split."""
    if path.is_file():
        yield path, _split_of(path)
    elif (path / SPLITS).is_file():
        for split in _json(path / SPLITS).get("splits", []):
            for file in _saved_files(path / split):
                yield file, split
    elif (path / STATE).is_file():
        split = _json(path / STATE).get("_split")
        for file in _saved_files(path):
            yield file, split
    else:
        for file in walk(path):
            if file.suffix == ".parquet":
                yield file, _split_of(file)


def _saved_files(folder: AnyPath) -> list[AnyPath]:
    state = _json(folder / STATE)
    if state.get("_indices_data_files"):
        raise DatasetError(f"{folder} holds a selection of rows; call `flatten_indices()` and save it again.")
    return [folder / item["filename"] for item in state.get("_data_files", [])]


def _split_of(file: AnyPath) -> str | None:
    """Return the split of `train-00000-of-00004.parquet`, or of `train/0000.parquet` as the Hub converts."""
    found = re.fullmatch(r"(\w+(?:\.\w+)*)-\d{5}-of-\d{5}(?:-\w+)?", file.stem)
    if found:
        return found[1]
    return file.parent.name.removeprefix("partial-") if re.fullmatch(r"\d{4,5}", file.stem) else None


def _json(path: AnyPath) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read: {error}.") from error
    return content if isinstance(content, dict) else {}


def _utterances(root: AnyPath, file: AnyPath, split: str | None, columns: Mapping[str, str]) -> Pairs:
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
                identity = text_of(named.pop("id", None)) or path or f"{name}:{row:08d}"
                yield labelled(identity, path if is_file and path else str(place), named), f"{name} row {row}"
                row += 1
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise DatasetError(f"{file} cannot be read: {reason}.") from error


_Batches = Iterator[tuple[list[dict[str, Any]], list[str | None], list[bool]]]


def _opened(file: AnyPath, columns: Mapping[str, str]) -> tuple[pa.Schema, _Batches]:
    """Return the schema of a file and its rows: other columns, path of the audio, whether that is a file."""
    if file.suffix == ".arrow":
        mapped = pa.memory_map(str(file)) if isinstance(file, Path) else pa.PythonFile(file.open("rb"))
        table = pa.ipc.open_stream(mapped).read_all()
        return table.schema, _arrow_batches(table, _audio_column(table.schema, columns))
    reader = pq.ParquetFile(readable(file))
    return reader.schema_arrow, _parquet_batches(reader, _audio_column(reader.schema_arrow, columns))


def _arrow_batches(table: pa.Table, audio: str | None) -> _Batches:
    kept = [field.name for field in table.schema if _is_plain(field.type)]
    for batch in table.to_batches(max_chunksize=_BATCH_ROWS):  # whose audio stays in the mapped file
        paths, are_files = _unknown(len(batch))
        if audio is not None and pa.types.is_struct(batch.schema.field(audio).type):
            paths = batch[audio].field("path").to_pylist()
            are_files = batch[audio].field("bytes").is_null().to_pylist()
        yield batch.select(kept).to_pylist(), paths, are_files


def _unknown(rows: int) -> tuple[list[str | None], list[bool]]:
    return [None] * rows, [False] * rows


def _parquet_batches(reader: pq.ParquetFile, audio: str | None) -> _Batches:
    schema = reader.schema_arrow
    kept = [field.name for field in schema if _is_plain(field.type)]
    is_struct = audio is not None and pa.types.is_struct(schema.field(audio).type)
    leaves = [reader.schema.column(index).path for index in range(len(reader.schema))]
    for group in range(reader.metadata.num_row_groups):
        table = reader.read_row_group(group, columns=[*kept, *([f"{audio}.path"] if is_struct else [])])
        paths, are_files = _unknown(len(table))
        if is_struct:  # of the audio only paths and the number of empty cells are read
            paths = table[audio].combine_chunks().field("path").to_pylist()
            statistics = reader.metadata.row_group(group).column(leaves.index(f"{audio}.bytes")).statistics
            is_empty = statistics is not None and statistics.null_count == len(table)
            are_files = [is_empty] * len(table)
        yield table.select(kept).to_pylist(), paths, are_files


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
    if not pa.types.is_struct(kind):
        return False
    return {kind.field(index).name for index in range(kind.num_fields)} == {
        "bytes",
        "path",
    }


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_plain(kind: pa.DataType) -> bool:
    return not (pa.types.is_nested(kind) or _is_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _labels(schema: pa.Schema) -> dict[str, list[str]]:
    """Return the names of classes of the columns that hold their numbers."""
    described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = described.get("info", {}).get("features", {})
    return {
        name: item["names"]
        for name, item in features.items()
        if isinstance(item, dict) and item.get("_type") == "ClassLabel" and item.get("names")
    }


def _label(names: list[str] | None, value: Any) -> Any:
    if names is None or value is None:
        return value
    return names[value] if 0 <= value < len(names) else None
