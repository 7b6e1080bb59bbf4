"""Which inputs of a dataset failed, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from speechtok.shards.layout import Layout
from speechtok.shards.ledger import Ledger
from speechtok.shards.parquet import read_parquet_rows
from speechtok.shards.parts import Failure
from speechtok.shards.plan import read_plan
from speechtok.shards.schema import quarantine_schema
from speechtok.storage import AnyPath, as_path


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Inputs that failed alike."""

    stage: str
    """Where: "read", "encode" or "crash", or the name of an annotation."""
    error: str
    """Type of the error."""
    count: int
    """How many inputs."""
    first: Failure
    """The first of them."""


def read_quarantine(output: str | AnyPath) -> list[Failure]:
    """Return the inputs of a dataset that failed, in plan order; of an unfinished one, those of its finished shards.

    Raises:
        DatasetError: when there is no dataset, or it is damaged.
    """
    layout = Layout(as_path(output))
    return list(Ledger.read(layout, read_plan(layout)).failures())


def read_unannotated(output: str | AnyPath) -> list[Failure]:
    """Return the rows of a dataset that an annotation has no value for, with its name as the stage.

    Raises:
        DatasetError: when there is no dataset, or it is damaged.
    """
    layout = Layout(as_path(output))
    found = list[Failure]()
    for split in read_plan(layout).annotated.quarantine:
        for row in read_parquet_rows(layout.current(layout.annotation_quarantine(split))):
            found.append(Failure(**{name: str(row.get(name) or "") for name in quarantine_schema().names}))
    return found


def reasons_of(failures: Sequence[Failure]) -> list[Reason]:
    """Return failures by stage and type, the most frequent first."""
    found = defaultdict[tuple[str, str], list[Failure]](list)
    for failure in failures:
        found[failure.stage, failure.error].append(failure)
    reasons = [
        Reason(stage=stage, error=error, count=len(alike), first=alike[0])
        for (stage, error), alike in found.items()
    ]
    return sorted(reasons, key=lambda reason: -reason.count)
