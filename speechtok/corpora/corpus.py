"""What every corpus format yields."""

from __future__ import annotations

import json
import os
import re
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from speechtok.audio.location import is_location
from speechtok.corpora.slices import Pairs, Source
from speechtok.errors import DatasetError
from speechtok.limits import RECORDING_SECONDS, TEXT_BYTES, read_bytes
from speechtok.storage import AnyPath, as_path, is_uri
from speechtok.utterances import Utterance

UNREADABLE = "transcripts that cannot be read"
"""How files beside recordings are counted that should hold their text and do not."""
FIRST_LOOK = 1 << 16
"""Utterances after which it is looked whether an id occurred twice, and again after twice as many, and so on."""
_LABEL = re.compile(r"\d+\s+\d+\s+\S+(\s.*)?")


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The utterances of one corpus."""

    kind: str
    """Format, such as "folder", "kaldi" or "webdataset"."""
    name: str
    """Name of the folder or file, without the path to it."""
    root: AnyPath
    """Folder that relative `Utterance.audio` paths start from."""
    utterances: Iterable[Utterance]
    """All utterances, each id once; they are read anew each time this is iterated, and never held at once."""
    ignored: Counter[str] = field(default_factory=Counter)
    """Files that were not taken for audio, counted by suffix, once `utterances` was iterated."""
    source: Source | None = field(default=None, repr=False)
    """Gives its slices, and what each holds; None for utterances that are in memory."""

    @classmethod
    def of(cls, source: Source) -> Corpus:
        """Return the corpus that a source reads."""
        return cls(
            kind=source.kind,
            name=source.name,
            root=source.root,
            utterances=Unique(source.pairs, str(source.place), advice=source.advice),
            ignored=source.ignored,
            source=source,
        )


class Unique:
    """Utterances that are read anew each time, and checked on the way.

    Args:
        read: begins to read.
        source: what messages call the corpus.
        advice: what to do where ids are not unique.

    Raises:
        DatasetError: as `checked`; at the end of an iteration, when there were none; by then, when an id occurred twice (both
            places are named).
    """

    def __init__(self, read: Callable[[], Pairs], source: str, *, advice: str = "") -> None:
        self._read, self._source, self._advice = read, source, advice

    def __iter__(self) -> Iterator[Utterance]:
        hashes = array("q")  # 8 bytes per utterance
        looked = FIRST_LOOK
        for utterance, place in self._read():
            utterance = checked(utterance, f"{self._source} {place}")
            hashes.append(hash(utterance.id))
            if len(hashes) == looked:  # not only at the end of a list that repeats a line for hours
                self._check_unique(np.array(hashes, np.int64))
                looked *= 2
            yield utterance
        if not hashes:
            raise DatasetError(nothing_in(self._source))
        self._check_unique(np.frombuffer(hashes, np.int64))

    def _check_unique(self, hashes: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        suspects = repeated(hashes)
        if not suspects:
            return
        seen: dict[str, str] = {}
        for utterance, place in self._read():
            if hash(utterance.id) not in suspects:
                continue
            if utterance.id in seen:
                raise DatasetError(
                    f"{self._source} has the id '{utterance.id}' twice, at {seen[utterance.id]} and at {place}; "
                    f"ids must be unique. {self._advice}".rstrip()
                )
            seen[utterance.id] = place


def nothing_in(source: str) -> str:
    """Return what is said of a corpus without utterances."""
    return f"{source} holds no utterance."


def checked(utterance: Utterance, source: str) -> Utterance:
    """Return an utterance, of which what cannot be stored or read is a fault; `source` is where it was read.

    Raises:
        DatasetError: for a name that is no valid Unicode and so cannot be stored.
        StorageError: for a URI with credentials in it.
    """
    if is_uri(utterance.audio):
        as_path(utterance.audio)  # which refuses credentials, before they are stored
    for name in (utterance.id, utterance.audio):
        if not _is_storable(name):
            raise DatasetError(f"{source} has the name {name!r}, which is no valid Unicode; rename it.")
    times = (utterance.start, utterance.segment_seconds or 0.0, utterance.seconds or 0.0)
    labels = {name: getattr(utterance, name) for name in ("text", "speaker", "language")}
    words = [name for name, value in labels.items() if not _is_storable(value or "")]
    extra = {
        name: value
        for name, value in utterance.extra.items()
        if isinstance(value, str) and not _is_storable(value)
    }
    if "\0" in utterance.audio:
        fault = "has a path with a NUL, which no file has."
    elif not max(times) <= RECORDING_SECONDS:
        fault = f"states a time of {max(times):g} s, and no recording is longer than {RECORDING_SECONDS:g} s."
    elif words or extra:
        fault = f"has a value in the column {next(iter([*words, *extra]))} that is no valid Unicode."
    else:
        return utterance
    return replace(
        utterance,
        text=None if "text" in words else utterance.text,
        speaker=None if "speaker" in words else utterance.speaker,
        language=None if "language" in words else utterance.language,
        start=0.0,
        segment_seconds=None,
        seconds=None,
        extra={name: None if name in extra else value for name, value in utterance.extra.items()},
        fault=utterance.fault or f"{source} of the recording {utterance.audio!r} {fault}",
    )


def repeated(hashes: np.ndarray[Any, np.dtype[np.int64]]) -> set[int]:
    """Return the numbers that occur more than once."""
    ordered = np.sort(hashes)
    return set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())


def json_value(text: str) -> Any:
    """Return the value of a JSON text; NaN and infinity are numbers here, as Python writes them.

    Raises:
        ValueError: when it is none, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def labelled(name: str, audio: str, values: Mapping[str, Any], *, fault: str | None = None) -> Utterance:
    """Return an utterance that is a whole recording, described by named values.

    Args:
        name: its id.
        audio: where it lies.
        values: `text`, `speaker`, `language`, `split`, and `duration` in seconds have their meaning; all
            others are kept as they came.
        fault: why it cannot be read, if it cannot.
    """
    known = ("text", "speaker", "language", "split", "duration")
    seconds = values.get("duration")
    is_length = (
        isinstance(seconds, int | float)
        and not isinstance(seconds, bool)
        and 0 < seconds <= RECORDING_SECONDS
    )
    return Utterance(
        id=name,
        audio=audio,
        seconds=float(seconds) if is_length and seconds is not None else None,
        split=text_of(values.get("split")),
        text=text_of(values.get("text")),
        speaker=text_of(values.get("speaker")),
        language=text_of(values.get("language")),
        fault=fault,
        extra={column: value for column, value in values.items() if column not in known},
    )


