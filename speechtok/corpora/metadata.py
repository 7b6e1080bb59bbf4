"""A folder of recordings with a list of what they say: `metadata.csv` in the style of LJSpeech, or AudioFolder's.

In the style of LJSpeech a line is `name|…`, without a header or with one. The first field names a recording, with or
without its folder and its suffix; what the others hold is told by the header, by the user, or by what stands in them
where that leaves no doubt. Nothing is added that the list does not state, unless the names are those of LJSpeech
itself. AudioFolder's `metadata.csv` or `metadata.jsonl` has a column `file_name`, and lies in the folder or in
those of its splits.

Sources: keithito.com/LJ-Speech-Dataset; `datasets`, "Create an audio dataset", AudioFolder.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from speechtok.corpora.corpus import labelled, plain_path, renamed
from speechtok.corpora.folder import count_unlisted, recordings_below
from speechtok.corpora.lines import Lines
from speechtok.corpora.lists import ListSource
from speechtok.corpora.manifest import delimited, json_lines
from speechtok.corpora.slices import File, Pairs, Slice, Source
from speechtok.errors import DatasetError
from speechtok.storage import AnyPath, relative

_LOOKED_AT = 100
"""Lines that are looked at to tell whether a list names the recordings of its folder …"""
_COMPARED = 10_000
"""… and to tell what its fields hold."""
_LJSPEECH = re.compile(r"LJ\d{3}-\d{4}")
_HEADER = {
    "audio": (
        "audio",
        "audio_file",
        "audio_path",
        "file",
        "file_name",
        "filename",
        "path",
        "wav",
        "wav_path",
        "id",
    ),
    "text": ("normalized_text", "text", "transcript", "transcription", "sentence"),
    "speaker": ("speaker", "speaker_name", "speaker_id"),
    "language": ("language", "lang"),
}
"""Names in a header by what they mean, the first of those that are there."""
_SPLIT_FOLDERS = ("train", "validation", "valid", "val", "dev", "test", "eval")
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]"
)
"""Letters of scripts that put no space between words."""


def find_ljspeech(root: AnyPath, columns: Mapping[str, str]) -> Source | None:
    """Return the corpus in a folder in the style of LJSpeech, or None if it is none.

    Args:
        root: the folder.
        columns: fields of the list, by the name they have here: a name in its header, or a number from 1.
    """
    table = root / "metadata.csv"
    if not table.is_file():
        return None
    names = [cells[0] for _, cells in islice(_cells(Lines(table)), _LOOKED_AT) if len(cells) > 1]
    recordings = _Recordings(root) if names else None
    if recordings is None or not any(recordings.find(name, table) for name in names):
        return None
    return _LJSpeech(table, recordings, columns)


class _LJSpeech(ListSource):
    """A folder in the style of LJSpeech."""

    kind = "ljspeech"

    def __init__(self, table: AnyPath, recordings: _Recordings, columns: Mapping[str, str]) -> None:
        super().__init__(table.parent, table.parent.resolve().name)
        self._table, self._recordings, self._columns = table, recordings, columns
        self._header: int | None = None
        """Number of the line that names the fields."""
        self._names: list[str] | None = None
        """What the fields mean; None for those of LJSpeech itself."""
        self._form = "{}"
        """How the path of a recording follows from its name, for those that are not there."""
        self._is_looked_at = False

    @property
    def tables(self) -> Sequence[AnyPath]:
        return [self._table]

    def rows(self, lines: Lines, *, is_all: bool) -> Pairs:
        self._look()
        used = set[str]()
        for number, cells in _cells(lines):
            if number == self._header:
                continue
            values = self._values(number, cells)
            name = values.pop("audio")
            values["text"] = values.get("text") or values.get("original_text")
            audio = self._recordings.find(name, self._table)
            if audio is None:
                audio = self._form.format(name)  # which will be found missing
            if is_all:
                used.add(audio)
            identity = str(values.pop("id", None) or name)
            item = labelled(identity, plain_path(audio, str(self._table)), values)
            yield item, f"{self._table.name} line {number}"
        if is_all:
            count_unlisted(self._recordings.paths - used, self.ignored)

    def _look(self) -> None:
        """See what the fields mean, by the first lines."""
        if self._is_looked_at:
            return
        self._is_looked_at = True
        looked = list(islice(_cells(Lines(self._table)), _COMPARED))
        first, head = looked[0]
        find = self._recordings.find
        if find(head[0], self._table) is None and head[0].strip().lower() in _HEADER["audio"]:
            self._header = first
        rows = [cells for number, cells in looked if number != self._header]
        is_own = not self._columns and all(_LJSPEECH.fullmatch(cells[0]) and len(cells) < 4 for cells in rows)
        if not is_own and self._header is not None:
            self._names = _by_header(head, self._columns, self._table)
        elif not is_own:
            self._names = _by_content(rows, self._columns, self._table)
        place = 0 if self._names is None else self._names.index("audio")
        for name in (cells[place].strip() for cells in rows if place < len(cells)):
            if name and (audio := find(name, self._table)) is not None and name in audio:
                self._form = audio.replace("{", "{{").replace("}", "}}").replace(name, "{}", 1)
                return

    def _values(self, number: int, cells: Sequence[str]) -> dict[str, Any]:
        names = self._names
        if len(cells) != (len(names) if names else max(2, min(3, len(cells)))):
            shape = "|".join(names) if names else "id|text|normalized text"
            raise DatasetError(
                f"{self._table} line {number} must be '{shape}', got '{'|'.join(cells)[:60]}'."
            )
        if names:
            return dict(zip(names, (cell.strip() for cell in cells), strict=True))
        return {"audio": cells[0], "text": cells[-1], "speaker": "LJ", "language": "en"}


def _cells(lines: Lines) -> Iterator[tuple[int, list[str]]]:
    for line in lines.bare():
        if line:
            yield lines.number, line.split("|")


def _by_header(header: Sequence[str], columns: Mapping[str, str], table: AnyPath) -> list[str]:
    """Return what each field means, by its name or as the user says."""
    given = [name.strip().lower() for name in header]
    meant = {
        given.index(known[0]): ours
        for ours, names in _HEADER.items()
        if (known := [name for name in names if name in given])
    }
    free = [f"original_{name}" if name in meant.values() else name for name in given]
    return _named([meant.get(place, name) for place, name in enumerate(free)], columns, table, given)


def _by_content(rows: Sequence[Sequence[str]], columns: Mapping[str, str], table: AnyPath) -> list[str]:
    """Return what each field means, by what stands in it or as the user says."""
    width = len(rows[0])
    names = ["audio", *(f"field_{number}" for number in range(2, width + 1))]
    if columns:
        return _named(names, columns, table, [])
    if width == 2:
        return ["audio", "text"]
    place = _speaker_field([row for row in rows if len(row) == width]) if width == 3 else None
    if place is None:
        raise DatasetError(
            f"{table} has {width} fields, and it cannot be told which is the text; say so, such as "
            "--column text=2 --column speaker=3, counted from 1."
        )
    return [["audio", "original_text", "text"], ["audio", "speaker", "text"], ["audio", "text", "speaker"]][
        place
    ]


def _named(names: list[str], columns: Mapping[str, str], table: AnyPath, header: Sequence[str]) -> list[str]:
    """Return the names of fields after the user's own were set in."""
    for ours, theirs in columns.items():
        place = (
            header.index(theirs.lower())
            if theirs.lower() in header
            else int(theirs) - 1
            if theirs.isdecimal()
            else -1
        )
        if not 0 <= place < len(names):
            listed = ", ".join(header) or f"1 to {len(names)}"
            raise DatasetError(f"{table} has no field {theirs}; it has: {listed}.")
        names = [f"field_{number}" if name == ours else name for number, name in enumerate(names, start=1)]
        names[place] = ours
    if "audio" not in names:
        raise DatasetError(f"{table} needs a field `audio` that names each recording.")
    return names


