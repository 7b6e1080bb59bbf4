"""Lhotse manifests: cuts, or recordings with their supervisions, as .jsonl or .jsonl.gz.

Source: lhotse, `lhotse/cut/mono.py`, `lhotse/audio/recording.py` and `lhotse/supervision.py` describe the fields.

A cut becomes one utterance, and so does each supervision of a recording. Lhotse's lazy operations (mixing,
padding, speed, gain) are recipes for audio that is in no file, and are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from speechtok.audio.location import Location
from speechtok.corpora.corpus import is_file, text_of
from speechtok.corpora.lines import Lines
from speechtok.corpora.lists import ListSource
from speechtok.corpora.manifest import json_lines
from speechtok.corpora.slices import Pairs
from speechtok.errors import DatasetError
from speechtok.storage import AnyPath, is_store, join
from speechtok.utterances import Utterance

SLACK_SECONDS = 1e-3
"""How much shorter than its recording a cut may be and still be all of it: lhotse rounds times."""
_SAVE = "write the audio to files with `CutSet.save_audios` and give the cuts it returns"


def lhotse_kind(path: AnyPath) -> str | None:
    """Return "cuts", "recordings" or "supervisions" if the first object of a .jsonl file is one of lhotse's."""
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        return None
    _, first = next(json_lines(Lines(path)), (0, dict[str, Any]()))
    if str(first.get("type", "")).endswith("Cut"):
        return "cuts"
    if "sources" in first and "sampling_rate" in first:
        return "recordings"
    return "supervisions" if {"recording_id", "start", "duration"} <= set(first) else None


class Lhotse(ListSource):
    """The utterances of a lhotse manifest.

    Relative paths start at the folder of the manifest or, where the first recording is not there, at the
    current folder, as in lhotse.

    Args:
        path: the manifest.
        kind: what `lhotse_kind` says of it.

    Raises:
        DatasetError: for supervisions without recordings; when read, for a malformed line, an operation
            that has to be applied first, or a recording that is no file.
    """

    kind = "lhotse"

    def __init__(self, path: AnyPath, kind: str) -> None:
        if kind == "supervisions":
            raise DatasetError(
                f"{path} holds supervisions, which have no audio; give the cuts, or the recordings beside them."
            )
        super().__init__(_root(path, kind), path.name)
        self.place, self._is_cuts = path, kind == "cuts"
        beside = path.with_name(path.name.replace("recordings", "supervisions"))
        self._supervisions = None if self._is_cuts or beside == path or not beside.is_file() else beside

    @property
    def tables(self) -> Sequence[AnyPath]:
        return [self._supervisions or self.place]

    @property
    def beside(self) -> Sequence[AnyPath]:
        return [] if self._supervisions is None else [self.place]

    def rows(self, lines: Lines, *, is_all: bool) -> Pairs:
        if self._supervisions is not None:
            yield from self._supervised(lines, is_all)
            return
        make = _cut if self._is_cuts else _recording
        for number, item in json_lines(lines):
            place = f"line {number}"
            yield _read(self.place, place, partial(make, f"{self.place} {place}", item)), place

    def _supervised(self, lines: Lines, is_all: bool) -> Pairs:
        """Yield an utterance for each supervision of a recording."""
        rows = json_lines(lines)
        wanted: set[str] | None = None
        if not is_all:
            rows = iter(found := list(rows))
            wanted = {str(item.get("recording_id")) for _, item in found}
        recordings = {
            name: (number, item)
            for number, item in json_lines(Lines(self.place))
            if (name := str(item.get("id"))) and (wanted is None or name in wanted)
        }
        for number, supervision in rows:
            name, place = str(supervision.get("recording_id")), f"line {number}"
            if name not in recordings:
                raise DatasetError(
                    f"{lines.path} {place} is of the recording '{name}', which {self.place} does not list."
                )
            line, recording = recordings[name]
            source = f"{self.place} line {line}"
            yield _read(lines.path, place, partial(_supervision, source, supervision, recording)), place


def _root(path: AnyPath, kind: str) -> AnyPath:
    _, first = next(json_lines(Lines(path)))
    recording = first.get("recording") if kind == "cuts" else first
    sources = recording.get("sources") if isinstance(recording, dict) else None
    source = sources[0].get("source") if isinstance(sources, list) and sources else None
    is_here = isinstance(source, str) and not is_file(join(path.parent, source)) and is_file(Path(source))
    return Path() if is_here else path.parent


