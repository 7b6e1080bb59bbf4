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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from speechtok.corpora.corpus import Renamed, json_value, listed, renamed, short, text_of
from speechtok.corpora.lines import Lines
from speechtok.corpora.lists import ListSource, seconds_of
from speechtok.corpora.slices import File, Pairs, Slice
from speechtok.errors import DatasetError
from speechtok.limits import COLUMNS
from speechtok.shards.parquet import read_parquet_rows
from speechtok.storage import AnyPath, file_sha256
from speechtok.utterances import Utterance

SUFFIXES = (".csv", ".tsv", ".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
"""Formats of a manifest; `.json` holds lines as `.jsonl` does."""
_NEMO = {"audio": "audio_filepath", "start": "offset"}
"""Names that NeMo has for what is meant here."""
_OBJECTS = (".jsonl", ".jsonl.gz", ".json", ".json.gz")
_MEANING = {"id", "audio", "start", "duration", "split", "text", "speaker", "language"}


class Manifest(ListSource):
    """The utterances of a manifest.

    Without an `id` column the id is the path as written, followed by `:start-end` for a segment.

    Args:
        path: the manifest.
        columns: names the manifest uses, by the name they have here, such as {"audio": "path"}.

    Raises:
        DatasetError: when read, for a missing `audio` column or a malformed row.
    """

    kind = "manifest"

    def __init__(self, path: AnyPath, columns: Mapping[str, str]) -> None:
        super().__init__(path.parent, path.name)
        self.place, self._columns = path, columns
        self._is_objects = path.name.endswith(_OBJECTS)

    def newline(self, table: AnyPath) -> str:
        return "\n" if self._is_objects else ""

    @property
    def tables(self) -> Sequence[AnyPath]:
        return [self.place]

    def rows(self, lines: Lines, *, is_all: bool) -> Pairs:
        if self._is_objects:
            yield from self._objects(lines, is_all)
            return
        for place, row in delimited(lines):
            yield self._pair(place, renamed(row, self._columns, str(self.place)), row)

    def _objects(self, lines: Lines, is_all: bool) -> Pairs:
        """Yield the utterances of JSON lines, of which each may lack what others have."""
        fields: Renamed | None = None
        for number, row in json_lines(lines):
            if fields is None:
                fields = self._fields(row if is_all else None)
            place = f"line {number}"
            yield self._pair(place, fields(row, f"{self.place} {place}"), row)
        if fields is not None and is_all:
            fields.check()

    def _fields(self, first: Mapping[str, Any] | None) -> Renamed:
        """Return the names of the manifest, by its first row."""
        if first is None:
            _, first = next(json_lines(Lines(self.place)), (0, {}))
        nemo = {}
        if "audio_filepath" in first and "audio" not in first:
            nemo = _NEMO if self._columns.get("audio") in (None, "audio_filepath") else {}
        return Renamed({**nemo, **self._columns}, optional={*nemo.values()} - {*self._columns.values()})

    def _pair(self, place: str, values: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[Utterance, str]:
        if "audio" not in values:
            raise DatasetError(
                f"{self.place} needs a column `audio` with the path of each recording; it has: {listed(row)}. "
                "Another name is given as --column audio=NAME."
            )
        return _utterance(self.place, place, values), place


class ParquetManifest(Manifest):
    """The utterances of a manifest that is a Parquet file."""

    def version(self, path: AnyPath) -> str:
        next(read_parquet_rows(path), None)
        return file_sha256(path)

    def slices(self, files: Iterable[File], seconds: float) -> Iterator[Slice]:
        for _ in files:  # their hashes are for comparison
            pass
        held = Slice(container=self.place.name)
        for number, (item, _) in enumerate(self.read(held), start=1):
            held = replace(held, stop=number, seconds=held.seconds + seconds_of(item))
            if held.seconds >= seconds:
                yield held
                held = Slice(container=self.place.name, start=number)
        if held.seconds:
            yield held

    def read(self, part: Slice) -> Pairs:
        for number, row in enumerate(read_parquet_rows(self.place, part.start, part.stop), part.start + 1):
            yield self._pair(f"row {number}", renamed(row, self._columns, str(self.place)), row)


def read_manifest(path: AnyPath, columns: Mapping[str, str]) -> Manifest:
    """Return the source of a manifest of any kind."""
    return (ParquetManifest if path.suffix == ".parquet" else Manifest)(path, columns)


def json_lines(lines: Lines) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number and the object of each line that is not blank.

    Raises:
        DatasetError: when the file cannot be read, or a line is no JSON object.
    """
    path = lines.path
    for line in lines:
        if not line.strip():
            continue
        number = lines.number
        try:
            row = json_value(line)
        except ValueError as error:
            raise DatasetError(f"{path} line {number} is not JSON: {error}.") from None
        if not isinstance(row, dict):
            raise DatasetError(f"{path} line {number} must be a JSON object, got {type(row).__name__}.")
        yield number, row


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


def delimited(lines: Lines) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the cells by column of each row of a .csv or .tsv file; empty cells are None.

    Args:
        lines: the rows, from the header on or from a later one; made with `newline=""`.

    Raises:
        DatasetError: when the file cannot be read, or a row has another number of cells than the header.
    """
    path = lines.path
    header = None if lines.place == 0 else _header(_cells(Lines(path, newline="")), path)
    for number, cells in _cells(lines):
        if header is None:
            header = _header(iter([(number, cells)]), path)
        elif cells and len(cells) != len(header):
            raise DatasetError(
                f"{path} line {number} has {len(cells)} columns, but the header has {len(header)}."
            )
        elif cells:
            yield f"line {number}", {name: cell or None for name, cell in zip(header, cells, strict=True)}


def _cells(lines: Lines) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each row, and the number of the line where it begins: a quoted cell may hold line ends."""
    path, begun = lines.path, lines.number + 1
    tab = path.suffix == ".tsv"
    reader = csv.reader(
        lines, delimiter="\t" if tab else ",", quoting=csv.QUOTE_NONE if tab else csv.QUOTE_MINIMAL
    )
    try:
        for cells in reader:
            number, begun = begun, lines.number + 1
            yield number, cells
    except csv.Error as error:
        raise DatasetError(f"{path} cannot be read as {path.suffix}: {error}.") from None


def _header(rows: Iterator[tuple[int, list[str]]], path: AnyPath) -> list[str]:
    _, header = next(rows, (0, list[str]()))
    if len(header) > COLUMNS:
        raise DatasetError(
            f"{path} has {len(header):,} columns, more than the {COLUMNS:,} that a list may have."
        )
    twice = next((name for name, count in Counter(header).items() if count > 1), None)
    if twice is not None:
        raise DatasetError(f"{path} has the column {twice} twice; rename one of them.")
    return header


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
