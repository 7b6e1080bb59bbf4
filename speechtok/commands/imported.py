"""Tokens from elsewhere → the files of a token dataset, in the same layout that a job writes.

Contents: `Entry`, `write_imported`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from speechtok.cards import TokenizerCard
from speechtok.commands.tokenize import finish
from speechtok.engine.output_lock import check_output, output_lock
from speechtok.engine.settings import JobSettings
from speechtok.errors import DatasetError
from speechtok.shards.layout import Layout
from speechtok.shards.ledger import Ledger
from speechtok.shards.parts import PartRecord, commit, part_record
from speechtok.shards.plan import PLAN_COLUMNS, Plan, ShardTask, has_plan, read_plan
from speechtok.shards.writer import ShardWriter
from speechtok.storage import AnyPath, as_path
from speechtok.tokens import TokenizerInfo
from speechtok.version import __version__

SHARD_SECONDS = 3600.0
"""Audio per shard, in seconds."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What the plan says of one utterance."""

    key: str
    """Id of the row."""
    samples: int
    """Length at the tokenizer's rate."""
    split: str
    """Split it belongs to; entries of a split follow each other."""
    audio: str
    """Where its recording lies, as the source says."""


def write_imported(
    output: str | AnyPath,
    entries: Sequence[Entry],
    rows: Iterator[Mapping[str, Any]],
    *,
    info: TokenizerInfo,
    card: TokenizerCard,
    corpus: Mapping[str, str],
    job: JobSettings,
    on_row: Callable[[], None] | None = None,
) -> None:
    """Write a token dataset.

    Args:
        output: folder of the dataset; new or empty.
        entries: all utterances, in order.
        rows: streams, `speaker_embedding` and `scale` of each, in the same order.
        info: what the tokens carry.
        card: the card of the tokenizer.
        corpus: `kind` and `name` of the source.
        job: settings the plan states.
        on_row: called after each utterance.

    Raises:
        DatasetError: when the folder holds a dataset already.
        JobError: when it is in use or cannot be written.
    """
    layout = Layout(as_path(output))
    check_output(layout)
    with output_lock(layout):
        if has_plan(layout):
            raise DatasetError(f"{output} holds a token dataset already; import into another folder.")
        settings = {
            "tokenizer": info.to_dict(),
            "card": card.to_dict(),
            "corpus": dict(corpus),
            "job": job.to_dict(),
            "speechtok_version": __version__,
        }
        rows_of_plan = _plan_rows(entries, info.sample_rate)
        Plan.of_tables(settings, rows_of_plan.schema, [rows_of_plan]).write(layout)
        plan = read_plan(layout)
        listing = iter(entries)
        ledger = Ledger()
        for task in plan.tasks:
            ledger.put(_write_part(layout, plan, task, listing, rows, on_row))
            ledger.loose.add(task.number)
        finish(layout, plan, ledger)


def _plan_rows(entries: Sequence[Entry], sample_rate: int) -> pa.Table:
    seconds = np.array([item.samples / sample_rate for item in entries])
    splits = [item.split for item in entries]
    columns: dict[str, Any] = {name: [None] * len(entries) for name, _ in PLAN_COLUMNS}
    columns |= {
        "id": [item.key for item in entries],
        "audio": [item.audio for item in entries],
        "start": [0.0] * len(entries),
        "split": splits,
        "seconds": seconds.tolist(),
        "shard": _shards(seconds, splits),
    }
    return pa.table({name: pa.array(columns[name], type=kind) for name, kind in PLAN_COLUMNS})


def _shards(seconds: np.ndarray[Any, Any], splits: Sequence[str]) -> list[int]:
    """Return the shard of each utterance within its split: a new one whenever the last is full."""
    shards: list[int] = []
    for split in dict.fromkeys(splits):
        own = seconds[np.array(splits) == split]
        numbers = (np.cumsum(own) - own) // SHARD_SECONDS
        shards += (int(number) for number in np.unique(numbers, return_inverse=True)[1])
    return shards


def _write_part(
    layout: Layout,
    plan: Plan,
    task: ShardTask,
    listing: Iterator[Entry],
    rows: Iterator[Mapping[str, Any]],
    on_row: Callable[[], None] | None,
) -> PartRecord:
    path, rate = layout.part(task.number), plan.info.sample_rate
    schema, seconds = plan.token_schema, 0.0
    with layout.temporary(path) as temporary:
        with ShardWriter(temporary, schema, plan.info) as writer:
            for _ in range(task.num_rows):
                item, row = next(listing), next(rows)
                known = {
                    "id": item.key,
                    "num_samples": item.samples,
                    "duration": item.samples / rate,
                    "audio": item.audio,
                    "source_sample_rate": rate,
                }
                writer.add({**dict.fromkeys(schema.names), **row, **known})
                seconds += item.samples / rate
                if on_row is not None:
                    on_row()
        record = part_record(task.number, temporary, task.split, rows=task.num_rows, seconds=seconds)
        return commit(layout, temporary, record)
