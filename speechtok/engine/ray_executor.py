"""Tasks on Ray Core, on a pool of actors. The door to Ray.

The pool follows the cluster: workers are added where nodes join, and a shard whose worker or node is lost goes
to another. Ray Data is not used: a shard must be one file with planned content, which its blocks are not, and
its fixed cost per run is higher than many of our jobs.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import signal
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self, cast

from speechtok.engine.child import cause_of_death
from speechtok.engine.executor import (
    MAX_DEATHS,
    MAX_FAILED_STARTS,
    WORKER_ENVIRONMENT,
    Outcome,
    R,
    T,
    name_of,
    too_many_deaths,
)
from speechtok.engine.observer import Observer, WorkerStatus
from speechtok.engine.settings import RunSettings
from speechtok.errors import JobError, SpeechtokError
from speechtok.processes import import_paths, safe_path
from speechtok.redaction import remember

POLL_SECONDS = 0.5
"""How often workers are asked what they do, and the cluster how large it is."""
CONNECT_SECONDS = 10.0
"""How long a cluster's address may take to answer."""
EXCUSES = ("its node has died", "running low on memory", "node was terminated", "node was preempted")
"""What Ray says of workers that were lost with their node, or that its memory monitor ended."""
OBJECT_STORE_BYTES = 100 * 1024 * 1024
"""Tasks and records are small; audio never enters the object store."""
LOOPBACK = "127.0.0.1"
"""Address of a Ray of our own, which no other machine is to reach."""


class RayExecutor:
    """A Ray cluster: the one at an address, or one of our own that ends with the block.

    Args:
        run: cluster, number of workers and what each takes.
    """

    def __init__(self, run: RunSettings) -> None:
        self._run = run
        self._is_up = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._is_up and "gcs_server" not in _ended():  # else it would take a minute, and end this process
            import ray

            ray.shutdown()
        self._is_up = False

    def ask(self, function: Callable[..., R], *arguments: Any) -> R:
        """See `speechtok.engine.executor.Executor`; answered here, before any node is asked for."""
        return function(*arguments)

    def map(
        self, function: Callable[[T], R], tasks: Sequence[T], observer: Observer
    ) -> Generator[Outcome[T, R]]:
        """See `speechtok.engine.executor.Executor`."""
        with _told():
            if not self._is_up:
                self._is_up = True
                _start(self._run)
            if self._run.ray_address is None:
                _check_alive()
            _check_gpus(self._run)
            yield from _Pool(tasks, function, self._run, observer).run()


@contextmanager
def _told() -> Iterator[None]:
    """Raise what Ray raises in the block as a sentence."""
    try:
        yield
    except SystemError as error:
        if error.__cause__ is None:
            raise
        raise error.__cause__ from None  # a signal's exception, wrapped by Ray's compiled code
    except SpeechtokError:
        raise
    except Exception as error:
        raise JobError(
            f"Ray failed ({type(error).__name__}): {_last_line(error)} Run the same command again to go on; what is finished is kept."
        ) from error


class _RayWorker:
    """What an actor is: a function that has begun."""

    def __init__(self, function: Any, secrets: Mapping[str, str]) -> None:
        os.environ.update(secrets)  # not by Ray, which logs what it sets
        self._function = function
        if hasattr(function, "begin"):
            function.begin()

    def do(self, task: Any) -> Any:
        """Do one task."""
        return self._function(task)

    def status(self) -> WorkerStatus:
        """Return what it does; called from another thread."""
        if hasattr(self._function, "status"):
            return cast("WorkerStatus", self._function.status())
        return WorkerStatus(node=platform.node(), pid=os.getpid())


