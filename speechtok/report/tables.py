"""Sums over the rows of a dataset: by split, speaker and language; and the inputs that failed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from speechtok.shards.layout import Layout
from speechtok.shards.parquet import open_parquet, read_parquet_rows
from speechtok.shards.reader import TokenDataset
from speechtok.shards.schema import quarantine_schema
from speechtok.shards.statistics import Statistics
from speechtok.storage import AnyPath

MAX_GROUPS = 10
"""Speakers and languages that are listed one by one."""
MAX_FAILURES = 200
"""Quarantined inputs that are listed one by one."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Some of the rows."""

    name: str | None
    """What they have in common; None for rows that do not say."""
    rows: int = 0
    """How many there are."""
    seconds: float = 0.0
    """Seconds of audio."""

    def __add__(self, seconds: float) -> Group:
        return Group(name=self.name, rows=self.rows + 1, seconds=self.seconds + seconds)


@dataclass(frozen=True, kw_only=True)
class Groups:
    """All rows, grouped by one question."""

    listed: tuple[Group, ...]
    """The groups with most audio, most first."""
    others: int
    """Groups that are not listed."""
    rest: Group
    """The rows of those."""


@dataclass(frozen=True, kw_only=True)
class Failures:
    """Inputs in quarantine."""

    is_known: bool
    """Whether there is a quarantine at all; a lone token file has none."""
    total: int
    """How many there are."""
    listed: tuple[dict[str, Any], ...]
    """The first ones: id, audio, stage, error, message."""


def group_rows(
    path: AnyPath, statistics: Statistics, *, allow_partial: bool = False
) -> dict[str, Groups | None]:
    """Return the rows grouped by "split", "speaker" and "language"; None where no row says anything.

    Raises:
        DatasetError: when there is no token dataset.
    """
    tables: dict[str, dict[str | None, Group]] = {"split": {}, "speaker": {}, "language": {}}
    whole = TokenDataset(path, allow_partial=allow_partial)
    columns = ["num_samples", *(name for name in ("speaker", "language") if name in whole.columns)]
    for split in statistics.splits if path.is_dir() else [None]:
        for row in TokenDataset(path, split=split, columns=columns, allow_partial=allow_partial):
            for question, table in tables.items():
                answer = split if question == "split" else row.get(question)
                table[answer] = (
                    table.get(answer, Group(name=answer)) + row["num_samples"] / whole.info.sample_rate
                )
    return {
        question: _top(table.values()) if set(table) - {None} else None for question, table in tables.items()
    }


def read_failures(path: AnyPath) -> Failures:
    """Return what the quarantine of a dataset lists; nothing for a lone token file.

    Raises:
        DatasetError: when a quarantine file cannot be read.
    """
    folder = Layout(path).quarantine("any").parent
    total = 0
    listed: list[dict[str, Any]] = []
    files: list[AnyPath] = sorted(folder.glob("*.parquet"), key=str)
    for file in files:
        total += open_parquet(file).metadata.num_rows
        listed += [
            {name: _text(row.get(name)) for name in quarantine_schema().names}
            for row in islice(read_parquet_rows(file), MAX_FAILURES - len(listed))
        ]
    return Failures(is_known=folder.is_dir(), total=total, listed=tuple(listed))


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _top(groups: Iterable[Group]) -> Groups:
    ordered = sorted(groups, key=lambda group: (-group.seconds, group.name or ""))
    rest = ordered[MAX_GROUPS:]
    return Groups(
        listed=tuple(ordered[:MAX_GROUPS]),
        others=len(rest),
        rest=Group(
            name=None, rows=sum(group.rows for group in rest), seconds=sum(group.seconds for group in rest)
        ),
    )
