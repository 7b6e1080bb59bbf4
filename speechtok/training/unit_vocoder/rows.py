"""Where units and their recordings come from: a token dataset, or the lists unit vocoders are trained from.

Contents: `Row`, `Recordings`, `read_dataset`, `read_lists`, `named`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from speechtok.audio.pitch import level_peak
from speechtok.corpora.originals import Originals, find_originals
from speechtok.errors import AudioError, DatasetError
from speechtok.formats.unit_lines import read_unit_lines
from speechtok.shards.reader import TokenDataset
from speechtok.storage import AnyPath, as_path
from speechtok.training.splits import dataset_splits

Array = np.ndarray[Any, np.dtype[Any]]

SAMPLE_RATE = 16_000
"""Hz, of every unit tokenizer."""
ODD_SAMPLES = 2560
"""How much the length of a recording may differ from that of its units: readers leave out ends, and lists pad."""
_LONGEST = 1 << 40


@dataclass(frozen=True, kw_only=True)
class Row:
    """One utterance."""

    id: str
    """Its name."""
    audio: str
    """Path of the recording."""
    units: Array
    """`(frames,)`, uint16."""
    pitch: Array | None = None
    """`(codes,)`, uint16, where they are stored."""
    vector: Array | None = None
    """`(512,)`, float32, of the speaker, where it is stored."""
    speaker: str | None = None
    """Name of the speaker, where it is known."""
    num_samples: int | None = None
    """Length of the audio at 16 kHz, where it is known."""


class Recordings:
    """Reads the audio of rows.

    Args:
        originals: where it lies.
        hop_length: samples per unit.
    """

    def __init__(self, originals: Originals, hop_length: int) -> None:
        self.originals, self.hop_length = originals, hop_length

    def read(self, row: Row) -> Array:
        """Return `(samples,)` float32 audio at 16 kHz with its peak at 0.95.

        Raises:
            AudioError: when there is no such recording, or it is silent, or another one than its units are of.
        """
        most = row.num_samples if row.num_samples is not None else _LONGEST
        samples = self.originals.read(row.id, row.audio, SAMPLE_RATE, most)
        of_units = len(row.units) * self.hop_length
        is_whole = len(samples) == row.num_samples or row.num_samples is None
        if not is_whole or abs(len(samples) - of_units) > ODD_SAMPLES:
            wanted = row.num_samples if row.num_samples is not None else of_units
            raise AudioError(
                f"The recording of '{row.id}' has {len(samples):,} samples at 16 kHz, but its units are of "
                f"{wanted:,}; it is another recording, or its sample rate is stated wrongly."
            )
        if not samples.any():
            raise AudioError(f"The recording of '{row.id}' is silent.")
        return np.asarray(level_peak(samples), dtype=np.float32)


Speech = tuple[list[Row], Recordings]
"""Utterances, and the reader of their recordings."""


def read_dataset(
    path: str | AnyPath,
    train_split: str,
    dev_split: str | None,
    *,
    hop_length: int,
    corpus_root: str | AnyPath | None = None,
) -> tuple[Speech, Speech | None]:
    """Return two splits of a token dataset: to train on, and for validation where there is one.

    Args:
        path: a token dataset that `speechtok tokenize` made.
        train_split: name of the first.
        dev_split: name of the second; None takes `dev` where the dataset has it.
        hop_length: samples per unit.
        corpus_root: folder that the recordings' paths start from, and below which alone they are opened.

    Raises:
        DatasetError: when there is no such dataset or split, or it is damaged.
    """
    own, dev = dataset_splits(path, train_split, dev_split)
    originals = find_originals(own.path, None if corpus_root is None else as_path(corpus_root))
    originals.check("--corpus-root")
    recordings = Recordings(originals, hop_length)
    return (_rows_of(own), recordings), None if dev is None else (_rows_of(dev), recordings)


def read_lists(
    path: Path, dev: Path | None, *, hop_length: int, corpus_root: str | AnyPath | None = None
) -> tuple[Speech, Speech | None]:
    """Return two lists with a dictionary per line: to train on, and for validation where there is one.

    Args:
        path: lines `{'audio': path, 'hubert': '1 2 3', 'duration': seconds}`, see `formats.unit_lines`.
        dev: likewise.
        hop_length: samples per unit.
        corpus_root: folder that paths start from; None takes each list's own.

    Raises:
        DatasetError: naming the line that cannot be read, or when there is none.
    """

    def read(file: Path) -> Speech:
        root = file.parent if corpus_root is None else as_path(corpus_root)
        return _listed(file), Recordings(Originals(root=root), hop_length)

    return read(path), None if dev is None else read(dev)


def named(rows: list[Row], rule: str) -> list[Row]:
    """Return rows with the speaker's name that a rule gives, see `DataSettings.voices_by`."""
    return list(_named(rows, rule))


def _named(rows: list[Row], rule: str) -> Iterator[Row]:
    for row in rows:
        path = PurePosixPath(row.audio)
        if rule == "column":
            yield row
        elif rule == "single":
            yield replace(row, speaker="A")
        elif rule == "underscore":
            yield replace(row, speaker=path.name.split("_")[0])
        else:
            yield replace(row, speaker=(path.parent if rule == "parent" else path.parent.parent).name)


def _rows_of(dataset: TokenDataset) -> list[Row]:
    streams = [stream.name for stream in dataset.info.streams]
    return [_row_of(row, streams) for row in dataset]


def _listed(path: Path) -> list[Row]:
    rows = []
    for line in read_unit_lines(path):
        if line.units.size and (line.units.min() < 0 or line.units.max() > np.iinfo(np.uint16).max):
            raise DatasetError(f"{line.place} ('{line.key}') has units outside [0, 65535].")
        rows.append(
            Row(
                id=line.key,
                audio=line.audio,
                units=line.units.astype(np.uint16),
                pitch=None if line.pitch is None else line.pitch.astype(np.uint16),
            )
        )
    if not rows:
        raise DatasetError(f"{path} holds no utterance.")
    return rows


def _row_of(row: dict[str, Any], streams: list[str]) -> Row:
    vector = row.get("speaker_embedding")
    return Row(
        id=row["id"],
        audio=row["audio"],
        units=row[streams[0]][0].astype(np.uint16),
        pitch=row["pitch"][0].astype(np.uint16) if "pitch" in streams else None,
        vector=None if vector is None else np.asarray(vector, dtype=np.float32),
        speaker=row.get("speaker"),
        num_samples=int(row["num_samples"]),
    )
