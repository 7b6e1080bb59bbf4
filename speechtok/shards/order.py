"""In which order the rows of a token dataset pass by: a pure function of seed, epoch, row counts and ranks.

An epoch is a random sequence of *bundles*, each of one or a few whole row groups. The rows of a bundle are mixed with each
other and cut into *units*, which is what a reader yields: single rows or batches. A rank gets a run of that
sequence, as many units as any other rank, and weaves its bundles on `lanes`: a unit of each open bundle in turn, and the
next bundle of the run where one is through. Workers own lanes. So a row group is read by one worker of one rank, except
in the bundles where one rank's run ends and the next begins, which are at most an eighth of all where there are enough row
groups.

Where an epoch goes on with another number of ranks, what is left of it is dealt anew. A place is therefore a list of
deals: among how many ranks, and how many steps each of them took.

Random choices are hashes of (seed, epoch, number), so that no release of NumPy can change an order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

Integers = np.ndarray[Any, np.dtype[np.int64]]

GROUPS, ROWS, BATCHES = 1, 2, 3
"""What is shuffled; keeps the random choices of the three apart."""
CUT_SHARE = 8
"""Bundles for each cut between two ranks, at least, where there are row groups enough: each cut has one read twice."""


@dataclass(frozen=True, kw_only=True)
class OrderSettings:
    """What an order depends on besides the dataset, the epoch and the ranks."""

    seed: int
    """Chooses the order."""
    shuffle: bool
    """Whether row groups, rows and batches are mixed; otherwise rows pass in the order of the files."""
    window: int
    """About how many rows a rank mixes with each other: those of `lanes` bundles."""
    lanes: int
    """Bundles that a rank weaves together; without `shuffle` there is one."""
    batch_size: int | None
    """Most rows of a batch; None sets no bound."""
    max_tokens: int | None
    """Most frames of a batch, padding included; None sets no bound. A longer row is a batch alone."""
    count_text: str | None = None
    """Column of text whose length counts like frames; None counts frames alone."""

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
    """Where the ranks stand, all of them alike."""

    epoch: int = 0
    """Number of the epoch."""
    deals: tuple[tuple[int, int], ...] = ()
    """Among how many ranks the epoch, then what was left of it, was dealt, and how many units each rank took."""

    @property
    def steps(self) -> int:
        """Units that each rank took since the last deal."""
        return self.deals[-1][1]

    def among(self, ranks: int) -> Place:
        """Return the same place, for so many ranks to go on."""
        deals = tuple(deal for deal in self.deals if deal[1])
        if not deals or deals[-1][0] != ranks:
            deals += ((ranks, 0),)
        return replace(self, deals=deals)

    def after(self, steps: int) -> Place:
        """Return where each rank has taken so many units since the last deal."""
        return replace(self, deals=(*self.deals[:-1], (self.deals[-1][0], steps)))


class Span(NamedTuple):
    """Some units of one bundle."""

    bundle: int
    """Number of the bundle in the epoch."""
    start: int
    """The first unit."""
    stop: int
    """The first that is not among them."""


class Order:
    """The order of one dataset under given settings.

    Args:
        settings: how to mix and batch.
        group_rows: `(groups,)`, rows of each row group.
        lengths: `(rows,)`, frames of each row; read for `max_tokens` only.
    """

    def __init__(self, settings: OrderSettings, group_rows: Integers, lengths: Integers) -> None:
        self.settings, self.group_rows, self.lengths = settings, group_rows, lengths
        self.lanes = settings.lanes if settings.shuffle else 1
        self._starts = np.concatenate([[0], np.cumsum(group_rows)])
        self._planned: tuple[tuple[int, int], list[Integers], list[Span]] | None = None

    def bundles(self, epoch: int, ranks: int) -> list[Integers]:
        """Return the row groups of each bundle of an epoch that begins with so many ranks."""
        return self._plan(epoch, ranks)[0]

    def spans(self, epoch: int, ranks: int) -> list[Span]:
        """Return all units of an epoch that begins with so many ranks."""
        return self._plan(epoch, ranks)[1]

    def units(self, epoch: int, groups: Integers) -> list[Integers]:
        """Return the rows of each unit of a bundle, in order."""
        settings, rows = self.settings, self._rows(groups)
        if settings.shuffle:
            rows = rows[np.argsort(self._keys(epoch, ROWS, rows), kind="stable")]
        if not settings.makes_batches:
            return list(rows[:, None])
        if settings.max_tokens is None:
            return np.split(rows, self._cuts(rows))
        rows = rows[np.argsort(-self.lengths[rows], kind="stable")]
        batches = np.split(rows, self._cuts(rows))
        first = np.array([batch.min() for batch in batches])
        keys = self._keys(epoch, BATCHES, first) if settings.shuffle else first
        return [batches[number] for number in np.argsort(keys, kind="stable")]

    def turns(self, place: Place, rank: int, *, drop_last: bool = False) -> Iterator[tuple[int, int, int]]:
        """Yield lane, bundle and number within the bundle of each unit that a rank takes in the rest of an epoch.

        Args:
            place: where all ranks stand; its last deal is among those that go on.
            rank: number of the rank.
            drop_last: leave out the last units, of which not every rank would get one.
        """
        spans = self.spans(place.epoch, place.deals[0][0])
        for ranks, steps in place.deals[:-1]:
            *runs, rest = deal(spans, ranks, drop_last=drop_last)
            spans = [span for run in runs for span in Weave(run, self.lanes, steps).left()] + rest
        ranks, steps = place.deals[-1]
        return Weave(deal(spans, ranks, drop_last=drop_last)[rank], self.lanes, steps)

    def _plan(self, epoch: int, ranks: int) -> tuple[list[Integers], list[Span]]:
        if self._planned is None or self._planned[0] != (epoch, ranks):
            groups = np.flatnonzero(self.group_rows)
            if self.settings.shuffle:
                groups = groups[np.argsort(self._keys(epoch, GROUPS, groups), kind="stable")]
            bundles = self._bundled(groups, ranks)
            spans = [Span(number, 0, self._count(bundle)) for number, bundle in enumerate(bundles)]
            self._planned = (epoch, ranks), bundles, spans
        return self._planned[1:]

    def _bundled(self, groups: Integers, ranks: int) -> list[Integers]:
        """Cut a sequence of row groups into bundles of like size.

        As many as let a window hold one for each lane, and each rank have one for each lane, and few be read twice.
        """
        rows = np.cumsum(self.group_rows[groups])
        if not len(rows):
            return []
        by_window = round(int(rows[-1]) * self.lanes / self.settings.window)
        count = max(1, by_window, ranks * self.lanes, (ranks - 1) * CUT_SHARE)
        ends = np.searchsorted(rows, [rows[-1] * number // count for number in range(1, count)]) + 1
        return [part for part in np.split(groups, ends) if len(part)]

    def _rows(self, groups: Integers) -> Integers:
        return np.concatenate([np.arange(self._starts[group], self._starts[group + 1]) for group in groups])

    def _count(self, groups: Integers) -> int:
        """Return how many units a bundle has."""
        settings, count = self.settings, int(self.group_rows[groups].sum())
        if settings.max_tokens is not None:
            rows = self._rows(groups)
            return len(self._cuts(rows[np.argsort(-self.lengths[rows], kind="stable")])) + 1
        return -(-count // settings.batch_size) if settings.batch_size else count

    def _cuts(self, rows: Integers) -> list[int]:
        """Return where rows are cut into batches; under a budget they come by length, the longest first."""
        largest = self.settings.batch_size or len(rows)
        if self.settings.max_tokens is None:
            return list(range(largest, len(rows), largest))
        lengths, budget = self.lengths[rows].tolist(), self.settings.max_tokens
        cuts, start = [], 0
        while (start := start + min(largest, max(1, budget // max(1, lengths[start])))) < len(lengths):
            cuts.append(start)
        return cuts

    def _keys(self, epoch: int, what: int, numbers: Integers) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """Return a random key for each number."""
        state = np.zeros(1, dtype=np.uint64)
        for value in (self.settings.seed, epoch, what):
            state = _mixed(state ^ np.uint64(value % (1 << 64)))
        return _mixed(state ^ _mixed(numbers.astype(np.uint64)))


class Weave(Iterator[tuple[int, int, int]]):
    """The units of a run, as one rank takes them: lane, bundle and number within the bundle.

    Args:
        run: what the rank takes, in the order in which it is begun.
        lanes: how many bundles are open at once.
        steps: units that were taken before.
    """

    def __init__(self, run: Sequence[Span], lanes: int, steps: int = 0) -> None:
        self._waiting = list(reversed(run))
        self._open = [self._waiting.pop() if self._waiting else None for _ in range(lanes)]
        self._lane = 0
        while (lengths := [span.stop - span.start for span in self._open if span]) and steps >= len(lengths):
            rounds = min(steps // len(lengths), *lengths)
            for lane, span in enumerate(self._open):
                if span:
                    self._take(lane, span, rounds)
            steps -= rounds * len(lengths)
        for _ in islice(self, steps):
            pass

    def __next__(self) -> tuple[int, int, int]:
        for _ in self._open:
            lane, self._lane = self._lane, (self._lane + 1) % len(self._open)
            if span := self._open[lane]:
                self._take(lane, span, 1)
                return lane, span.bundle, span.start
        raise StopIteration

    def left(self) -> list[Span]:
        """Return what has not been taken."""
        return [span for span in self._open if span] + self._waiting[::-1]

    def _take(self, lane: int, span: Span, count: int) -> None:
        rest = span._replace(start=span.start + count)
        if rest.start == rest.stop:
            self._open[lane] = self._waiting.pop() if self._waiting else None
        else:
            self._open[lane] = rest


def deal(spans: Sequence[Span], ranks: int, *, drop_last: bool = False) -> list[list[Span]]:
    """Cut a sequence of units into a run for each rank, and what no rank gets.

    The runs are equally long, or the first ones longer by one unit, which `drop_last` leaves to nobody.
    """
    steps, more = divmod(sum(span.stop - span.start for span in spans), ranks)
    waiting = list(reversed(spans))
    runs: list[list[Span]] = []
    for rank in range(ranks):
        run, wanted = [], steps + (rank < more and not drop_last)
        while wanted:
            span = waiting.pop()
            end = min(span.stop, span.start + wanted)
            run.append(span._replace(stop=end))
            wanted -= end - span.start
            if end < span.stop:
                waiting.append(span._replace(start=end))
        runs.append(run)
    return [*runs, waiting[::-1]]


def _mixed(values: np.ndarray[Any, np.dtype[np.uint64]]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Return splitmix64 of each value.

    Source: Steele, Lea and Flood 2014, Fast splittable pseudorandom number generators, section 4.
    """
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
