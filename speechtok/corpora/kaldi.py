"""A Kaldi data folder: `wav.scp`, and beside it optionally `text`, `utt2spk`, `utt2lang`, `segments`.

Source: Kaldi documentation, "Data preparation" and "Kaldi I/O mechanisms" (archives), and what its tool
`extract-segments` says of itself (channels, the end -1, and how far a segment may reach beyond its recording).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace

from speechtok.audio.location import Location, location_of
from speechtok.corpora.corpus import Corpus, Pairs, Unique, is_file, read_lines
from speechtok.errors import DatasetError
from speechtok.storage import AnyPath, join
from speechtok.utterances import Utterance

TO_THE_END = -1.0
"""End of a segment that goes to the end of its recording."""
_RECORD = re.compile(r"(.+):(\d{1,18})$")


def read_kaldi(wav_scp: AnyPath) -> Corpus:
    """Return the utterances of a `wav.scp`, or of the `segments` beside it.

    Relative paths start at the folder of `wav.scp`.

    Raises:
        DatasetError: for a malformed line, an id that occurs twice, a segment of an unknown
            recording, or an entry that is a command (commands are never run).
    """
    folder = wav_scp.parent
    recordings = {name: _located(path, folder) for name, path in _table(wav_scp).items()}
    for name, path in recordings.items():
        if path.endswith("|"):
            raise DatasetError(
                f"{wav_scp} gives a command for '{name}'; commands are not run. Write the audio to files and list those."
            )
    tables = [_table(folder / name) for name in ("text", "utt2spk", "utt2lang")]
    segments = folder / "segments"

    def read() -> Pairs:
        found = _segments(segments, recordings) if segments.is_file() else _whole(recordings, wav_scp)
        text, speakers, languages = tables
        for item, place in found:
            yield (
                replace(
                    item,
                    text=text.get(item.id),
                    speaker=speakers.get(item.id),
                    language=languages.get(item.id),
                ),
                place,
            )

    source = str(segments if segments.is_file() else wav_scp)
    return Corpus(kind="kaldi", name=folder.resolve().name, root=folder, utterances=Unique(read, source))


def _located(path: str, folder: AnyPath) -> str:
    """Return where a recording lies; `path:offset` is a record of an archive unless there is such a file."""
    found = _RECORD.match(path)
    if found is None or is_file(join(folder, path)):
        return path
    return str(Location(path=found[1], offset=int(found[2])))


def _whole(recordings: dict[str, str], wav_scp: AnyPath) -> Iterator[tuple[Utterance, str]]:
    for name, path in recordings.items():
        yield Utterance(id=name, audio=path), wav_scp.name


def _segments(segments: AnyPath, recordings: dict[str, str]) -> Iterator[tuple[Utterance, str]]:
    for number, line in enumerate(read_lines(segments), start=1):
        parts = line.split()
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
                f"{segments} line {number} must be 'utterance recording start end' with times in seconds, and a channel "
                f"counted from 0 where one is meant, got '{line[:200]}'."
            ) from None
        if recording not in recordings:
            raise DatasetError(
                f"{segments} line {number} names the recording '{recording}', which wav.scp does not list."
            )
        is_rest = stop == TO_THE_END
        if not 0 <= start < (math.inf if is_rest else stop) or math.isinf(stop):
            raise DatasetError(
                f"{segments} line {number} must have 0 <= start < end, or the end -1, got {start:g} and {stop:g}."
            )
        yield (
            Utterance(
                id=name,
                audio=_of_channel(recordings[recording], channel, f"{segments} line {number}"),
                start=start,
                segment_seconds=None if is_rest else stop - start,
            ),
            f"line {number}",
        )


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


def _table(path: AnyPath) -> dict[str, str]:
    """Return the `key value…` lines of a file; nothing when there is no such file."""
    is_label = path.name in ("utt2spk", "utt2lang")
    if not path.is_file():
        return {}
    table: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        key, *rest = line.split(maxsplit=1)
        value = rest[0].strip() if rest else ""
        if not value and path.name == "wav.scp":
            raise DatasetError(f"{path} line {number} must be 'id path', got '{line[:200]}'.")
        if is_label and len(value.split()) > 1:
            raise DatasetError(
                f"{path} line {number} must be 'id label', without white space in the label, got '{line[:200]}'."
            )
        if key in table:
            raise DatasetError(
                f"{path} has the id '{key}' twice, at line {lines[key]} and at line {number}; ids must be unique."
            )
        table[key], lines[key] = value, number
    return table