class _Pool:
    """Workers, and the tasks they do."""

    def __init__(
        self, tasks: Sequence[Any], function: Callable[[Any], Any], run: RunSettings, observer: Observer
    ) -> None:
        import ray

        options: dict[str, Any] = {
            "num_cpus": run.cpus_per_worker,
            "num_gpus": run.gpus,
            "max_restarts": 0,  # a lost worker is replaced wherever there is room now
            "max_concurrency": 2,  # one shard at a time is sent; the other thread answers `status`
            "runtime_env": {"env_vars": _environment(run)},
        }
        self._actor: Any = ray.remote(**options)(_RayWorker)
        self._function, self._run, self._observer = function, run, observer
        self._secrets = run.ray_environment()[1]
        self._waiting = deque(tasks)
        self._starting: dict[Any, Any] = {}  # its first status → worker
        self._idle: list[Any] = []
        self._running: dict[Any, tuple[Any, Any]] = {}  # the result to come → worker, task
        self._asked: dict[Any, tuple[Any, WorkerStatus | None]] = {}  # by task: a question, the last answer
        self._asked_at = self._looked_at = 0.0
        self._room = 0
        self._is_ready = False
        self._failed_starts = 0
        self._deaths = Counter[int]()

    def run(self) -> Generator[Outcome[Any, Any]]:
        """Do all tasks."""
        import ray

        while self._waiting or self._running:
            if self._run.ray_address is None:
                _check_alive()
            self._follow_cluster()
            self._send()
            begun = [*self._starting, *self._running]
            done, _ = ray.wait(begun, timeout=POLL_SECONDS) if begun else ([], [])
            if not begun:
                time.sleep(POLL_SECONDS)
            for reference in done:
                if reference in self._starting:
                    self._welcome(reference)
                elif (ended := self._outcome(reference)) is not None:
                    self._send()
                    yield ended
            self._ask()

    def _ask(self) -> None:
        """Ask workers now and then what they do, and pass on the answers that are there."""
        import ray

        if time.monotonic() - self._asked_at < POLL_SECONDS:
            return
        self._asked_at = time.monotonic()
        statuses = []
        for reference, (worker, _) in self._running.items():
            question, answer = self._asked.pop(reference, (None, None))
            if question is None:
                question = worker.status.remote()
            elif ray.wait([question], timeout=0)[0]:
                with contextlib.suppress(ray.exceptions.RayError):
                    answer = ray.get(question)
                question = worker.status.remote()
            self._asked[reference] = (question, answer)
            if answer is not None:
                statuses.append(answer)
        self._asked = {reference: self._asked[reference] for reference in self._running}
        self._observer.working(statuses)

    def _follow_cluster(self) -> None:
        """Have as many workers as there is room and work for."""
        if time.monotonic() - self._looked_at < POLL_SECONDS:
            return
        self._looked_at = time.monotonic()
        room = _room(self._run)
        if room != self._room:
            self._observer.event("cluster", workers=room)
            self._room = room
        wanted = min(len(self._waiting) + len(self._running), self._run.workers or room)
        have = len(self._starting) + len(self._idle) + len(self._running)
        for _ in range(have, wanted):
            worker = self._actor.remote(self._function, self._secrets)
            self._starting[worker.status.remote()] = worker
        for reference in list(self._starting)[: max(0, have - wanted)]:
            del self._starting[reference]  # without a name it ends, and leaves its place to others

    def _send(self) -> None:
        while self._idle and self._waiting:
            worker, task = self._idle.pop(), self._waiting.popleft()
            self._running[worker.do.remote(task)] = (worker, task)
        if not self._waiting:
            self._idle.clear()  # without a further shard they end, and leave their CPUs to others

    def _welcome(self, reference: Any) -> None:
        """Take on a worker that is up."""
        import ray

        worker = self._starting.pop(reference)
        try:
            status: WorkerStatus = ray.get(reference)
        except ray.exceptions.RayError as error:
            self._failed_starts += 1
            is_final = (
                getattr(error, "actor_init_failed", False)
                or isinstance(
                    error, ray.exceptions.RuntimeEnvSetupError | ray.exceptions.ActorUnschedulableError
                )
                or self._failed_starts >= MAX_FAILED_STARTS
            )
            if is_final:
                raise JobError(f"A worker could not start: {_last_line(error)}") from error
            self._observer.event("worker lost", shard=None, reason=_last_line(error))
            return
        self._failed_starts = 0
        self._idle.append(worker)
        self._observer.event("worker", node=status.node, pid=status.pid)
        if not self._is_ready:
            self._is_ready = True
            self._observer.ready()

    def _outcome(self, reference: Any) -> Outcome[Any, Any] | None:
        """Return what became of a task; or None when its worker was lost, and the task waits for another."""
        import ray

        worker, task = self._running.pop(reference)
        try:
            result = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            result = error.cause if isinstance(error.cause, Exception) else error
        except ray.exceptions.RayError as error:  # the worker, its node or the way there
            self._observer.event("worker lost", shard=name_of(task), reason=_last_line(error))
            ray.kill(worker)  # in case it is alive somewhere: two must not make the same shard for long
            if _is_excused(error) and hasattr(self._function, "excuse"):
                self._function.excuse(task)
            self._deaths[id(task)] += 1
            if self._deaths[id(task)] >= MAX_DEATHS:
                return task, too_many_deaths(task)
            self._waiting.append(task)
            return None
        self._idle.append(worker)
        return task, result


