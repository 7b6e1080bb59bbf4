"""Run a job's shards one after the other in this process: for small corpora and for debugging."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager

import torch

from speechtok.engine.hooks import Hooks
from speechtok.engine.settings import RunSettings
from speechtok.engine.worker import ShardWorker, WorkerSettings
from speechtok.shards.plan import ShardRecord, ShardTask

POLL_SECONDS = 0.5
"""How often the worker is asked what it does."""


def run_locally(
    tasks: Sequence[ShardTask], settings: WorkerSettings, run: RunSettings, hooks: Hooks
) -> Iterator[ShardRecord]:
    """Yield the record of each shard as it is committed.

    Args:
        tasks: shards to make.
        settings: what the worker needs.
        run: not needed here; executors take the same arguments.
        hooks: told what happens.
    """
    threads = torch.get_num_threads()
    try:
        with closing(ShardWorker(settings)) as worker:  # which works in one thread
            hooks.ready()
            with _every(POLL_SECONDS, lambda: hooks.progressed([worker.status()])):
                for task in tasks:
                    yield worker.make(task)
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _every(seconds: float, call: Callable[[], None]) -> Iterator[None]:
    """Call something again and again in another thread while the block runs."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            call()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
