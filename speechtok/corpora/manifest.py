"""A table with one row per utterance: .csv, .tsv, .jsonl or .parquet with an `audio` column, or NeMo's JSON lines.

Columns that mean something here: `audio` (path, relative to the manifest's folder), `id`, `split`,
`text`, `speaker`, `language`, and `start` with `duration` (seconds) for a segment of a recording;
`duration` without `start` describes the whole recording. All other columns are kept as they came.

Source: NeMo, "Datasets", preparing custom ASR data: lines of `audio_filepath`, `duration`, `text` and `offset`.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from speechtok.corpora.corpus import (
    Corpus,
    Pairs,
    Renamed,
    Unique,
    json_value,
    listed,
    read_lines,
    read_text,
    renamed,
    short,
    text_of,
)
from speechtok.errors import DatasetError
from speechtok.limits import COLUMNS
from speechtok.shards.parquet import read_parquet_rows
from speechtok.storage import AnyPath
from speechtok.utterances import Utterance

SUFFIXES = (".csv", ".tsv", ".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
"""Formats of a manifest; `.json` holds lines as `.jsonl` does."""
_NEMO = {"audio": "audio_filepath", "start": "offset"}
"""Names that NeMo has for what is meant here."""
_OBJECTS = (".jsonl", ".jsonl.gz", ".json", ".json.gz")
_MEANING = {"id", "audio", "start", "duration", "split", "text", "speaker", "language"}


def read_manifest(path: AnyPath, columns: Mapping[str, str]) -> Corpus:
    """Return the utterances of a manifest.

    Without an `id` column the id is the path as written, followed by `:start-end` for a segment.

    Args:
        path: the manifest.
        columns: names the manifest uses, by the name they have here, such as {"audio": "path"}.

    Raises:
        DatasetError: when iterated, for a missing `audio` column, a malformed row or an id that occurs twice.
    """
    utterances = Unique(lambda: _utterances(path, columns), str(path))
    return Corpus(kind="manifest", name=path.name, root=path.parent, utterances=utterances)


def json_lines(path: AnyPath) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number and the object of each line of a .jsonl file that is not blank.

    Raises:
        DatasetError: when the file cannot be read, or a line is no JSON object.
    """
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json_value(line)
        except ValueError as error:
            raise DatasetError(f"{path} line {number} is not JSON: {error}.") from None
        if not isinstance(row, dict):
            raise DatasetError(f"{path} line {number} must be a JSON object, got {type(row).__name__}.")
        yield number, row


def _utterances(path: AnyPath, columns: Mapping[str, str]) -> Pairs:
    if path.name.endswith(_OBJECTS):
        yield from _of_objects(path, columns)
        return
    for place, row in _rows(path):
        values = renamed(row, columns, str(path))
        _require_audio(path, values, row)
        yield _utterance(path, place, values), place


def _of_objects(path: AnyPath, columns: Mapping[str, str]) -> Pairs:
    """Yield the utterances of JSON lines, of which each may lack what others have."""
    fields: Renamed | None = None
    for number, row in json_lines(path):
        is_nemo = "audio_filepath" in row and columns.get("audio") in (None, "audio_filepath")
        if fields is None:
            nemo = _NEMO if is_nemo and "audio" not in row else {}
            fields = Renamed({**nemo, **columns}, optional={*nemo.values()} - {*columns.values()})
        values = fields(row, f"{path} line {number}")
        _require_audio(path, values, row)
        yield _utterance(path, f"line {number}", values), f"line {number}"
    if fields is not None:
        fields.check()


def _require_audio(path: AnyPath, values: Mapping[str, Any], row: Mapping[str, Any]) -> None:
    if "audio" not in values:
        raise DatasetError(
            f"{path} needs a column `audio` with the path of each recording; it has: {listed(row)}. "
            "Another name is given as --column audio=NAME."
        )


def _utterance(path: AnyPath, place: str, values: Mapping[str, Any]) -> Utterance:
    audio = values["audio"]
    if not isinstance(audio, str) or not audio:
        raise DatasetError(f"{path} {place}: `audio` must be a path, got {short(audio)}.")
    start, duration = _number(path, place, values, "start"), _number(path, place, values, "duration")
    segment = duration if start is not None else None
    if start is not None and (start < 0 or (segment is not None and segment <= 0)):
        raise DatasetError(
            f"{path} {place}: a segment needs start >= 0 and duration > 0, got {start:g} and {segment}."
        )
    name = text_of(values.get("id"))
    if name is None:
        name = (
            audio
            if start is None
            else f"{audio}:{start:.3f}-{'' if segment is None else f'{start + segment:.3f}'}"
        )
    return Utterance(
        id=name,
        audio=audio,
        start=start or 0.0,
        segment_seconds=segment,
        seconds=duration if duration and duration > 0 else None,
        split=text_of(values.get("split")),
        text=text_of(values.get("text")),
        speaker=text_of(values.get("speaker")),
        language=text_of(values.get("language")),
        extra={column: value for column, value in values.items() if column not in _MEANING},
    )


def _rows(path: AnyPath) -> Iterator[tuple[str, dict[str, Any]]]:
    if path.suffix == ".parquet":
        for number, row in enumerate(read_parquet_rows(path), start=1):
            yield f"row {number}", row
    else:
        yield from delimited(path)


def delimited(path: AnyPath) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the cells by column of each row of a .csv or .tsv file; empty cells are None.

    Raises:
        DatasetError: when the file cannot be read, or a row has another number of cells than the header.
    """
    tab = path.suffix == ".tsv"
    reader = csv.reader(
        read_text(path, newline=""),
        delimiter="\t" if tab else ",",
        quoting=csv.QUOTE_NONE if tab else csv.QUOTE_MINIMAL,
    )
    header: list[str] | None = None
    begun = 1
    try:
        for cells in reader:  # a quoted cell may hold line ends
            number, begun = begun, reader.line_num + 1
            if header is None:
                header = cells
                if len(header) > COLUMNS:
                    raise DatasetError(
                        f"{path} has {len(header):,} columns, more than the {COLUMNS:,} that a list may have."
                    )
                twice = next((name for name, count in Counter(header).items() if count > 1), None)
                if twice is not None:
                    raise DatasetError(f"{path} has the column {twice} twice; rename one of them.")
            elif cells and len(cells) != len(header):
                raise DatasetError(
                    f"{path} line {number} has {len(cells)} columns, but the header has {len(header)}."
                )
            elif cells:
                yield f"line {number}", {name: cell or None for name, cell in zip(header, cells, strict=True)}
    except csv.Error as error:
        raise DatasetError(f"{path} cannot be read as {path.suffix}: {error}.") from None


def _number(path: AnyPath, place: str, values: Mapping[str, Any], name: str) -> float | None:
    value = values.get(name)
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.inf
    if math.isinf(number):
        raise DatasetError(f"{path} {place}: `{name}` must be a number of seconds, got {short(value)}.")
    return None if math.isnan(number) else number  # tables from pandas write NaN for what is missing
