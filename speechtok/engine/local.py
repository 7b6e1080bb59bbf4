"""Several processes of this machine, each with one task at a time."""

from __future__ import annotations

import contextlib
import os
import pickle
import platform
import signal
import sys
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Generator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, NoReturn, Self

from speechtok.engine.child import Children, child_environment
from speechtok.engine.executor import (
    MAX_DEATHS,
    MAX_FAILED_STARTS,
    STATUS_SECONDS,
    WORKER_ENVIRONMENT,
    Outcome,
    R,
    T,
    begun,
    name_of,
    outcome,
    too_many_deaths,
)
from speechtok.engine.observer import Observer, WorkerStatus
from speechtok.errors import JobError

ASK, WORK, TASK, END = "ask", "work", "task", "end"
"""What workers are told: a question; a function; a task for it; that there is no further one."""
READY, STATUS, DONE, FAILED = "ready", "status", "done", "failed"
"""What they say: up; what they do; a result; an error instead."""
PATIENCE_SECONDS = 5.0
"""How long workers may take to tidy up when a job is stopped."""


class LocalExecutor:
    """Processes for the functions that are run one after the other.

    Args:
        places: variables of each process; they start at once.
        imports: module that they import meanwhile.
    """

    def __init__(self, places: Sequence[Mapping[str, str]], imports: str | None = None) -> None:
        self._imports, self._vacant = imports, list(places)
        self._children = list[Children]()
        self._places = dict[Connection, Mapping[str, str]]()
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> list[Connection]:
        """Have a process in each place; return the connections of all."""
        if places := self._vacant:
            self._vacant = []
            children = Children(
                f"{__name__}:serve",
                len(places),
                imports=self._imports,
                environment=child_environment() | WORKER_ENVIRONMENT,
            )
            self._children.append(children)
            self._places |= dict(zip(children.connections, places, strict=True))
        return list(self._places)

    def variables(self, connection: Connection) -> Mapping[str, str]:
        """Return the variables of a process."""
        return self._places[connection]

    def lose(self, connection: Connection) -> None:
        """Leave a process that has ended; the next `start` replaces it."""
        connection.close()
        self._vacant.append(self._places.pop(connection))

    def stop(self, patience_seconds: float = 0.0) -> None:
        """End all processes."""
        for children in self._children:
            children.kill(patience_seconds)
            for connection in children.connections:
                connection.close()
        self._vacant += self._places.values()
        self._places.clear()
        self._children.clear()

    def ask(self, function: Callable[..., R], *arguments: Any) -> R:
        """See `speechtok.engine.executor.Executor`."""
        connection = self.start()[0]
        try:
            connection.send((ASK, self.variables(connection), function, arguments))
            kind, result = connection.recv()
            while kind == STATUS:  # of what was run before
                kind, result = connection.recv()
        except (EOFError, OSError):
            self.lose(connection)
            raise JobError(
                "A worker ended before it had told what it can do, perhaps for lack of memory; use fewer --workers."
            ) from None
        if kind == FAILED:
            raise result
        return result  # type: ignore[no-any-return]

    def map(
        self, function: Callable[[T], R], tasks: Sequence[T], observer: Observer
    ) -> Generator[Outcome[T, R]]:
        """See `speechtok.engine.executor.Executor`."""
        run = _Map(self, function, tasks, observer)
        try:
            yield from run.outcomes()
        except BaseException:
            self.stop(PATIENCE_SECONDS)
            raise


