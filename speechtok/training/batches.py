"""Batches as a function of a step's number.

An epoch is a permutation of the utterances that follows from the seed; what is left over at its end is dropped. A step's
batch depends on the seed and the step alone, so where a run stands in its data is the number of the step.

Contents: `Batches`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from speechtok.errors import AudioError, DatasetError
from speechtok.processes import safe_path
from speechtok.training.task import Batch, Examples
from speechtok.wording import count_text

MAX_UNUSABLE = 0.01
"""Share of an epoch's utterances that may be unusable; beyond, or where all of a batch is, training stops."""


class Batches(Dataset[Any]):
    """The batches of one process: item `step` is the list of the parts that the batch goes through the networks in.

    An utterance that cannot be used is replaced by the next in the epoch's order.

    Args:
        examples: what is drawn from.
        size: examples per step, over all processes; divisible by `parts` times `world_size`.
        seed: decides order and segments.
        parts: number of parts.
        rank: number of this process.
        world_size: number of processes.

    Raises:
        DatasetError: when there are fewer utterances than a batch takes.
        ValueError: when `size` does not divide.
    """

    def __init__(
        self, examples: Examples, *, size: int, seed: int, parts: int = 1, rank: int = 0, world_size: int = 1
    ) -> None:
        if size % (parts * world_size):
            raise ValueError(
                f"`batch_size` must be a multiple of parts × processes = {parts} × {world_size}, got {size}."
            )
        if len(examples) < size:
            raise DatasetError(
                f"A batch of {size} needs as many utterances, but there are {len(examples)}; "
                "use a smaller batch_size or more speech."
            )
        self.examples, self.size, self.seed = examples, size, seed
        self.parts, self.rank, self.world_size = parts, rank, world_size
        self._order: tuple[int, np.ndarray[Any, Any]] | None = None

    @property
    def epoch_steps(self) -> int:
        """Steps per epoch."""
        return len(self.examples) // self.size

    def indices(self, step: int) -> list[int]:
        """Return the utterances of a whole batch, of all processes."""
        epoch, place = divmod(step, self.epoch_steps)
        return [int(index) for index in self._permutation(epoch)[place * self.size : (place + 1) * self.size]]

    def names(self, step: int) -> list[str]:
        """Return the ids of a whole batch."""
        return [self.examples.name(index) for index in self.indices(step)]

    def __getitem__(self, step: int) -> tuple[list[Batch], dict[str, str]]:
        """Return the parts of a batch, and id → reason of utterances that could not be used."""
        own = self.size // self.world_size
        unusable: dict[str, str] = {}
        drawn = [self._draw(step, place, unusable) for place in range(self.rank * own, (self.rank + 1) * own)]
        size = own // self.parts
        parts = [_stacked(drawn[first : first + size]) for first in range(0, own, size)]
        return parts, unusable

    def load(
        self, first: int, last: int, workers: int, on_unusable: Callable[[str], None] = lambda reason: None
    ) -> Iterator[list[Batch]]:
        """Yield the batches of steps `first` to `last`, the latter excluded.

        Args:
            first: a step.
            last: a step.
            workers: processes that prepare batches ahead; 0 prepares each when it is asked for.
            on_unusable: is told, once for each utterance that cannot be used, why.

        Raises:
            DatasetError: when too many utterances cannot be used.
        """
        bad: dict[str, str] = {}
        loader = DataLoader(
            _Guarded(self),
            batch_size=None,
            sampler=range(first, last),
            num_workers=workers,
            multiprocessing_context="forkserver" if workers else None,
        )
        with safe_path():
            results = iter(loader)  # which starts the processes
        for result in results:
            if isinstance(result, DatasetError):
                raise result
            parts, unusable = result
            for name, reason in unusable.items():
                if name not in bad:
                    on_unusable(reason)
            bad |= unusable
            if len(bad) > MAX_UNUSABLE * len(self.examples):
                reason = next(iter(bad.values()))
                raise DatasetError(f"{count_text(len(bad), 'utterance')} cannot be trained on: {reason}")
            yield parts

    def _draw(self, step: int, place: int, unusable: dict[str, str]) -> dict[str, Any]:
        epoch, number = divmod(step, self.epoch_steps)
        order = self._permutation(epoch)
        start = number * self.size + place
        for attempt in range(len(order)):
            index = int(order[(start + attempt * self.size) % len(order)])
            try:
                return self.examples.draw(index, np.random.default_rng([self.seed, step, place, attempt]))
            except AudioError as error:
                unusable[self.examples.name(index)] = str(error)
                if len(unusable) > max(self.size, MAX_UNUSABLE * len(order)):
                    break
        raise DatasetError(
            f"{count_text(len(unusable), 'utterance')} cannot be trained on: {next(iter(unusable.values()))}"
        )

    def _permutation(self, epoch: int) -> np.ndarray[Any, Any]:
        if self._order is None or self._order[0] != epoch:
            random = np.random.default_rng([self.seed, epoch])
            self._order = (epoch, random.permutation(len(self.examples)))
        return self._order[1]


class _Guarded(Dataset[Any]):
    """Hands errors over as values: a worker process would wrap their sentence into a trace."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __getitem__(self, step: int) -> tuple[list[Batch], dict[str, str]] | DatasetError:
        try:
            return self._batches[step]
        except DatasetError as error:
            return error


def _stacked(drawn: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.stack([item[name] for item in drawn])) for name in drawn[0]}
