"""In which order the rows of a token dataset pass by: a pure function of seed, epoch and row counts.

An epoch is a sequence of *rounds*. The row groups of all shards are put in a random order and cut into
rounds of about `window` rows; rows are mixed within a round only, so a reader never holds more than one.
A round is woven from `lanes` independent sequences, each with row groups of its own: unit 0 of lane 0, unit 0
of lane 1, …, unit 1 of lane 0. A *unit* is what a reader yields, a single row or a batch.

Readers (every worker of every rank) are dealt the units of the epoch like cards, by number alone. A
position is therefore a few integers, and means the same to any number of readers. Where the number of readers
divides `lanes`, nearly every row group is read by one reader only.

Random choices are hashes of (seed, epoch, number), so that no release of NumPy can change an order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np

Integers = np.ndarray[Any, np.dtype[np.int64]]

GROUPS, ROWS, BATCHES = 1, 2, 3
"""What is shuffled; keeps the random choices of the three apart."""


@dataclass(frozen=True, kw_only=True)
class OrderSettings:
    """What an order depends on besides the dataset and the epoch."""

    seed: int
    """Chooses the order."""
    shuffle: bool
    """Whether row groups, rows and batches are mixed; otherwise rows pass in the order of the files."""
    window: int
    """About how many rows make up a round."""
    lanes: int
    """Independent sequences that a round is woven from; without `shuffle` there is one."""
    batch_size: int | None
    """Most rows of a batch; None sets no bound."""
    max_tokens: int | None
    """Most frames of a batch, padding included; None sets no bound. A longer row is a batch alone."""

    def __post_init__(self) -> None:
        for name in ("window", "lanes", "batch_size", "max_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}.")

    @property
    def makes_batches(self) -> bool:
        """Whether units are batches rather than single rows."""
        return self.batch_size is not None or self.max_tokens is not None


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a reader stands: the next unit it may take."""

    epoch: int = 0
    """Number of the epoch."""
    round: int = 0
    """Number of the round within the epoch."""
    unit: int = 0
    """Number of the unit within the round that is dealt as number 0; negative when it lay in an earlier round."""
    dealt: int = 0
    """Units dealt since then."""