class _Map:
    """Some tasks, and the workers that do them."""

    def __init__(
        self, executor: LocalExecutor, function: Callable[[T], R], tasks: Sequence[T], observer: Observer
    ) -> None:
        self._executor, self._function, self._observer = executor, function, observer
        self._waiting = deque(tasks)
        self._running = dict[Connection, Any]()
        self._statuses = dict[Connection, WorkerStatus]()
        self._hired, self._idle = set[Connection](), list[Connection]()
        self._deaths = Counter[int]()
        self._failed_starts, self._told = 0, 0.0
        self._is_ready = False

    def outcomes(self) -> Generator[Outcome[Any, Any]]:
        self._hire()
        while self._waiting or self._running:
            for connection in wait(self._hired):
                yield from self._hear(connection)  # type: ignore[arg-type]
        for connection in self._hired:
            _send(connection, (END,))

    def _hire(self) -> None:
        """Have as many workers as there is work for."""
        for connection in self._executor.start():
            if connection not in self._hired and len(self._hired) < len(self._waiting) + len(self._running):
                self._hired.add(connection)
                _send(connection, (WORK, self._executor.variables(connection), self._function))

    def _hear(self, connection: Connection) -> Generator[Outcome[Any, Any]]:
        try:
            kind, value = connection.recv()
        except (EOFError, OSError):
            yield from self._lost(connection)
            return
        if kind == STATUS:
            self._statuses[connection] = value
            self._tell()
        elif kind == READY:
            self._failed_starts = 0
            self._observer.event("worker", node=value.node, pid=value.pid)
            if not self._is_ready:
                self._is_ready = True
                self._observer.ready()
            self._give(connection)
        elif kind == FAILED:
            raise value
        else:
            task = self._running.pop(connection)
            self._statuses.pop(connection, None)
            self._give(connection)
            yield task, value

    def _give(self, connection: Connection) -> None:
        if self._waiting:
            self._running[connection] = task = self._waiting.popleft()
            _send(connection, (TASK, task))
        else:
            self._idle.append(connection)

    def _lost(self, connection: Connection) -> Generator[Outcome[Any, Any]]:
        """Replace a worker; its task waits for another one."""
        self._hired.discard(connection)
        self._idle = [other for other in self._idle if other is not connection]
        self._statuses.pop(connection, None)
        task = self._running.pop(connection, None)
        self._executor.lose(connection)
        self._observer.event(
            "worker lost", shard=None if task is None else name_of(task), reason="Its process ended."
        )
        if task is None:
            self._failed_starts += 1
            if self._failed_starts >= MAX_FAILED_STARTS:
                raise JobError(
                    "A worker could not start: its process ended again and again, perhaps for lack of memory."
                )
        else:
            self._deaths[id(task)] += 1
            if self._deaths[id(task)] < MAX_DEATHS:
                self._waiting.append(task)
            else:
                yield task, too_many_deaths(task)
        if self._idle and self._waiting:
            self._give(self._idle.pop())
        self._hire()

    def _tell(self) -> None:
        if time.monotonic() - self._told >= STATUS_SECONDS / 2:
            self._told = time.monotonic()
            self._observer.working([self._statuses[item] for item in self._running if item in self._statuses])


def _send(connection: Connection, message: tuple[Any, ...]) -> None:
    with contextlib.suppress(OSError):  # of a dead one, which the next look at it reveals
        connection.send(message)


# --- in the worker ---


def serve(connection: Connection) -> None:
    """Answer questions and do tasks until the other end closes."""
    signal.signal(signal.SIGTERM, _stop)
    sent = threading.Lock()

    def tell(kind: str, value: Any) -> None:
        with sent:
            connection.send((kind, value))

    while True:
        try:
            kind, variables, function, *rest = connection.recv()
            os.environ.update(variables)
            if kind == ASK:
                answer = outcome(function, *rest[0])
                tell(FAILED if isinstance(answer, Exception) else DONE, _portable(answer))
            else:
                _work(connection, function, tell)
        except EOFError:
            return


def _work(connection: Connection, function: Callable[[Any], Any], tell: Callable[[str, Any], None]) -> None:
    """Do the tasks of one function."""
    try:
        with begun(function, lambda status: tell(STATUS, status)):
            tell(READY, WorkerStatus(node=platform.node(), pid=os.getpid()))
            while (message := connection.recv())[0] == TASK:
                tell(DONE, _portable(outcome(function, message[1])))
    except (EOFError, BrokenPipeError, ConnectionResetError):  # nobody listens any more
        raise EOFError from None
    except Exception as error:
        tell(FAILED, _portable(error))


def _portable(value: Any) -> Any:
    """Return a result as it is, and an error in a form that travels."""
    if not isinstance(value, Exception):
        return value
    value.add_note("".join(traceback.format_exception(value)))
    try:
        # Safe because no file holds it: the bytes are made in the same line, of an error that was raised in this process.
        pickle.loads(pickle.dumps(value))  # noqa: S301
    except Exception:
        return JobError(f"{type(value).__name__}: {value}")
    return value


def _stop(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)