def _cut(source: str, cut: Mapping[str, Any]) -> Utterance:
    kind = cut["type"]
    if kind not in ("MonoCut", "MultiCut", "DataCut"):
        raise DatasetError(f"{source} is a {kind}, which is audio of no file; {_SAVE}.")
    if not cut.get("recording"):
        raise DatasetError(f"{source} has no recording; give cuts with audio.")
    channels = cut["channel"] if isinstance(cut["channel"], list) else [cut["channel"]]
    supervisions = sorted(cut.get("supervisions") or [], key=lambda item: item["start"])
    custom = cut.get("custom") or {}
    return _utterance(
        source,
        str(cut["id"]),
        cut["recording"],
        channels,
        start=float(cut["start"]),
        duration=float(cut["duration"]),
        supervisions=supervisions,
        extra={name: value for name, value in custom.items() if _is_plain(value)},
    )


def _recording(source: str, recording: Mapping[str, Any]) -> Utterance:
    duration = float(recording["duration"])
    return _utterance(source, str(recording["id"]), recording, None, start=0.0, duration=duration)


def _supervision(source: str, item: Mapping[str, Any], recording: Mapping[str, Any]) -> Utterance:
    channels = item.get("channel", 0)
    return _utterance(
        source,
        str(item["id"]),
        recording,
        channels if isinstance(channels, list) else [channels],
        start=float(item["start"]),
        duration=float(item["duration"]),
        supervisions=[item],
        extra={name: value for name, value in (item.get("custom") or {}).items() if _is_plain(value)},
    )


def _utterance(
    source: str,
    name: str,
    recording: Mapping[str, Any],
    channels: list[int] | None,
    *,
    start: float,
    duration: float,
    supervisions: list[Mapping[str, Any]] | tuple[()] = (),
    extra: Mapping[str, Any] | None = None,
) -> Utterance:
    whole = start == 0 and duration >= float(recording["duration"]) - SLACK_SECONDS
    if not (start >= 0 and duration > 0):
        raise DatasetError(f"{source} must have start >= 0 and duration > 0, got {start:g} and {duration:g}.")
    texts = [item["text"] for item in supervisions if item.get("text")]
    return Utterance(
        id=name,
        audio=_audio(source, recording, channels),
        start=start,
        segment_seconds=None if whole else duration,
        seconds=duration,
        text=" ".join(texts) or None,
        speaker=_common(supervisions, "speaker"),
        language=_common(supervisions, "language"),
        extra=extra or {},
    )


def _audio(source: str, recording: Mapping[str, Any], channels: list[int] | None) -> str:
    """Return the file of a recording, and which of its channels is meant if not all are."""
    if recording.get("transforms"):
        names = [item.get("name", "?") if isinstance(item, dict) else "?" for item in recording["transforms"]]
        raise DatasetError(f"{source} applies {', '.join(names)} to its recording; {_SAVE}.")
    files = [item for item in recording["sources"] if channels is None or {*channels} & {*item["channels"]}]
    if len(files) != 1:
        raise DatasetError(
            f"{source} must take its channels from one file, but has {len(files)}; make one cut per channel."
        )
    (file,) = files
    if file["type"] != "file" and not (file["type"] == "url" and is_store(file["source"])):
        raise DatasetError(
            f"{source} has audio of the type '{file['type']}'; only files are read (commands are never run): {_SAVE}."
        )
    wanted = {*file["channels"]} if channels is None else {*channels}
    if wanted == {*file["channels"]}:
        return str(file["source"])
    if len(wanted) > 1:
        raise DatasetError(
            f"{source} takes {len(wanted)} of {len(file['channels'])} channels; make one cut per channel."
        )
    return str(Location(path=file["source"], channel=file["channels"].index(wanted.pop())))


def _common(supervisions: list[Mapping[str, Any]] | tuple[()], name: str) -> str | None:
    """Return what all supervisions say, or None if they differ."""
    values = {text_of(item.get(name)) for item in supervisions}
    return values.pop() if len(values) == 1 else None


def _read(path: AnyPath, place: str, read: Callable[[], Utterance]) -> Utterance:
    """Return what `read` does; a field that is missing or of a wrong type is an error of that line."""
    try:
        return read()
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError) as error:
        raise DatasetError(f"{path} {place} is no complete lhotse object ({error!r}).") from None


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