def text_of(value: Any) -> str | None:
    """Return a label as text; None for what is missing, empty or NaN."""
    return None if value is None or value == "" or value != value else str(value)


def listed(names: Iterable[str]) -> str:
    """Return names for a message: some of them, where there are many."""
    shown = list(islice(names, 41))
    return ", ".join(short(name, str) for name in shown[:40]) + (" …" if len(shown) > 40 else "")


def short(value: Any, write: Callable[[Any], str] = repr) -> str:
    """Return a value for a message: the beginning, of one that is long."""
    try:
        text = write(value)
    except (ValueError, RecursionError):  # such as an integer of thousands of digits
        return f"a {type(value).__name__}"
    return text if len(text) <= 200 else f"{text[:200]} …"


def renamed(values: Mapping[str, Any], columns: Mapping[str, str], source: str) -> dict[str, Any]:
    """Return values under the names they have here.

    Args:
        values: by the name they have in the corpus.
        columns: names in the corpus, by the name they have here.
        source: what messages call the corpus.

    Raises:
        DatasetError: when a name is not there.
    """
    for theirs in columns.values():
        if theirs not in values:
            raise DatasetError(f"{source} has no column {theirs}; it has: {listed(values)}.")
    used = {*columns, *columns.values()}
    kept = {name: value for name, value in values.items() if name not in used}
    return kept | {ours: values[theirs] for ours, theirs in columns.items()}


class Renamed:
    """Gives values the names they have here, where each row has its own; a name that only some rows have is None elsewhere.

    Args:
        columns: names in the corpus, by the name they have here.
        optional: names of these that no row need have.
    """

    def __init__(self, columns: Mapping[str, str], *, optional: Collection[str] = ()) -> None:
        self._columns = dict(columns)
        self._missing = {name: "" for name in columns.values() if name not in optional}

    def __call__(self, values: Mapping[str, Any], source: str) -> dict[str, Any]:
        """Return the values of one row; `source` is what messages call it."""
        for name in list(self._missing):
            if name in values:
                del self._missing[name]
            elif not self._missing[name]:
                self._missing[name] = f"{source} has no column {name}; it has: {listed(values)}."
        used = {*self._columns, *self._columns.values()}
        kept = {name: value for name, value in values.items() if name not in used}
        return kept | {ours: values.get(theirs) for ours, theirs in self._columns.items()}

    @property
    def are_known(self) -> bool:
        """Whether a row had each of the names."""
        return not self._missing

    def check(self) -> None:
        """Raise `DatasetError` for a name that no row has, with what the first one has."""
        for sentence in filter(None, self._missing.values()):
            raise DatasetError(sentence)


def transcript(path: AnyPath, ignored: Counter[str]) -> str | None:
    """Return the text of a small file beside a recording, in one line; of one that is no text nothing, and it is counted.

    Files of times and labels, as HTK writes them under the same suffix, are no transcripts.

    Args:
        path: the file.
        ignored: where it is counted as one that cannot be read.
    """
    try:
        content = read_bytes(path, TEXT_BYTES, "transcript", error=DatasetError).decode("utf-8-sig")
    except (DatasetError, UnicodeDecodeError):
        ignored[UNREADABLE] += 1
        return None
    lines = content.split("\n")
    if any(lines) and all(_LABEL.fullmatch(line.strip()) for line in lines if line.strip()):
        return None
    return text_of(" ".join(content.split("\n")).replace("\r", "").strip())


def is_file(path: AnyPath) -> bool:
    """Return whether there is a file; none can be of a name that the system refuses."""
    return os.path.isfile(path) if isinstance(path, Path) else path.is_file()  # noqa: PTH113 - never raises


def plain_path(audio: str, source: str) -> str:
    """Return the path of a file, unless it reads like a place inside a file.

    Raises:
        DatasetError: when it does, as nobody could tell the two apart.
    """
    if is_location(audio):
        raise DatasetError(
            f"{source} has the file name {audio!r}, which reads like a part of a file; rename it."
        )
    return audio


def _is_storable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
