"""Which rows of an earlier dataset are those that a plan would give again.

Codes may depend on the batch they were made in, in the last bit. So a row is taken over with its whole batch: the same utterances of the
same files in the same order, none of which failed.

Contents: `changed_files`, `KeptFrom`.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from speechtok.audio.location import location_of
from speechtok.corpora.slices import Source
from speechtok.engine.batches import make_batches
from speechtok.engine.planning import sign_of
from speechtok.engine.settings import frozen_settings
from speechtok.errors import DatasetError, JobError
from speechtok.shards.layout import Layout, is_there
from speechtok.shards.ledger import Ledger
from speechtok.shards.parquet import open_parquet, read_group
from speechtok.shards.plan import FAULT, Plan, PlanRows, ShardTask
from speechtok.shards.writer import write_tables

_DECIDING = ("id", "audio", "start", "segment_seconds", "seconds", FAULT)
"""What decides the codes of an utterance, besides the file it is read from."""
_SCHEMA = pa.schema([("row", pa.int64())])

Row = dict[str, Any]


def changed_files(layout: Layout, plan: Plan, source: Source) -> set[str]:
    """Return the names of the files of a corpus that are new or others than when a dataset was made.

    Raises:
        DatasetError: when the dataset does not say what it was made of.
    """
    listed = plan.settings.get("listing")
    if not is_there(layout.listing) or not isinstance(listed, dict):
        raise DatasetError(
            f"{layout.root} cannot be updated: it does not list the files of its corpus, as datasets do that this speechtok tokenizes; "
            "tokenize the corpus into another folder, or update the dataset that it was made of."
        )
    reader = open_parquet(layout.listing)
    groups = range(reader.metadata.num_row_groups)
    tables = [read_group(reader, layout.listing, group, ["file"]) for group in groups]
    known = {sign for table in tables for sign in table["file"].to_pylist()}
    if sum(map(len, tables)) != listed.get("files"):
        raise DatasetError(f"{layout.listing} is damaged: it lists other files than the plan counts.")
    source.ignored.clear()
    return {file.name for file in source.files() if sign_of(file) not in known}


@dataclass(kw_only=True)
class KeptFrom:
    """A dataset that rows are taken over from."""

    layout: Layout
    """Where it is; it is finished."""
    plan: Plan
    """Its plan."""
    changed: Collection[str]
    """Files of the corpus whose recordings are others now."""
    rows: int = 0
    """How many rows are taken over, once that is known."""

    def write(self, layout: Layout, plan: Plan) -> None:
        """Write the table that says which of its rows become rows of another dataset.

        Args:
            layout: the other dataset.
            plan: its frozen plan.

        Raises:
            JobError: when its tokenizer is another one.
        """
        if plan.info != self.plan.info:
            raise JobError(
                f"{self.layout.root} was made with tokenizer '{self.plan.info.name}' (fingerprint {self.plan.info.fingerprint}), not with "
                f"'{plan.info.name}' ({plan.info.fingerprint}); tokenize the corpus into another folder."
            )
        with layout.replacing(layout.kept) as path:
            write_tables(self._tables(plan), _SCHEMA, path)

    def _tables(self, plan: Plan) -> Iterator[pa.Table]:
        known = _Batches(self.layout, self.plan)
        self.rows = 0
        for _, batches in _batches(plan):
            rows = list[int | None]()
            for batch in batches:
                is_same = not any(location_of(row["audio"]).path in self.changed for row in batch)
                first = known.first_row(batch) if is_same else None
                for row in batch:
                    is_taken = first is not None and not row.get(FAULT)
                    rows.append(first if is_taken else None)
                    if first is not None and is_taken:
                        first, self.rows = first + 1, self.rows + 1
            yield pa.table({"row": pa.array(rows, pa.int64())})


def _batches(plan: Plan) -> Iterator[tuple[ShardTask, list[list[Row]]]]:
    """Yield the batches of each shard of a plan."""
    settings = frozen_settings(plan)
    reader = PlanRows(plan.file, [name for name in _DECIDING if name in plan.schema.names])
    for task in plan.tasks:
        yield (
            task,
            make_batches(
                reader.of(task).to_pylist(),
                batch_seconds=settings.batch_seconds,
                chunk_seconds=settings.chunk_seconds,
                run_seconds=plan.settings.get("run_seconds"),
            ),
        )


class _Batches:
    """The batches of a dataset in which nothing failed, and where their rows begin: 16 bytes each."""

    def __init__(self, layout: Layout, plan: Plan) -> None:
        ledger, signs, firsts, first = Ledger.read(layout, plan), array("q"), array("q"), 0
        for task, batches in _batches(plan):
            failed = Counter(failure.id for failure in ledger.parts[task.number].quarantined)
            failed -= Counter(row["id"] for batch in batches for row in batch if row.get(FAULT))
            for batch in batches:
                tried = [row for row in batch if not row.get(FAULT)]
                good = sum(not failed[row["id"]] for row in tried)
                if good and good == len(tried):
                    signs.append(_sign(batch))
                    firsts.append(first)
                first += good
        order = np.argsort(np.frombuffer(signs, np.int64))
        self._signs = np.frombuffer(signs, np.int64)[order]
        self._firsts = np.frombuffer(firsts, np.int64)[order]

    def first_row(self, batch: list[Row]) -> int | None:
        """Return which row of the dataset the first of a batch is, or None if it has no such batch."""
        sign = _sign(batch)
        place = int(np.searchsorted(self._signs, sign))
        if place == len(self._signs) or self._signs[place] != sign:
            return None
        return int(self._firsts[place])


def _sign(batch: list[Row]) -> int:
    """Return a hash of what decides the codes of a batch."""
    facts = json.dumps([[row.get(name) for name in _DECIDING] for row in batch])
    return int.from_bytes(hashlib.blake2b(facts.encode(), digest_size=8).digest(), signed=True)