def _speaker_field(rows: Sequence[Sequence[str]]) -> int | None:
    """Return which of the fields 1 and 2 holds speakers; 0 if both say the same; None if that cannot be told."""
    fields = [[row[place].strip() for row in rows] for place in (1, 2)]
    words = [[set(re.findall(r"\w+", text.casefold())) for text in field] for field in fields]
    alike = sum(bool(one & other) or not (one and other) for one, other in zip(*words, strict=True))
    if 2 * alike >= len(rows):
        return 0
    kinds = [len(set(field)) for field in fields]
    spaced = [any(re.search(r"\s", text) for text in field) for field in fields]
    unspaced = [any(map(_UNSPACED.search, field)) for field in fields]
    for own, other in ((0, 1), (1, 0)):
        is_text = spaced[other] or unspaced[other]
        is_label = not (spaced[own] or unspaced[own]) and kinds[own] <= kinds[other]
        is_alone = kinds[own] == len(rows)  # no speaker twice, which only a short list has
        is_repeated = 2 * kinds[own] <= min(len(rows), kinds[other])
        is_short = all(0 < len(text) <= 64 for text in fields[own])
        if (
            is_text
            and is_short
            and (is_repeated or (is_label and not (is_alone and (unspaced[other] or len(rows) > 9))))
        ):
            return own + 1
    return None


