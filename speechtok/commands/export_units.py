"""Token dataset → lists of units, as fairseq and the trainers of unit vocoders read them.

Beside a list `NAME.txt` lies what the formats have no place for: `NAME.durations.txt` for merged units,
`NAME.pitch.txt`, `NAME.speaker.ark` with its `.scp`, and `utt2num_samples`; `import_units` reads all of it back.

Contents: `UNIT_FORMATS`, `Division`, `export_units`, `is_unit_info`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

import numpy as np

from speechtok.errors import DatasetError
from speechtok.formats.kaldi_matrix import MatrixWriter
from speechtok.formats.split_rule import TEST, TRAIN, VAL, divide, divide_like
from speechtok.formats.table import SAMPLES, write_table
from speechtok.formats.unit_lines import dict_line, units_line
from speechtok.shards.reader import TokenDataset
from speechtok.storage import AnyPath, as_path, replacing
from speechtok.tokens import TokenizerInfo

UNITS, DICTS = "units", "unit-dicts"
UNIT_FORMATS = (UNITS, DICTS)
"""Names of the formats: `name|1 2 3` lines in units.txt, and dictionary literals in one list per split."""
CONTENT, PITCH = "content", "pitch"
LIST, DURATIONS, PITCHES, VOICES = ".txt", ".durations.txt", ".pitch.txt", (".speaker.ark", ".speaker.scp")
"""Endings of a list and of what lies beside it."""
UNIT_KEY, _TMP = "unit_key", ".tmp"
_KEYS = {"hubert": "hubert", "cpc": "cpc_km100", "vqvae": "vqvae256"}
"""Content reader → the key its units stand under; `codes` for others."""


@dataclass(frozen=True, kw_only=True)
class Division:
    """How utterances are divided among train.txt, val.txt and test.txt."""

    held_out: float = 0.05
    """Share of the utterances that goes to test, and again to val, as published."""
    like: Path | None = None
    """Folder of lists that divide recordings of the same file names, instead of a share."""


def is_unit_info(info: TokenizerInfo) -> bool:
    """Return whether tokens are those of the unit family: content of one codebook, and perhaps pitch."""
    names = [stream.name for stream in info.streams]
    return names in ([CONTENT], [CONTENT, PITCH]) and all(item.num_codebooks == 1 for item in info.streams)


def export_units(
    dataset: str | AnyPath,
    folder: str | Path,
    *,
    to: str = UNITS,
    split: str | None = None,
    deduplicate: bool = False,
    audio_root: str | None = None,
    division: Division | None = None,
    allow_partial: bool = False,
    on_row: Callable[[], None] | None = None,
) -> int:
    """Write the units of a dataset; returns the number of utterances.

    Args:
        dataset: token dataset or token file with the stream `content`.
        folder: where to write; must not hold the files yet.
        to: "units" or "unit-dicts".
        split: only this split.
        deduplicate: merge repeated units and write how long each lasts beside them; for "units" only, as
            the vocoder's lists keep them.
        audio_root: folder put before each recording's path; for "unit-dicts" only.
        division: how the lists are divided, by the dataset's splits when left out; for "unit-dicts" only.
        allow_partial: take what is there of an unfinished dataset.
        on_row: called after each utterance.

    Raises:
        DatasetError: when the dataset holds other tokens, a file exists, or an id cannot be a name.
        ValueError: when an option does not go with the format.
    """
    if to == UNITS and (audio_root is not None or division is not None):
        raise ValueError(
            "An audio root and a division into lists go with the format unit-dicts, not with units."
        )
    if to == DICTS and deduplicate:
        raise ValueError(
            "Lists of the format unit-dicts keep repeated units; merge them with the format units."
        )
    folder, source = Path(folder), as_path(dataset)
    whole = TokenDataset(source, split=split, allow_partial=allow_partial)
    info = whole.info
    if not is_unit_info(info):
        raise DatasetError(f"{dataset} holds tokens of '{info.name}', which are no units.")
    choose = _chooser(whole, to, division)
    samples: list[tuple[str, int]] = []
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder / _TMP, ignore_errors=True)
        lists: dict[str, _List] = {}
        for name in choose.lists:
            lists[name] = _List(stack, folder / name, info, deduplicate=deduplicate, is_dict=to == DICTS)
        for own, row in _rows(whole):
            lists[choose(own, row)].add(row, audio_root)
            samples.append((row["id"], row["num_samples"]))
            if on_row is not None:
                on_row()
        if to == UNITS:
            write_table(stack.enter_context(_new(folder / SAMPLES)), samples)
    return len(samples)


class _List:
    """One list and what lies beside it, written while the stack is open."""

    def __init__(
        self, stack: ExitStack, path: Path, info: TokenizerInfo, *, deduplicate: bool, is_dict: bool
    ) -> None:
        def text(suffix: str) -> TextIO:
            temporary = stack.enter_context(_new(path.with_name(path.name + suffix)))
            return stack.enter_context(temporary.open("w", encoding="utf-8", newline="\n"))

        self._lines, self._is_dict, self._is_first = text(LIST), is_dict, True
        has_pitch = len(info.streams) > 1
        self._durations = text(DURATIONS) if deduplicate else None
        self._pitch = text(PITCHES) if has_pitch and not is_dict else None
        self._voices: MatrixWriter | None = None
        if info.speaker_embedding_dim is not None:
            ark, scp = (path.with_name(path.name + suffix) for suffix in VOICES)
            files = [stack.enter_context(_new(file)) for file in (ark, scp)]
            self._voices = stack.enter_context(MatrixWriter(*files, ark_name=str(ark)))

    def add(self, row: Mapping[str, Any], audio_root: str | None) -> None:
        key, units = row["id"], row[CONTENT][0]
        pitch = row[PITCH][0] if PITCH in row else None
        if self._is_dict:
            audio = row["audio"] if audio_root is None else str(PurePosixPath(audio_root, row["audio"]))
            line = dict_line(audio, units, row["duration"], unit_key=row[UNIT_KEY], key=key, pitch=pitch)
            self._lines.write(
                line if self._is_first else f"\n{line}"
            )  # the published lists end without a line end
            self._is_first = False
        elif self._durations is not None:
            starts = np.flatnonzero(np.diff(units, prepend=-1))
            self._lines.write(units_line(key, units[starts]))
            self._durations.write(units_line(key, np.diff(starts, append=len(units))))
        else:
            self._lines.write(units_line(key, units))
        if self._pitch is not None and pitch is not None:
            self._pitch.write(units_line(key, pitch))
        if self._voices is not None:
            self._voices.add(key, np.asarray(row["speaker_embedding"])[None])


@dataclass(frozen=True, kw_only=True)
class _Chooser:
    """Which list a row goes to."""

    lists: tuple[str, ...]
    by_id: Mapping[str, str] | None = None

    def __call__(self, split: str, row: Mapping[str, Any]) -> str:
        if self.by_id is not None:
            return self.by_id[row["id"]]
        return split if split in self.lists else self.lists[0]


def _chooser(whole: TokenDataset, to: str, division: Division | None) -> _Chooser:
    if to == UNITS:
        return _Chooser(lists=(UNITS,))
    if division is None:
        return _Chooser(lists=tuple(_splits(whole)))
    rows = list(_again(whole, whole.split, columns=["id", "audio"]))
    if division.like is not None:
        found = divide_like([row["audio"] for row in rows], division.like)
        by_id = {row["id"]: found[row["audio"]] for row in rows}
    else:
        by_id = divide([row["id"] for row in rows], division.held_out)
    return _Chooser(lists=(TRAIN, VAL, TEST), by_id=by_id)


def _again(whole: TokenDataset, split: str | None, columns: Sequence[str] | None = None) -> TokenDataset:
    return TokenDataset(whole.path, split=split, columns=columns, allow_partial=whole.allow_partial)


def _splits(whole: TokenDataset) -> list[str]:
    """Return the splits of a dataset that are wanted; a single file is one of the name wanted, or `train`."""
    if whole.path.is_file():
        return [whole.split or TRAIN]
    return list(dict.fromkeys(whole.file_splits))


def _rows(whole: TokenDataset) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield split and row, with the key its units stand under in dictionaries."""
    for own in _splits(whole):
        rows = _again(whole, None if whole.path.is_file() else own)
        architecture = rows.card.get("architecture")
        reader = architecture.get("features", "hubert") if isinstance(architecture, dict) else "hubert"
        for row in rows:
            yield own, {**row, UNIT_KEY: _KEYS.get(str(reader), "codes")}


def _new(path: Path) -> AbstractContextManager[Path]:
    """Give a temporary path for a file that must not be there yet."""
    if path.exists():
        raise DatasetError(f"{path} exists already; export into another folder.")
    return replacing(path, path.parent / _TMP)
