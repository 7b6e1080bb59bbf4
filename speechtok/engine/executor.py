"""One function over many tasks, wherever that runs: in this process, in several of this machine, or on a Ray cluster.

An executor runs whatever function it is given, whose tasks and results travel between processes. A function that needs something first,
such as a tokenizer, is an object with the methods of `Work`.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from speechtok.engine.observer import Observer, WorkerStatus
from speechtok.engine.settings import RunSettings
from speechtok.errors import JobError
from speechtok.processes import SAFE_PATH

T = TypeVar("T")
R = TypeVar("R")
Task = TypeVar("Task", contravariant=True)
Result = TypeVar("Result", covariant=True)
Outcome = tuple[T, R | Exception]
"""A task, and what the function returned or raised."""

GPUS = "CUDA_VISIBLE_DEVICES"
"""Variable that says which GPUs a process may use."""
STATUS_SECONDS = 0.5
"""How often workers tell what they do."""
MAX_DEATHS = 24
"""Workers that may die on one task …"""
MAX_FAILED_STARTS = 8
"""… and one after the other before any was ready."""
WORKER_ENVIRONMENT = {
    SAFE_PATH: "1",
    "OMP_NUM_THREADS": "1",
    # glibc returns large blocks to the system at once, and page faults then cost up to half the time.
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
}
"""One thread per worker and one worker per core is fastest, and makes results reproducible."""


class Work(Protocol, Generic[Task, Result]):
    """A function with a beginning and an end in each worker; travels before it has begun."""

    def begin(self) -> None:
        """Get ready; called once in each worker, which tidies up after itself where it fails."""

    def __call__(self, task: Task) -> Result:
        """Do one task."""

    def status(self) -> WorkerStatus:
        """Return what it does; may be called from another thread."""

    def end(self) -> None:
        """Let go what `begin` took."""


class Executor(Protocol):
    """Where tasks run. A context manager: what it started ends with the block, or with one inside that enters it again."""

    def ask(self, function: Callable[..., R], *arguments: Any) -> R:
        """Return what a function returns where this executor has what it needs to import."""

    def map(
        self, function: Callable[[T], R], tasks: Sequence[T], observer: Observer
    ) -> Generator[Outcome[T, R]]:
        """Yield each task with its result or its exception, as they end; a task whose worker is lost is done again.

        Close the generator when leaving it early.

        Raises:
            SpeechtokError: when workers cannot begin, or cannot be had.
        """

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


class InThisProcess:
    """The executor of one worker: this process."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def ask(self, function: Callable[..., R], *arguments: Any) -> R:
        """See `Executor`."""
        return function(*arguments)

    def map(
        self, function: Callable[[T], R], tasks: Sequence[T], observer: Observer
    ) -> Generator[Outcome[T, R]]:
        """See `Executor`."""
        with begun(function, lambda status: observer.working([status])):
            observer.ready()
            for task in tasks:
                yield task, outcome(function, task)


def outcome(function: Callable[..., R], *arguments: Any) -> R | Exception:
    """Return what a function returns or raises."""
    try:
        return function(*arguments)
    except Exception as error:
        return error


def name_of(task: object) -> str:
    """Return what a task is called in messages."""
    return str(getattr(task, "name", task))


def too_many_deaths(task: object) -> JobError:
    """Return the error of a task that ended its workers again and again."""
    return JobError(
        f"{MAX_DEATHS} workers died on {name_of(task)}: out of memory, or an input that crashes them. Run again with fewer "
        "workers or on another machine; what is finished is kept."
    )


@contextmanager
def begun(function: Callable[..., Any], tell: Callable[[WorkerStatus], None]) -> Iterator[None]:
    """Begin and end a function around the block, if it has that, and tell its status now and then."""
    if not hasattr(function, "begin"):
        yield
        return
    work: Any = function
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(STATUS_SECONDS):
            with contextlib.suppress(OSError):  # when nobody listens any more
                tell(work.status())

    thread = threading.Thread(target=repeat, daemon=True)
    work.begin()
    try:
        thread.start()
        yield
    finally:
        ended.set()
        thread.join()
        work.end()


def open_executor(run: RunSettings, *, imports: str | None = None) -> Executor:
    """Return the executor that a run asks for.

    Args:
        run: how to run.
        imports: module that processes of this machine import as soon as they start.
    """
    if run.is_on_ray:
        from speechtok.engine.ray_executor import RayExecutor

        return RayExecutor(run)
    if run.workers == 1:
        return InThisProcess()
    from speechtok.engine.local import LocalExecutor

    return LocalExecutor(places_here(run), imports)


def places_here(run: RunSettings) -> list[dict[str, str]]:
    """Return the variables of each worker there is room for on this machine: on GPUs, the one it gets."""
    if not run.gpus:
        count = run.workers or (1 if run.is_on_gpu else int(usable_cpus() / run.cpus_per_worker))
        return [{} for _ in range(max(1, count))]
    gpus = _gpus_here()
    count = run.workers or max(1, int(len(gpus) / run.gpus))
    return [{GPUS: gpus[int(number * run.gpus) % len(gpus)]} for number in range(count)]


def _gpus_here() -> list[str]:
    """Return the names of the GPUs this process may use; where none is known, a name for torch to refuse."""
    chosen = os.environ.get(GPUS)
    found = (
        chosen.split(",")
        if chosen
        else [path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*")]
    )
    return sorted(found) or ["0"]


def usable_cpus() -> int:
    """Return how many CPUs this process may use: those it is bound to, and what its control group grants."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(bound, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or "max"
        return bound