class _Recordings:
    """The recordings below a folder, found by what a list calls them."""

    def __init__(self, root: AnyPath) -> None:
        self.paths = recordings_below(root)
        self._named = defaultdict[str, list[str]](list)
        for path in sorted(self.paths):
            place = PurePosixPath(path)
            for name in {place.name, place.stem, str(place.with_suffix(""))} - {path}:
                self._named[name].append(path)

    def find(self, name: str, table: AnyPath) -> str | None:
        """Return the path of a recording, or None if there is none of this name.

        Args:
            name: its path, with or without folders and suffix.
            table: where it was named, for messages.

        Raises:
            DatasetError: when there are several.
        """
        parts = PurePosixPath(name.strip()).parts
        for first in range(len(parts)):
            path = "/".join(parts[first:])
            if path in self.paths:
                return path
            found = self._named.get(path, [])
            if len(found) > 1:
                raise DatasetError(
                    f"{table} names '{name[:200]}', which may be {found[0]} or {found[1]}; write paths with folder and suffix."
                )
            if found:
                return found[0]
        return None


def find_audiofolder(root: AnyPath, columns: Mapping[str, str]) -> Source | None:
    """Return the corpus in a folder in the way of AudioFolder, or None if it is none; arguments as `find_ljspeech`."""
    folders = [base / name for base in (root, root / "data") for name in ("", *_SPLIT_FOLDERS)]
    tables = [
        table
        for folder in folders
        for name in ("metadata.csv", "metadata.jsonl")
        if (table := folder / name).is_file()
    ]
    tables = [table for table in tables if _names_files(table)]
    return _AudioFolder(root, tables, columns) if tables else None


def _names_files(table: AnyPath) -> bool:
    """Return whether the first row of a list has a `file_name`."""
    try:
        _, row = next(_table_rows(Lines(table, newline=_newline(table))), ("", {}))
    except DatasetError:
        return False
    return "file_name" in row


def _newline(table: AnyPath) -> str:
    return "" if table.suffix == ".csv" else "\n"


def _table_rows(lines: Lines) -> Iterator[tuple[str, dict[str, Any]]]:
    if lines.path.suffix == ".csv":
        yield from delimited(lines)
    else:
        for number, row in json_lines(lines):
            yield f"line {number}", row


class _AudioFolder(ListSource):
    """A folder of recordings with lists that name them."""

    kind = "audiofolder"

    def __init__(self, root: AnyPath, tables: Sequence[AnyPath], columns: Mapping[str, str]) -> None:
        super().__init__(root, root.resolve().name)
        self._tables, self._columns = tables, columns

    @property
    def tables(self) -> Sequence[AnyPath]:
        return self._tables

    def newline(self, table: AnyPath) -> str:
        return _newline(table)

    def slices(self, files: Iterable[File], seconds: float) -> Iterator[Slice]:
        self._used = set[str]()
        yield from super().slices(files, seconds)
        count_unlisted(recordings_below(self.root) - self._used, self.ignored)

    def rows(self, lines: Lines, *, is_all: bool) -> Pairs:
        table = lines.path
        name = table.parent.name
        split = name if name in _SPLIT_FOLDERS and table.parent != self.root else None
        for place, row in _table_rows(lines):
            values = {"split": split} | renamed(row, self._columns, str(table))
            file = values.pop("file_name", None)
            if not isinstance(file, str) or not file:
                raise DatasetError(f"{table} {place} names no file in the column file_name.")
            if "text" not in values and "transcription" in values:
                values["text"] = values.pop("transcription")
            audio = plain_path(_below(table.parent, file, self.root), str(table))
            if is_all:
                self._used.add(audio)
            plain = {key: value for key, value in values.items() if _is_plain(value)}
            identity = str(plain.pop("id", None) or audio)
            yield labelled(identity, audio, plain), f"{relative(table, self.root)} {place}"


def _below(folder: AnyPath, name: str, root: AnyPath) -> str:
    """Return the path of a file from the root on, as its list names it."""
    if name.startswith("/"):
        return name
    return str(PurePosixPath("" if folder == root else relative(folder, root)) / name)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
