"""Prompts of the same speaker: another utterance, to show a model the voice.

Source: Wang et al. 2023, VALL-E, arXiv:2301.02111, section 4.2.2; Ju et al. 2024, NaturalSpeech 3, arXiv:2403.03100, section 3.3.

Contents: `SpeakerPrompts`.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from speechtok.errors import TokensError

if TYPE_CHECKING:
    from speechtok.shards.rows import RowGroups, Rows

Integers = np.ndarray[Any, np.dtype[np.int64]]
_KEPT_GROUPS = 8


class SpeakerPrompts:
    """For each utterance of a dataset the others of its speaker; collators take it as `prompts`.

    The index is built once, of ids and speakers alone: 24 bytes for each row. It travels to workers with the collator; each
    keeps the row groups that it read last, so that datasets whose speakers lie together are read quickly.

    Args:
        dataset: the rows, such as a `TokenDataset` with the columns that prompts need.
        by: column that tells who speaks.

    Raises:
        DatasetError: when there is no column `id`, or none of that name.
    """

    def __init__(self, dataset: RowGroups, *, by: str = "speaker") -> None:
        self.dataset, self.by = dataset, by
        found = pc.dictionary_encode(dataset.column(by).combine_chunks())
        numbers = pc.fill_null(found.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        self._speakers: Integers = numbers
        self._rows: Integers = np.argsort(
            numbers, kind="stable"
        )  # speaker by speaker, in the order of the dataset
        self._starts: Integers = np.searchsorted(
            numbers[self._rows], np.arange(-1, len(found.dictionary) + 1)
        )
        keys = np.array([_key(name) for name in dataset.column("id").to_pylist()], dtype=np.uint64)
        self._by_key: Integers = np.argsort(keys, kind="stable")
        self._keys = keys[self._by_key]
        self._ends = np.cumsum(dataset.group_rows)
        self._kept: OrderedDict[int, Rows] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": OrderedDict()}

    @property
    def num_alone(self) -> int:
        """Utterances without another one of their speaker, or without a speaker: they get a prompt of their own."""
        sizes = np.diff(self._starts)
        return int(sizes[0] + (sizes[1:] == 1).sum())

    def draw(self, utterance: str, generator: np.random.Generator) -> Mapping[str, Any] | None:
        """Return the row of another utterance of the same speaker, or None where there is none.

        Args:
            utterance: its id.
            generator: decides which; the same one decides the same.

        Raises:
            TokensError: when there is no such utterance in the dataset.
        """
        row = self._row(utterance)
        speaker = self._speakers[row]
        if speaker < 0:
            return None
        rows = self._rows[self._starts[speaker + 1] : self._starts[speaker + 2]]
        if len(rows) < 2:
            return None
        own = int(np.searchsorted(rows, row))  # rows of a speaker are in order
        other = int(generator.integers(len(rows) - 1))
        return self._read(int(rows[other + (other >= own)]))

    def _row(self, utterance: str) -> int:
        key = _key(utterance)
        place = int(np.searchsorted(self._keys, np.uint64(key)))
        if place == len(self._keys) or int(self._keys[place]) != key:
            raise TokensError(
                f"There is no utterance '{utterance}' in {self.dataset.path}, where prompts are looked for; "
                "make `SpeakerPrompts` of the dataset that batches are made of, or of one that holds it."
            )
        return int(self._by_key[place])

    def _read(self, row: int) -> Mapping[str, Any]:
        group = int(np.searchsorted(self._ends, row, side="right"))
        if group not in self._kept:
            self._kept[group] = self.dataset.read_group(group)
        self._kept.move_to_end(group)
        while len(self._kept) > _KEPT_GROUPS:
            self._kept.popitem(last=False)
        return self._kept[group][int(row - (self._ends[group] - self.dataset.group_rows[group]))]


def _key(utterance: str) -> int:
    return int.from_bytes(hashlib.blake2b(utterance.encode(), digest_size=8).digest(), "big")
