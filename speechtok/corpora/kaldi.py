"""A Kaldi data folder: `wav.scp`, and beside it optionally `text`, `utt2spk`, `utt2lang`, `segments`.

Source: Kaldi documentation, "Data preparation" and "Kaldi I/O mechanisms" (archives), and what its tool
`extract-segments` says of itself (channels, the end -1, and how far a segment may reach beyond its recording).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from speechtok.audio.location import Location, location_of
from speechtok.corpora.corpus import is_file
from speechtok.corpora.lines import Lines
from speechtok.corpora.lists import ListSource
from speechtok.corpora.slices import Pairs
from speechtok.errors import DatasetError
from speechtok.storage import AnyPath, join
from speechtok.utterances import Utterance

TO_THE_END = -1.0
"""End of a segment that goes to the end of its recording."""
_RECORD = re.compile(r"(.+):(\d{1,18})$")


class Kaldi(ListSource):
    """The utterances of a `wav.scp`, or of the `segments` beside it.

    Relative paths start at the folder of `wav.scp`.

    Raises:
        DatasetError: when read, for a malformed line, an id that a table has twice, a segment of an unknown
            recording, or an entry that is a command (commands are never run).
    """

    kind = "kaldi"

    def __init__(self, wav_scp: AnyPath) -> None:
        self._folder = wav_scp.parent
        super().__init__(self._folder, self._folder.resolve().name)
        self._wav_scp = wav_scp
        self._has_segments = (self._folder / "segments").is_file()
        self.place = self._folder / "segments" if self._has_segments else wav_scp

    @property
    def tables(self) -> Sequence[AnyPath]:
        return [self.place]

    @property
    def beside(self) -> Sequence[AnyPath]:
        tables = [self._folder / name for name in ("text", "utt2spk", "utt2lang")]
        return [
            *([self._wav_scp] if self._has_segments else []),
            *(path for path in tables if path.is_file()),
        ]

    def rows(self, lines: Lines, *, is_all: bool) -> Pairs:
        found = self._segments(lines, is_all) if self._has_segments else self._whole(lines)
        if is_all:  # of what lies beside, it is only seen whether that is well-formed
            for path in self.beside:
                _table(path, frozenset())
            yield from found
            return
        pairs = list(found)
        names = frozenset(item.id for item, _ in pairs)
        text, speakers, languages = (
            _table(self._folder / name, names) for name in ("text", "utt2spk", "utt2lang")
        )
        for item, place in pairs:
            yield (
                replace(
                    item,
                    text=text.get(item.id),
                    speaker=speakers.get(item.id),
                    language=languages.get(item.id),
                ),
                place,
            )

    def _whole(self, lines: Lines) -> Pairs:
        for number, key, path in _entries(lines):
            yield Utterance(id=key, audio=self._located(key, path)), f"line {number}"

    def _located(self, name: str, path: str) -> str:
        """Return where a recording lies; `path:offset` is a record of an archive unless there is such a file."""
        if path.endswith("|"):
            raise DatasetError(
                f"{self._wav_scp} gives a command for '{name}'; commands are not run. Write the audio to files and list those."
            )
        found = _RECORD.match(path)
        if found is None or is_file(join(self._folder, path)):
            return path
        return str(Location(path=found[1], offset=int(found[2])))

    def _segments(self, lines: Lines, is_all: bool) -> Pairs:
        found = [] if is_all else list(_fields_of_segments(lines))
        wanted = None if is_all else frozenset(item.recording for item in found)
        recordings = {name: self._located(name, path) for name, path in _table(self._wav_scp, wanted).items()}
        for item in _fields_of_segments(lines) if is_all else found:
            source = f"{lines.path} line {item.number}"
            if item.recording not in recordings:
                raise DatasetError(
                    f"{source} names the recording '{item.recording}', which wav.scp does not list."
                )
            yield (
                Utterance(
                    id=item.name,
                    audio=_of_channel(recordings[item.recording], item.channel, source),
                    start=item.start,
                    segment_seconds=item.seconds,
                ),
                f"line {item.number}",
            )


class _Segment(NamedTuple):
    """One line of `segments`."""

    number: int
    name: str
    recording: str
    start: float
    seconds: float | None
    """None runs to the end."""
    channel: str | None


def _fields_of_segments(lines: Lines) -> Iterator[_Segment]:
    for line in lines:
        parts, source = line.split(), f"{lines.path} line {lines.number}"
        if not parts:
            continue
        try:
            name, recording, *times = parts
            start, stop = map(float, times[:2])
            (channel,) = times[2:] or (None,)
            if channel is not None and not re.fullmatch(r"\d{1,4}", channel):
                raise ValueError(channel)
        except ValueError:
            raise DatasetError(
                f"{source} must be 'utterance recording start end' with times in seconds, and a channel "
                f"counted from 0 where one is meant, got '{line.rstrip()[:200]}'."
            ) from None
        is_rest = stop == TO_THE_END
        if not 0 <= start < (math.inf if is_rest else stop) or math.isinf(stop):
            raise DatasetError(
                f"{source} must have 0 <= start < end, or the end -1, got {start:g} and {stop:g}."
            )
        yield _Segment(lines.number, name, recording, start, None if is_rest else stop - start, channel)


def _of_channel(audio: str, channel: str | None, source: str) -> str:
    """Return one channel of a recording, or all of it if none is named."""
    place = location_of(audio)
    if channel is None or place.channel == int(channel):
        return audio
    if place.channel is not None:
        raise DatasetError(
            f"{source} names channel {channel} of '{audio}', of which wav.scp takes channel {place.channel}."
        )
    return str(replace(place, channel=int(channel)))


def _entries(lines: Lines) -> Iterator[tuple[int, str, str]]:
    """Yield number, key and value of the `key value…` lines of a table."""
    path = lines.path
    is_label = path.name in ("utt2spk", "utt2lang")
    for line in lines.bare():
        if not line.strip():
            continue
        number = lines.number
        key, *rest = line.split(maxsplit=1)
        value = rest[0].strip() if rest else ""
        if not value and path.name == "wav.scp":
            raise DatasetError(f"{path} line {number} must be 'id path', got '{line[:200]}'.")
        if is_label and len(value.split()) > 1:
            raise DatasetError(
                f"{path} line {number} must be 'id label', without white space in the label, got '{line[:200]}'."
            )
        yield number, key, value


def _table(path: AnyPath, wanted: frozenset[str] | None) -> dict[str, str]:
    """Return the entries of a table by their keys; nothing when there is no such file.

    Args:
        path: the table.
        wanted: keys that are wanted; None takes all.

    Raises:
        DatasetError: for a malformed line, or a key that occurs twice.
    """
    table: dict[str, str] = {}
    if not path.is_file():
        return table
    seen = set[int]()
    for number, key, value in _entries(Lines(path)):
        own = hash(key)
        if own in seen:
            first = next((line for line, other, _ in _entries(Lines(path)) if other == key), number)
            if first != number:
                raise DatasetError(
                    f"{path} has the id '{key}' twice, at line {first} and at line {number}; ids must be unique."
                )
        seen.add(own)
        if wanted is None or key in wanted:
            table[key] = value
    return table