def _is_excused(error: Exception) -> bool:
    """Return whether a worker was lost with its node, or to make room for others: no input is to blame."""
    import ray

    kinds = (ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError)
    is_excused = isinstance(error, kinds) or getattr(error, "preempted", False)
    return is_excused or any(reason in str(error) for reason in EXCUSES)


def _check_alive() -> None:
    """Raise `JobError` when a process of a Ray of our own has ended, which nobody starts again: workers would never come."""
    for name, code in _ended().items():
        raise JobError(
            f"Ray ended on this machine (its process {name}: {cause_of_death(code)}), perhaps for lack of memory; "
            "run the same command again to go on, with fewer --workers if it happens again."
        )


def _ended() -> dict[str, int]:
    """Return the exit codes of the processes a Ray of our own cannot be without, as far as they have ended."""
    from ray._private import worker

    node: Any = worker._global_node
    dead = {} if node is None else {name: process.poll() for name, process in node.dead_processes()}
    return {name: code for name, code in dead.items() if name in ("gcs_server", "raylet")}


def _room(run: RunSettings) -> int:
    """Return how many workers the nodes that are up have room for, if nothing else runs there."""
    import ray

    count = 0
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        if node["Alive"]:
            has = node["Resources"]
            places = [has.get("CPU", 0.0) / run.cpus_per_worker]
            if run.gpus:
                places.append(has.get("GPU", 0.0) / run.gpus)
            count += int(min(places) + 1e-9)
    return max(count, 1)


def _check_gpus(run: RunSettings) -> None:
    """Raise `JobError` where a worker would wait for ever: this machine gets no further GPU, but a cluster may."""
    import ray

    has = ray.cluster_resources().get("GPU", 0.0)  # type: ignore[no-untyped-call]
    if run.ray_address is None and has < run.gpus:
        raise JobError(
            f"A worker takes {run.gpus:g} GPU(s), but Ray finds {has:g} on this machine; use --device cpu, fewer "
            "--gpus-per-worker, or a cluster with --ray."
        )


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def _start(run: RunSettings) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")  # processes that would only stand by
    import ray

    handler = signal.getsignal(signal.SIGTERM)
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    told, secrets = run.ray_environment()
    for name, value in secrets.items():
        remember(value, f"${name}")
    if told:
        options["runtime_env"] = told
    try:
        if run.ray_address is None:
            with _on_loopback(), safe_path():
                ray.init(
                    address="local",
                    num_cpus=None if run.workers is None else math.ceil(run.workers * run.cpus_per_worker),
                    object_store_memory=OBJECT_STORE_BYTES,
                    include_dashboard=False,
                    job_config=_job_config(),
                    **options,
                )
        else:
            check_reachable(run.ray_address)
            if "://" not in run.ray_address:  # a Ray Client's server starts the driver, elsewhere
                options["job_config"] = _job_config()
            ray.init(address=run.ray_address, **options)
    except JobError:
        raise
    except Exception as error:  # of many kinds, a bare one included where a busy machine takes too long
        where = f"at {run.ray_address}" if run.ray_address else "on this machine"
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise JobError(f"Ray could not be started or reached {where}: {reason}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray puts its own there, which ends the process at once


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Have a Ray that is started in this block listen on the loopback address alone, as it does on a desktop.

    Raises:
        RuntimeError: when it does not.
    """
    import ray
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
    address = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    if address != LOOPBACK:
        ray.shutdown()
        raise RuntimeError(
            f"version {ray.__version__} listens on {address} and not only on {LOOPBACK}; use --executor local."
        )


def _job_config() -> Any:
    """Return a job's configuration that adds no folder to the paths workers import from.

    Ray adds the driver's working folder, which may hold the corpus and with it any `json.py`, in front of all others.
    """
    from ray.job_config import JobConfig

    class OwnPaths(JobConfig):
        _py_driver_sys_path = property(lambda self: [], lambda self, folders: None)

    return OwnPaths()


def _environment(run: RunSettings) -> dict[str, str]:
    """Return variables of the workers; on this machine they import what this process imports."""
    given = dict((run.runtime_env or {}).get("env_vars") or {})
    if run.ray_address is not None or "PYTHONPATH" in given:
        return WORKER_ENVIRONMENT
    return {**WORKER_ENVIRONMENT, "PYTHONPATH": import_paths()}


def check_reachable(address: str) -> None:
    """Raise `JobError` when nobody listens at HOST:PORT; Ray itself finds out after minutes."""
    host, _, port = address.rpartition(":")
    if host and "/" not in host and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
        except (OSError, OverflowError, UnicodeError) as error:
            raise JobError(f"Ray could not be started or reached at {address}: {error}") from error
