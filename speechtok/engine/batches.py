"""Which utterances are encoded together: runs of about equal seconds, and batches in them.

Where a run ends follows from the hash of an id alone, not from what stands before it. So what changes in one place of a corpus changes the
batches of its own run, and those of all others are as they were: `speechtok update` takes over what they gave.

Contents: `run_length`, `begins_run`, `make_batches`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

BATCHES_IN_RUN = 16
"""A run has about so many batches …"""
RUNS_IN_SHARD = 2
"""… but a shard at least so many runs, about …"""
MIN_BATCHES_IN_RUN = 2
"""… where these still have so many batches; shards that are shorter end anywhere, and have no runs."""


def run_length(shard_seconds: float, batch_seconds: float) -> float | None:
    """Return how long runs are, in seconds, on average; None where there are none."""
    span = min(BATCHES_IN_RUN * batch_seconds, shard_seconds / RUNS_IN_SHARD)
    return span if span >= MIN_BATCHES_IN_RUN * batch_seconds else None


def begins_run(name: str, seconds: float, run_seconds: float) -> bool:
    """Return whether a run begins with the utterance of an id, by chance that grows with its seconds."""
    digest = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8, person=b"run").digest()
    return int.from_bytes(digest) < seconds / run_seconds * (1 << 64)


def make_batches(
    rows: Iterable[dict[str, Any]],
    *,
    batch_seconds: float,
    chunk_seconds: float,
    run_seconds: float | None = None,
) -> list[list[dict[str, Any]]]:
    """Return planned rows in the groups that are encoded together, by their ids and planned lengths alone.

    So a failure changes its own batch and no other. What is long, or of unknown length, is alone.

    Args:
        rows: with `id` and `seconds`.
        batch_seconds: a batch is filled up to these.
        chunk_seconds: what is longer is alone.
        run_seconds: length of runs, over whose ends no batch reaches; None where there are none.
    """
    batches: list[list[dict[str, Any]]] = []
    room = 0.0
    for row in rows:
        seconds = row["seconds"]
        is_alone = seconds is None or seconds > chunk_seconds
        if is_alone or room <= 0 or (run_seconds and begins_run(row["id"], seconds, run_seconds)):
            batches.append([])
            room = batch_seconds
        batches[-1].append(row)
        room = 0.0 if is_alone else room - seconds
    return batches
