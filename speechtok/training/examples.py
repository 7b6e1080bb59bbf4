"""Utterances that training examples are drawn from: what was read of them is kept up to a limit.

Contents: `UtteranceExamples`, `evenly_spread`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from speechtok.errors import AudioError, DatasetError

Array = np.ndarray[Any, np.dtype[Any]]
W = TypeVar("W")


class UtteranceExamples(ABC, Generic[W]):
    """Base of the `Examples` of all trainers, where `W` is a whole utterance.

    Args:
        ids: names of the utterances.
        cache_mb: audio that is kept; each process that prepares batches keeps its own.
    """

    def __init__(self, ids: Sequence[str], cache_mb: int) -> None:
        self._ids = ids
        self._kept: dict[int, W] = {}
        self._room = cache_mb * 2**20

    def __len__(self) -> int:
        return len(self._ids)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": {}}

    def name(self, index: int) -> str:
        """Return the id of an utterance."""
        return self._ids[index]

    def whole(self, index: int) -> W:
        """Return an utterance.

        Raises:
            AudioError: when its recording cannot be used.
        """
        if index in self._kept:
            return self._kept[index]
        found = self._read(index)
        size = self._waveform(found).nbytes
        if size <= self._room:
            self._room -= size
            self._kept[index] = found
        return found

    @abstractmethod
    def draw(self, index: int, random: np.random.Generator) -> dict[str, Array]:
        """Return one training example of an utterance; all examples have the same shapes.

        Raises:
            AudioError: when the utterance cannot be used.
        """

    @abstractmethod
    def _read(self, index: int) -> W:
        """Return an utterance anew, or raise `AudioError`."""

    @abstractmethod
    def _waveform(self, whole: W) -> Array:
        """Return the audio of an utterance, `(samples,)`."""


def evenly_spread(
    examples: UtteranceExamples[Any], most: int, on_unusable: Callable[[str], None]
) -> list[int]:
    """Return utterances from all over, those left out that cannot be used.

    Args:
        examples: the utterances.
        most: how many at most; 0 takes all.
        on_unusable: is told why, for each that is left out.

    Raises:
        DatasetError: when none of them can be used.
    """
    count = min(len(examples), most or len(examples))
    found, reason = [], ""
    for index in np.linspace(0, len(examples) - 1, count).round().astype(int).tolist():
        try:
            examples.whole(index)
        except AudioError as error:
            reason = str(error)
            on_unusable(reason)
        else:
            found.append(index)
    if not found:
        raise DatasetError(f"No utterance for validation can be used: {reason}")
    return found
