"""Run a job's shards on Ray Core: one shard per task on a pool of actors. The door to Ray.

Ray Data is not used: a shard must be one file with planned content, which its blocks are not, and
its fixed cost per run is higher than many of our jobs.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from speechtok.errors import JobError, SpeechtokError
from speechtok.jobs.settings import Progress
from speechtok.jobs.worker import ShardWorker, WorkerSettings
from speechtok.shards.plan import ShardRecord, ShardTask

POLL_SECONDS = 0.5
"""How often the progress of unfinished shards is asked for."""
CONNECT_SECONDS = 10.0
"""How long a cluster's address may take to answer."""
SHARD_RETRIES = 3
"""How often a shard is begun anew after its worker died."""
OBJECT_STORE_BYTES = 100 * 1024 * 1024
"""Tasks and records are small; audio never enters the object store."""
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    # glibc returns large blocks to the system at once, and page faults then cost up to half the time.
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
}
"""One thread per worker and one worker per core is fastest, and makes results reproducible."""


def run_on_ray(
    tasks: Sequence[ShardTask],
    settings: WorkerSettings,
    on_progress: Callable[[Progress], None],
    on_ready: Callable[[], None],
    *,
    workers: int | None,
    address: str | None,
) -> Iterator[ShardRecord]:
    """Yield the record of each shard as it is committed.

    A worker that dies is started again and its shard made anew.

    Args:
        tasks: shards to make.
        settings: what each worker needs.
        on_progress: called about twice a second with the progress of unfinished shards.
        on_ready: called once the first worker is up.
        workers: number of actors; None takes one per CPU.
        address: a running cluster; None starts Ray on this machine for the run.

    Raises:
        JobError: when Ray cannot be started or reached, a shard keeps killing its worker, or it
            cannot be written.
    """
    import ray

    _start(address, cpus=workers or _cpus())
    try:
        count = min(len(tasks), workers or int(ray.cluster_resources().get("CPU", 1)))  # type: ignore[no-untyped-call]
        options: dict[str, Any] = {
            "num_cpus": 1,
            "num_gpus": 1 if settings.device.startswith("cuda") else 0,
            "max_restarts": -1,
            "max_task_retries": SHARD_RETRIES,
            "max_concurrency": 2,  # one shard at a time is sent; the other thread answers `progress`
            "runtime_env": {"env_vars": WORKER_ENVIRONMENT},
        }
        actor: Any = ray.remote(**options)(ShardWorker)
        actors = [actor.remote(settings) for _ in range(count)]
        ray.wait([worker.progress.remote() for worker in actors], num_returns=1)
        on_ready()
        yield from _run(actors, tasks, on_progress)
    finally:
        ray.shutdown()


def _run(
    actors: list[Any], tasks: Sequence[ShardTask], on_progress: Callable[[Progress], None]
) -> Iterator[ShardRecord]:
    import ray

    waiting = list(reversed(tasks))
    running: dict[Any, tuple[Any, ShardTask]] = {}
    while actors:
        _send(actors.pop(), waiting, running)
    while running:
        done, _ = ray.wait(list(running), timeout=POLL_SECONDS)
        for reference in done:
            actor, task = running.pop(reference)
            record = _result(reference, task)
            _send(actor, waiting, running)
            del actor  # without a further shard it ends, and leaves its CPU to one that has to wait for it
            yield record
        on_progress(_progress([actor for actor, _ in running.values()]))


def _send(actor: Any, waiting: list[ShardTask], running: dict[Any, tuple[Any, ShardTask]]) -> None:
    if waiting:
        task = waiting.pop()
        running[actor.make.remote(task)] = (actor, task)


def _result(reference: Any, task: ShardTask) -> ShardRecord:
    import ray

    try:
        record: ShardRecord = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, SpeechtokError | OSError):
            raise cause from error
        raise JobError(f"Shard {task.name} failed: {type(cause).__name__}: {cause}") from error
    except ray.exceptions.RayActorError as error:
        if error.actor_init_failed:
            raise JobError(f"A worker could not start: {str(error).strip().splitlines()[-1]}") from error
        raise JobError(
            f"The worker of shard {task.name} died {SHARD_RETRIES + 1} times: out of memory, or an input that "
            "crashes it. Run again with fewer workers; finished shards are kept."
        ) from error
    return record


def _progress(actors: list[Any]) -> Progress:
    """Return the progress of unfinished shards; a worker that is just restarting counts as none."""
    import ray

    references = [actor.progress.remote() for actor in actors]
    done, _ = (
        ray.wait(references, num_returns=len(references), timeout=POLL_SECONDS) if references else ([], [])
    )
    total = Progress()
    for reference in done:
        try:
            total += ray.get(reference)
        except ray.exceptions.RayError:
            continue
    return total


def _start(address: str | None, cpus: int) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    try:
        if address is not None:
            _check_reachable(address)
            ray.init(address=address, **quiet)
        else:
            ray.init(
                address="local",
                num_cpus=cpus,
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                **quiet,
            )
    except (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = f"at {address}" if address else "on this machine"
        reason = str(error).strip().splitlines()[0]
        raise JobError(f"Ray could not be started or reached {where}: {reason}") from error


def _check_reachable(address: str) -> None:
    """Raise `OSError` when nobody listens at HOST:PORT; Ray itself finds out after minutes."""
    host, _, port = address.rpartition(":")
    if host and "/" not in host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
