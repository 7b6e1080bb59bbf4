"""Rows worth training on → another token dataset, with a list of those that were left out, and why.

Contents: `filter_rows`, `Duplicates`.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from speechtok.commands.derived import LABELS, Array, Chosen, Derived, Source, condition_on, derive
from speechtok.errors import DatasetError
from speechtok.shards.layout import check_split
from speechtok.shards.schema import dropped_schema
from speechtok.storage import AnyPath

NEAR_SHARE = 0.8
"""Share of like stretches from which on two utterances are near duplicates."""
STRETCH = 5
"""Frames of the stretches that near duplicates are told by."""
PERMUTATIONS = 128
"""Of MinHash: the share is told to about 1 / sqrt(128), 9 %."""

Place = tuple[AnyPath, int]
"""A row group: its file, and its number there."""


def filter_rows(
    dataset: str | AnyPath,
    output: str | AnyPath,
    *,
    keep: str | Sequence[str] = (),
    duplicates: Literal["exact", "near"] | None = None,
    near_share: float = NEAR_SHARE,
    hours: float | None = None,
    balance: str | None = None,
    splits: Mapping[str, float] | None = None,
    split_by: str = "speaker",
    seed: int = 0,
    allow_partial: bool = False,
) -> Derived:
    """Make a token dataset of the rows of another one that are worth training on; the others are listed in `dropped`.

    What is asked for applies in the order of the arguments. What is interrupted is finished by the same call; it gives the
    same bytes each time.

    Args:
        dataset: a token dataset or token file.
        output: folder of the new one; new, empty, or begun by the same call.
        keep: SQL conditions that must all hold, or one, such as `"dnsmos >= 3 and duration < 20"`, see `speechtok.shards.conditions`.
        duplicates: leave out rows with the same codes as one before them ("exact"; the same audio has them), or with nearly the
            same ("near"): of the stretches of `STRETCH` frames of the first codebook that either has, so many are in both.
        near_share: how many, from 0 to 1, as MinHash estimates it. Broder 1997, On the resemblance and containment of documents.
        hours: at most so many, drawn by `seed`; everything where there is less.
        balance: column such as "speaker" or "language", whose values get as equal shares of these hours as there is audio for;
            rows without one count as a value of their own.
        splits: share of each split, such as `{"train": 0.98, "dev": 0.01, "test": 0.01}`; they add up to 1. A value of
            `split_by` is in one split alone, by a hash of it and `seed`: adding rows moves none. The shares are of values, not
            of hours. None keeps the splits.
        split_by: the column that tells who must not be in two splits.
        seed: decides what is drawn and which split a speaker gets.
        allow_partial: take what is there of an unfinished dataset.

    Raises:
        DatasetError: when there is no such column, a row has no value of `split_by`, nothing is left, a package is missing, or
            the output holds another dataset.
        JobError: when the output is in use or cannot be written.
        ValueError: when a condition or a number is none.
    """
    keep = [keep] if isinstance(keep, str) else keep
    if duplicates not in (None, "exact", "near"):
        raise ValueError(f"`duplicates` must be exact or near, got {duplicates!r}.")
    if not 0 < near_share <= 1:
        raise ValueError(f"`near_share` must lie in (0, 1], got {near_share:g}.")
    if hours is not None and not 0 < hours < math.inf:
        raise ValueError(f"`hours` must be more than 0, got {hours:g}.")
    if balance is not None and hours is None:
        raise ValueError("`balance` says how `hours` are drawn: give both, or neither.")
    _check_shares(splits)
    source = Source(dataset, allow_partial=allow_partial)
    for name in (balance, split_by if splits else None):
        if name is not None and name not in (*LABELS, *source.extra_types):
            have = ", ".join((*LABELS, *source.extra_types))
            raise DatasetError(f"{dataset} has no column {name}; it has: {have}.")
    choice = _Choice(source)
    for text in keep:
        choice.drop_unless(text)
    if duplicates is not None:
        choice.drop_repeated(Duplicates(None if duplicates == "exact" else near_share))
    if hours is not None:
        choice.draw(3600 * hours, balance, seed)
    if splits is not None:
        choice.divide(splits, split_by, seed)
    options = {
        "keep": list(keep),
        "duplicates": duplicates,
        "near_share": near_share if duplicates == "near" else None,
        "hours": hours,
        "balance": balance,
        "splits": None if splits is None else list(splits.items()),
        "split_by": split_by if splits else None,
        "seed": seed,
    }
    rows = choice.rows()
    made = derive("filter", output, [source], source.info, options, rows)
    return replace(made, dropped=choice.counts)


def _check_shares(splits: Mapping[str, float] | None) -> None:
    if splits is None:
        return
    for name, share in splits.items():
        check_split(name)
        if not 0 < share <= 1:
            raise ValueError(f"The share of the split {name} must lie in (0, 1], got {share:g}.")
    if not math.isclose(sum(splits.values()), 1, abs_tol=1e-9):
        raise ValueError(f"The shares of the splits must add up to 1, got {sum(splits.values()):g}.")


@dataclass
class _Group:
    """The rows of a row group, and what becomes of them."""

    place: Place
    split: str
    about: pa.Table
    """All but codes and vectors."""
    reasons: list[str | None]
    """Why each is left out; None keeps it."""
    details: dict[int, str]
    """What makes the reason hold, by position."""
    splits: list[str]
    """The split that each goes to."""

    @property
    def kept(self) -> list[int]:
        """Positions of the rows that are kept so far."""
        return [position for position, reason in enumerate(self.reasons) if reason is None]


class _Choice:
    """Decides of each row of a dataset whether it is kept.

    Args:
        source: the dataset; all of it but codes and vectors is held in memory.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._groups = []
        for split in source.splits:
            for place in source.groups(split):
                about = source.about(*place)
                self._groups.append(
                    _Group(place, split, about, [None] * len(about), {}, [split] * len(about))
                )
        self._divided: list[str] | None = None

    @property
    def counts(self) -> dict[str, int]:
        """By reason, how many rows are left out, the most frequent first."""
        reasons = (reason for group in self._groups for reason in group.reasons if reason is not None)
        return dict(Counter(reasons).most_common())

    def drop_unless(self, text: str) -> None:
        """Leave out the rows of which a condition does not hold."""
        condition = condition_on(text, self._source)
        for group in self._groups:
            holds = condition(group.about)
            for position in group.kept:
                if not holds[position]:
                    group.reasons[position] = text

    def drop_repeated(self, seen: Duplicates) -> None:
        """Leave out the rows whose codes are those of one before them."""
        for group in self._groups:
            names, kept = group.about["id"].to_pylist(), group.kept
            rows = self._source.codes(*group.place) if kept else None
            for position in kept:
                codes = {name: column[position] for name, column in rows.codes.items()} if rows else {}
                first = seen.first(names[position], codes)
                if first is not None:
                    group.reasons[position], group.details[position] = seen.reason, first

    def draw(self, seconds: float, balance: str | None, seed: int) -> None:
        """Keep so many seconds, from each value of a column alike as far as it goes."""
        rows = [(group, position) for group in self._groups for position in group.kept]
        if not rows:
            return
        durations = np.concatenate([group.about["duration"].to_numpy()[group.kept] for group in self._groups])
        keys = np.array([_hash(seed, name) for name in self._cells("id")])
        values = self._cells(balance) if balance is not None else [None] * len(rows)
        _, codes = np.unique([repr(value) for value in values], return_inverse=True)
        order = np.lexsort((keys, codes))
        ends = np.cumsum(durations[order])
        totals = np.bincount(codes, durations).astype(np.float64)
        begins = np.concatenate([[0.0], np.cumsum(totals)[:-1]])
        taken = ends - begins[codes[order]] <= _level(totals, seconds) + 1e-9
        for row in order[~taken].tolist():
            group, position = rows[row]
            group.reasons[position] = f"not among the {seconds / 3600:g} h drawn"

    def divide(self, splits: Mapping[str, float], column: str, seed: int) -> None:
        """Give each row a split by a column."""
        names, ends = list(splits), list(itertools.accumulate(splits.values()))
        for group in self._groups:
            cells, ids = group.about[column].to_pylist(), group.about["id"]
            for position in group.kept:
                if cells[position] is None:
                    raise DatasetError(
                        f"'{ids[position].as_py()}' of {self._source.place} has no {column}, so nobody knows in which split it may be; "
                        f'leave such rows out with --keep "{column} is not null".'
                    )
                share = _hash(seed, cells[position]) / 2**64
                number = next((number for number, end in enumerate(ends) if share < end), len(ends) - 1)
                group.splits[position] = names[number]
        self._divided = names

    def rows(self) -> _Filtered:
        """Return what was decided."""
        return _Filtered(self._source, self._groups, self._divided)

    def _cells(self, column: str) -> list[Any]:
        return [
            cells[position]
            for group in self._groups
            for cells in [group.about[column].to_pylist()]
            for position in group.kept
        ]