class Order:
    """The order of one dataset under given settings.

    Args:
        settings: how to mix and batch.
        group_rows: `(groups,)`, rows of each row group.
        lengths: `(rows,)`, frames of each row; read for `max_tokens` only.
    """

    def __init__(self, settings: OrderSettings, group_rows: Integers, lengths: Integers) -> None:
        self.settings, self.group_rows, self.lengths = settings, group_rows, lengths
        self._starts = np.concatenate([[0], np.cumsum(group_rows)])
        self._rounds: tuple[int, list[Integers]] | None = None

    def rounds(self, epoch: int) -> list[Integers]:
        """Return the row groups of each round of an epoch."""
        if self._rounds is None or self._rounds[0] != epoch:
            groups = np.flatnonzero(self.group_rows)
            if self.settings.shuffle:
                groups = groups[np.argsort(self._keys(epoch, GROUPS, groups), kind="stable")]
            self._rounds = (epoch, self._cut(groups))
        return self._rounds[1]

    def units(self, epoch: int, number: int) -> list[Integers]:
        """Return the rows of each unit of a round, in order."""
        lanes = [self._lane_units(epoch, groups) for groups in self._lanes(self.rounds(epoch)[number])]
        return [unit for step in zip_longest(*lanes) for unit in step if unit is not None]

    def _cut(self, groups: Integers) -> list[Integers]:
        """Cut a sequence of row groups into rounds of like size, `window` rows or nearly so."""
        rows = np.cumsum(self.group_rows[groups])
        if not len(rows):
            return []
        count = max(1, round(int(rows[-1]) / self.settings.window))
        ends = np.searchsorted(rows, [rows[-1] * number // count for number in range(1, count)]) + 1
        return [part for part in np.split(groups, ends) if len(part)]

    def _lanes(self, groups: Integers) -> list[list[int]]:
        """Deal row groups to lanes so that their rows are about equal in number."""
        count = min(self.settings.lanes, len(groups)) if self.settings.shuffle else 1
        lanes: list[list[int]] = [[] for _ in range(count)]
        filled = [0] * len(lanes)
        for group in groups.tolist():
            lane = filled.index(min(filled))
            lanes[lane].append(group)
            filled[lane] += int(self.group_rows[group])
        return lanes

    def _lane_units(self, epoch: int, groups: list[int]) -> list[Integers]:
        settings = self.settings
        rows = np.concatenate([np.arange(self._starts[group], self._starts[group + 1]) for group in groups])
        if settings.shuffle:
            rows = rows[np.argsort(self._keys(epoch, ROWS, rows), kind="stable")]
        if not settings.makes_batches:
            return list(rows[:, None])
        batches = self._batches(rows)
        if settings.max_tokens is not None:
            first = np.array([batch.min() for batch in batches])
            keys = self._keys(epoch, BATCHES, first) if settings.shuffle else first
            batches = [batches[number] for number in np.argsort(keys, kind="stable")]
        return batches

    def _batches(self, rows: Integers) -> list[Integers]:
        """Cut rows into batches; under a budget, rows of like length meet, the longest first."""
        settings = self.settings
        largest = settings.batch_size or len(rows)
        if settings.max_tokens is None:
            return [rows[start : start + largest] for start in range(0, len(rows), largest)]
        rows = rows[np.argsort(-self.lengths[rows], kind="stable")]
        batches, start = [], 0
        while start < len(rows):
            longest = max(1, int(self.lengths[rows[start]]))
            size = min(largest, max(1, settings.max_tokens // longest))
            batches.append(rows[start : start + size])
            start += size
        return batches

    def _keys(self, epoch: int, what: int, numbers: Integers) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """Return a random key for each number."""
        state = np.zeros(1, dtype=np.uint64)
        for value in (self.settings.seed, epoch, what):
            state = _mixed(state ^ np.uint64(value % (1 << 64)))
        return _mixed(state ^ _mixed(numbers.astype(np.uint64)))


def deal(
    order: Order, place: Place, *, reader: int, readers: int, ranks: int, drop_last: bool = False
) -> Iterator[tuple[Integers, Place, Place]]:
    """Yield one reader's units of the rest of an epoch.

    Args:
        order: the dataset's order.
        place: where to begin; all readers begin at the same `unit` and `round`.
        reader: this reader's number; rank + ranks × worker.
        readers: how many there are.
        ranks: how many ranks they belong to; rank r gets units r, r + ranks, ….
        drop_last: leave out the last units, of which not every rank would get one.

    Returns:
        For each unit: its rows; where this reader alone goes on; where any number of readers go on, once
        every rank has had as many units as this one.
    """
    number, origin, dealt = place.round, place.unit, max(place.dealt, reader)
    dealt += (reader - dealt) % readers
    while number < len(order.rounds(place.epoch)):
        units = order.units(place.epoch, number)
        while origin + dealt < len(units):
            together = origin + (dealt // ranks + 1) * ranks
            if drop_last and not _has(order, place.epoch, number, together, len(units)):
                return
            own = Place(epoch=place.epoch, round=number, unit=origin, dealt=dealt + readers)
            shared = replace(own, unit=together, dealt=0)
            if together >= len(units):
                shared = replace(shared, round=number + 1, unit=together - len(units))
            yield units[origin + dealt], own, shared
            dealt += readers
        number, origin = number + 1, origin - len(units)


def _has(order: Order, epoch: int, number: int, needed: int, count: int) -> bool:
    """Return whether the rounds from `number` on, the first with `count` units, have at least `needed`."""
    while count < needed and number + 1 < len(order.rounds(epoch)):
        number += 1
        count += len(order.units(epoch, number))
    return count >= needed


def _mixed(values: np.ndarray[Any, np.dtype[np.uint64]]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Return splitmix64 of each value.

    Source: Steele, Lea and Flood 2014, Fast splittable pseudorandom number generators, section 4.
    """
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
