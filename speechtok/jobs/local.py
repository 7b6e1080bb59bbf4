"""Run a job's shards one after the other in this process: for small corpora and for debugging."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from speechtok.jobs.settings import Progress
from speechtok.jobs.worker import ShardWorker, WorkerSettings
from speechtok.shards.plan import ShardRecord, ShardTask


def run_locally(
    tasks: Sequence[ShardTask],
    settings: WorkerSettings,
    on_progress: Callable[[Progress], None],
    on_ready: Callable[[], None],
) -> Iterator[ShardRecord]:
    """Yield the record of each shard as it is committed.

    Args:
        tasks: shards to make.
        settings: what the worker needs.
        on_progress: called after each shard with the progress of unfinished shards.
        on_ready: called once the worker is up.
    """
    threads = torch.get_num_threads()
    try:
        worker = ShardWorker(settings)  # which works in one thread
        on_ready()
        for task in tasks:
            yield worker.make(task)
            on_progress(Progress())
    finally:
        torch.set_num_threads(threads)