class _Filtered(Chosen):
    """Rows that were chosen one by one."""

    def __init__(self, source: Source, groups: Sequence[_Group], divided: Sequence[str] | None) -> None:
        super().__init__(source.extra_types)
        self._groups = {group.place: group for group in groups}
        self._divided = divided
        for split in source.splits:
            tables = [_listed(group) for group in groups if group.split == split]
            table = pa.concat_tables([dropped_schema().empty_table(), *tables])
            if len(table):
                self.dropped[split] = table

    def splits(self, sources: Sequence[Source]) -> list[str]:
        return super().splits(sources) if self._divided is None else list(self._divided)

    def groups(self, source: Source, split: str) -> Iterator[Place]:
        return super().groups(source, split) if self._divided is None else iter(self._groups)

    def keep(self, about: pa.Table, place: Place, split: str) -> Array:
        group = self._groups[place]
        return np.array([at for at in group.kept if group.splits[at] == split], dtype=np.int64)


def _listed(group: _Group) -> pa.Table:
    """Return the rows of a row group that are left out, as they are listed."""
    places = [position for position, reason in enumerate(group.reasons) if reason is not None]
    about = group.about.take(pa.array(places, pa.int64()))
    columns = {name: about[name] for name in dropped_schema().names if name in about.column_names}
    columns["reason"] = pa.array([group.reasons[position] for position in places], pa.string())
    columns["detail"] = pa.array([group.details.get(position) for position in places], pa.string())
    return pa.table([columns[name] for name in dropped_schema().names], schema=dropped_schema())


