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
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from speechtok.corpora.corpus import Pairs, labelled, plain_path, read_lines, renamed
from speechtok.corpora.folder import count_unlisted, recordings_below
from speechtok.corpora.manifest import delimited, json_lines
from speechtok.errors import DatasetError
from speechtok.storage import AnyPath, relative

Read = Callable[[], Pairs]
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


def find_ljspeech(root: AnyPath, columns: Mapping[str, str], ignored: Counter[str]) -> Read | None:
    """Return what reads a folder in the style of LJSpeech, or None if it is none.

    Args:
        root: the folder.
        columns: fields of the list, by the name they have here: a name in its header, or a number from 1.
        ignored: where files that are no utterance are counted.
    """
    table = root / "metadata.csv"
    if not table.is_file():
        return None
    names = [cells[0] for _, cells in islice(_cells(table), _LOOKED_AT) if len(cells) > 1]
    recordings = _Recordings(root) if names else None
    if recordings is None or not any(recordings.find(name, table) for name in names):
        return None
    return partial(_ljspeech_rows, table, recordings, columns, ignored)


def _cells(table: AnyPath) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(read_lines(table), start=1):
        if line:
            yield number, line.split("|")


def _ljspeech_rows(
    table: AnyPath, recordings: _Recordings, columns: Mapping[str, str], ignored: Counter[str]
) -> Pairs:
    ignored.clear()
    looked = list(islice(_cells(table), _COMPARED))
    has_header = (
        recordings.find(looked[0][1][0], table) is None
        and looked[0][1][0].strip().lower() in _HEADER["audio"]
    )
    rows = [cells for _, cells in looked[has_header:]]
    is_ljspeech = not columns and all(_LJSPEECH.fullmatch(cells[0]) and len(cells) < 4 for cells in rows)
    if is_ljspeech:
        names = None
    elif has_header:
        names = _by_header(looked[0][1], columns, table)
    else:
        names = _by_content(rows, columns, table)
    used = set[str]()
    form = "{}"
    for number, cells in _cells(table):
        if has_header and number == looked[0][0]:
            continue
        width = len(names) if names else max(2, min(3, len(cells)))
        if len(cells) != width:
            shape = "|".join(names) if names else "id|text|normalized text"
            raise DatasetError(f"{table} line {number} must be '{shape}', got '{'|'.join(cells)[:60]}'.")
        if names:
            values: dict[str, Any] = dict(zip(names, (cell.strip() for cell in cells), strict=True))
        else:
            values = {"audio": cells[0], "text": cells[-1], "speaker": "LJ", "language": "en"}
        name = values.pop("audio")
        values["text"] = values.get("text") or values.get("original_text")
        audio = recordings.find(name, table)
        if audio is None:
            audio = form.format(name)  # which will be found missing
        elif name and form == "{}" and name in audio:
            form = audio.replace("{", "{{").replace("}", "}}").replace(name, "{}", 1)
        used.add(audio)
        identity = str(values.pop("id", None) or name)
        yield labelled(identity, plain_path(audio, str(table)), values), f"{table.name} line {number}"
    count_unlisted(recordings.paths - used, ignored)


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


def find_audiofolder(root: AnyPath, columns: Mapping[str, str], ignored: Counter[str]) -> Read | None:
    """Return what reads a folder in the way of AudioFolder, or None if it is none; arguments as `find_ljspeech`."""
    folders = [base / name for base in (root, root / "data") for name in ("", *_SPLIT_FOLDERS)]
    tables = [
        table
        for folder in folders
        for name in ("metadata.csv", "metadata.jsonl")
        if (table := folder / name).is_file()
    ]
    tables = [table for table in tables if _names_files(table)]
    return partial(_audiofolder_rows, root, tables, columns, ignored) if tables else None


def _names_files(table: AnyPath) -> bool:
    """Return whether the first row of a list has a `file_name`."""
    try:
        _, row = next(_table_rows(table), ("", {}))
    except DatasetError:
        return False
    return "file_name" in row


def _table_rows(table: AnyPath) -> Iterator[tuple[str, dict[str, Any]]]:
    if table.suffix == ".csv":
        yield from delimited(table)
    else:
        for number, row in json_lines(table):
            yield f"line {number}", row


def _audiofolder_rows(
    root: AnyPath, tables: Sequence[AnyPath], columns: Mapping[str, str], ignored: Counter[str]
) -> Pairs:
    ignored.clear()
    used = set[str]()
    for table in tables:
        name = table.parent.name
        split = name if name in _SPLIT_FOLDERS and table.parent != root else None
        for place, row in _table_rows(table):
            values = {"split": split} | renamed(row, columns, str(table))
            file = values.pop("file_name", None)
            if not isinstance(file, str) or not file:
                raise DatasetError(f"{table} {place} names no file in the column file_name.")
            if "text" not in values and "transcription" in values:
                values["text"] = values.pop("transcription")
            audio = plain_path(_below(table.parent, file, root), str(table))
            used.add(audio)
            plain = {key: value for key, value in values.items() if _is_plain(value)}
            identity = str(plain.pop("id", None) or audio)
            yield labelled(identity, audio, plain), f"{relative(table, root)} {place}"
    count_unlisted(recordings_below(root) - used, ignored)


def _below(folder: AnyPath, name: str, root: AnyPath) -> str:
    """Return the path of a file from the root on, as its list names it."""
    if name.startswith("/"):
        return name
    return str(PurePosixPath("" if folder == root else relative(folder, root)) / name)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
