"""Lists of units → token dataset.

Contents: `import_units`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from speechtok.commands.export_units import CONTENT, DURATIONS, LIST, PITCH, PITCHES, VOICES
from speechtok.commands.imported import Entry, write_imported
from speechtok.engine.settings import JobSettings
from speechtok.errors import DatasetError
from speechtok.formats.codecs_txt import Codes
from speechtok.formats.kaldi_matrix import read_ark
from speechtok.formats.table import SAMPLES, read_table
from speechtok.formats.unit_lines import UnitLine, read_unit_lines
from speechtok.shards.layout import is_split
from speechtok.storage import AnyPath
from speechtok.tokenizers.base import SpeechTokenizer
from speechtok.tokens import TokenizerInfo

REFERENCE_SAMPLES = 1_600_000
"""Audio the published quantizers take at once; each further piece has a unit less than the whole would have."""


def import_units(
    source: Path,
    output: str | AnyPath,
    loaded: SpeechTokenizer,
    *,
    split: str = "train",
    on_row: Callable[[], None] | None = None,
) -> int:
    """Make a token dataset from lists of units; returns the number of utterances.

    Lines are `name|1 2 3`, or dictionary literals with `audio`, units and `duration`. What `export_units` puts
    beside a list is read too. Where no length is stated an utterance is taken to be as long as its units allow;
    where there is no pitch the dataset has the stream `content` alone.

    Args:
        source: a list, or a folder with one list `SPLIT.txt` for each split.
        output: folder of the dataset; new or empty.
        loaded: the tokenizer that made the units: its fingerprint becomes theirs.
        split: split of the dataset, when `source` is one list.
        on_row: called after each utterance.

    Raises:
        DatasetError: naming the line of whatever cannot be read or does not fit the tokenizer.
        JobError: when the output is in use or cannot be written.
    """
    lists = _lists(source, split)
    entries, seen = list[Entry](), dict[str, str]()
    kinds = set[tuple[bool, int | None]]()
    for name, path in lists.items():
        lengths = read_table(path.parent / SAMPLES, int)
        for line, voice in _read(path):
            entries.append(_entry(line, name, loaded, lengths, seen))
            kinds.add((line.pitch is not None, None if voice is None else len(voice)))
            if len(kinds) > 1:
                raise DatasetError(
                    f"{line.place} ('{line.key}') must have pitch codes and a speaker vector where the lines before it do."
                )
    if not entries:
        raise DatasetError(f"{source} holds no utterance.")
    ((has_pitch, channels),) = kinds
    write_imported(
        output,
        entries,
        _rows(lists),
        info=_info(loaded, has_pitch, channels, source),
        card=loaded.card,
        corpus={"kind": "units", "name": source.name},
        job=JobSettings(split=split),
        on_row=on_row,
    )
    return len(entries)


def _lists(source: Path, split: str) -> dict[str, Path]:
    """Return split → list."""
    if not source.is_dir():
        return {split: source}
    beside = (DURATIONS, PITCHES)
    found = [path for path in sorted(source.glob(f"*{LIST}")) if not path.name.endswith(beside)]
    if not found:
        raise DatasetError(f"{source} holds no lists of units: there is no file SPLIT{LIST} in it.")
    lists = {path.name.removesuffix(LIST): path for path in found}
    odd = next((name for name in lists if not is_split(name)), None)
    if odd is not None:
        raise DatasetError(
            f"{lists[odd]} cannot name a split, which may hold letters, digits, underscores and single dots; rename it."
        )
    return lists


def _rows(lists: dict[str, Path]) -> Iterator[dict[str, Any]]:
    for path in lists.values():
        for line, voice in _read(path):
            row: dict[str, Any] = {CONTENT: line.units[None].astype(np.uint16)}
            if line.pitch is not None:
                row[PITCH] = line.pitch[None].astype(np.uint16)
            if voice is not None:
                row["speaker_embedding"] = voice
            yield row


def _read(path: Path) -> Iterator[tuple[UnitLine, np.ndarray[Any, Any] | None]]:
    """Yield every line of a list, units expanded, with its speaker vector where there are any.

    Raises:
        DatasetError: when what lies beside the list does not follow it line by line.
    """
    stem = path.name.removesuffix(LIST)
    durations, pitches, voices = (path.with_name(stem + end) for end in (DURATIONS, PITCHES, VOICES[0]))
    missing: Iterator[Any] = iter(())
    beside = zip_longest(
        read_unit_lines(path),
        read_unit_lines(durations) if durations.is_file() else missing,
        read_unit_lines(pitches) if pitches.is_file() else missing,
        read_ark(voices) if voices.is_file() else missing,
    )
    for line, lengths, pitch, voice in beside:
        for other, file in ((lengths, durations), (pitch, pitches)):
            if file.is_file():
                _check_same(line, None if other is None else other.key, file)
        if voices.is_file():
            _check_same(line, None if voice is None else voice[0], voices)
        if lengths is not None:
            line = replace(line, units=_expanded(line, lengths))
        if pitch is not None:
            line = replace(line, pitch=pitch.units)
        yield line, None if voice is None else voice[1].reshape(-1)


def _check_same(line: UnitLine | None, key: str | None, file: Path) -> None:
    if line is None:
        if key is None:  # another file goes on
            return
        raise DatasetError(f"{file} goes on with '{key}' after the end of its list.")
    if key != line.key:
        found = "ends there" if key is None else f"has '{key}' there"
        raise DatasetError(f"{line.place} ('{line.key}') needs the same line in {file}, which {found}.")


def _expanded(line: UnitLine, lengths: UnitLine) -> Codes:
    if len(lengths.units) != len(line.units) or (lengths.units < 1).any():
        raise DatasetError(
            f"{lengths.place} ('{line.key}') must hold one duration of at least 1 for each of the {len(line.units)} units."
        )
    return line.units.repeat(lengths.units)


def _entry(
    line: UnitLine, split: str, loaded: SpeechTokenizer, lengths: dict[str, int], seen: dict[str, str]
) -> Entry:
    """Check one utterance and return what the plan needs of it."""
    where = f"{line.place} ('{line.key}')"
    if line.key in seen:
        raise DatasetError(f"{where} repeats the name of {seen[line.key]}; names must be unique.")
    seen[line.key] = line.place
    for name, codes in ((CONTENT, line.units), (PITCH, line.pitch)):
        if codes is None:
            continue
        if name not in [stream.name for stream in loaded.streams]:
            raise DatasetError(f"{where} has pitch codes, which tokenizer '{loaded.name}' does not make.")
        size = loaded.info.stream(name).codebook_size
        if len(codes) and not (codes.min() >= 0 and codes.max() < size):
            raise DatasetError(
                f"{where} holds codes of {name} from {codes.min()} to {codes.max()}, outside [0, {size})."
            )
    stated = lengths.get(line.key)
    if stated is None and line.seconds is not None:
        stated = round(line.seconds * loaded.sample_rate)
    samples = loaded.num_samples(len(line.units), CONTENT) if stated is None else stated
    whole = loaded.num_frames(samples, CONTENT) if samples > 0 else -1
    if not whole - samples // REFERENCE_SAMPLES <= len(line.units) <= whole:
        raise DatasetError(
            f"{where} has {len(line.units)} units, but '{loaded.name}' makes {max(whole, 0)} of {samples:,} samples."
        )
    if line.pitch is not None and len(line.pitch) > loaded.num_frames(samples, PITCH):
        raise DatasetError(
            f"{where} has {len(line.pitch)} pitch codes, but '{loaded.name}' makes at most "
            f"{loaded.num_frames(samples, PITCH)} of {samples:,} samples."
        )
    return Entry(key=line.key, samples=samples, split=split, audio=line.audio)


def _info(loaded: SpeechTokenizer, has_pitch: bool, channels: int | None, source: Path) -> TokenizerInfo:
    """Return the tokenizer's info with what the lists hold."""
    if channels is not None and channels != loaded.speaker_embedding_dim:
        raise DatasetError(
            f"{source} has speaker vectors of {channels} channels, but those of '{loaded.name}' have "
            f"{loaded.speaker_embedding_dim or 'none'}."
        )
    streams = tuple(stream for stream in loaded.streams if stream.name == CONTENT or has_pitch)
    return replace(loaded.info, streams=streams, speaker_embedding_dim=channels)