class Duplicates:
    """Tells of utterances, one after the other, which earlier one they repeat.

    Args:
        share: of stretches of codes that two near duplicates have in common, at least; None asks for equal codes.

    Raises:
        DatasetError: when a package is missing.
    """

    def __init__(self, share: float | None = None) -> None:
        self.reason = "same codes as another row" if share is None else "nearly the same codes as another row"
        self._share, self._seen = share, dict[bytes, str]()
        if share is not None:
            try:
                import datasketch
            except ImportError:
                raise DatasetError(
                    "Near duplicates need the package datasketch: pip install 'speechtok[filter]'."
                ) from None
            self._new = datasketch.MinHash
            self._index = datasketch.MinHashLSH(threshold=share, num_perm=PERMUTATIONS)
            self._sketches: dict[int, tuple[str, Any]] = {}

    def first(self, name: str, codes: Mapping[str, np.ndarray[Any, Any]]) -> str | None:
        """Return the earlier utterance that an utterance repeats; one that repeats none is remembered.

        Args:
            name: its id.
            codes: its streams, each `(codebooks, frames)`.
        """
        return self._equal(name, codes) if self._share is None else self._near(name, codes, self._share)

    def _equal(self, name: str, codes: Mapping[str, np.ndarray[Any, Any]]) -> str | None:
        content = hashlib.blake2b(digest_size=16)
        for stream, values in codes.items():
            content.update(f"{stream} {values.shape} ".encode() + np.ascontiguousarray(values).tobytes())
        first = self._seen.setdefault(content.digest(), name)
        return None if first == name else first

    def _near(self, name: str, codes: Mapping[str, np.ndarray[Any, Any]], share: float) -> str | None:
        coarse = next(iter(codes.values()))[0].astype("<u4")
        width = min(STRETCH, len(coarse))
        stretches = np.unique(np.lib.stride_tricks.sliding_window_view(coarse, width), axis=0)
        sketch = self._new(num_perm=PERMUTATIONS)
        sketch.update_batch([stretch.tobytes() for stretch in stretches])
        for number in sorted(self._index.query(sketch)):
            first, other = self._sketches[number]
            if sketch.jaccard(other) >= share:
                return first
        number = len(self._sketches)
        self._sketches[number] = name, sketch
        self._index.insert(number, sketch)
        return None


def _level(totals: np.ndarray[Any, np.dtype[np.float64]], wanted: float) -> float:
    """Return how much of each total makes up what is wanted, if no total gives more than that."""
    rest = wanted
    for number, total in enumerate(sorted(totals.tolist())):
        level = rest / (len(totals) - number)
        if total >= level:
            return level
        rest -= total
    return math.inf


def _hash(seed: int, value: object) -> int:
    """Return 64 random bits that are always the same for a value."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {value}".encode(), digest_size=8).digest(), "big")
