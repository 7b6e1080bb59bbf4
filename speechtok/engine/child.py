"""Python processes of our own, each with a connection to this one. They end when this one ends, however that happens.

A process is started with `python -m` and not by `multiprocessing`, which would run the user's script in it again. It leaves the working
folder out of its path (see `speechtok.processes`) and ignores Ctrl-C, which is for this process. Its lifeline is a pipe whose other end
this process holds: when that closes, it ends with all that it started.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from enum import Enum
from importlib import import_module
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from speechtok.processes import SAFE_PATH, import_paths


def child_environment() -> dict[str, str]:
    """Return what a process needs to import what this one imports, in one thread."""
    return {**os.environ, "PYTHONPATH": import_paths(), SAFE_PATH: "1", "OMP_NUM_THREADS": "1"}


class Children:
    """Processes that run a function of a connection, and what they started; they end together.

    Several of them are forked from one that has imported what they need, so that this is done once.

    Args:
        function: "package.module:name" of what takes the connection.
        count: how many processes.
        imports: a module that they will need.
        environment: their variables.
    """

    def __init__(
        self,
        function: str,
        count: int = 1,
        *,
        imports: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        pairs = [Pipe() for _ in range(count)]
        lifeline, self._lifeline = os.pipe()
        self.connections = [ours for ours, _ in pairs]
        """One for each process."""
        descriptors = [lifeline, *(theirs.fileno() for _, theirs in pairs)]
        try:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-m", __name__, function, imports or "", *map(str, descriptors)],
                stdin=subprocess.DEVNULL,
                pass_fds=descriptors,
                start_new_session=True,
                env=child_environment() if environment is None else environment,
            )
        finally:
            os.close(lifeline)
            for _, theirs in pairs:
                theirs.close()

    def kill(self, patience_seconds: float = 0.0) -> int:
        """End them, by SIGTERM first where there is patience; return the exit code. Connections are for the caller to close."""
        if patience_seconds:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_seconds)
        self._signal(signal.SIGKILL)  # one that is dead already keeps its exit code
        os.close(self._lifeline)
        return self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, number)


TRIES = 2
"""How often an input may crash the process that deals with it, before it is given up …"""
MAX_KILLS = 8
"""… and how often that may be ended from outside meanwhile, which is no fault of the input."""
FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
"""Signals that a decoder does not end itself with: the system was short of memory, or somebody sent them."""


class Verdict(Enum):
    """What the deaths of processes say about the input that they were at."""

    LATE = "it took too long"
    CRASH = "it ends its process"
    MACHINE = "the machine ends processes, and the input is not to blame"


class Deaths:
    """Counts the processes that ended at one input."""

    def __init__(self) -> None:
        self._crashes = self._kills = 0

    def judge(self, code: int) -> Verdict | None:
        """Return the verdict after another death, by its exit code; None when the input is to be tried again."""
        if code == -signal.SIGALRM:
            return Verdict.LATE
        if -code in FROM_OUTSIDE:
            self._kills += 1
            return Verdict.MACHINE if self._kills >= MAX_KILLS else None
        self._crashes += 1
        return Verdict.CRASH if self._crashes >= TRIES else None


def cause_of_death(code: int) -> str:
    """Return what ended a process, by its exit code as `subprocess` tells it."""
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def limit_memory(megabytes: int) -> None:
    """Bound the memory this process may allocate; where the system has no such limit, nothing happens."""
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (megabytes << 20, most))


def set_alarm(seconds: float) -> None:
    """End this process after some time, unless it is set anew before; 0 sets none.

    It is a kernel timer whose signal nobody catches, so it holds inside any library.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _end_with_parent(lifeline: int) -> None:
    """Wait until the parent is gone, then end this process and those of its group."""
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)


def _forked(ends: Sequence[int]) -> int | None:
    """Fork a process for each end of a connection; return its end in each, and None in this one when all have ended."""
    for end in ends:
        if os.fork() == 0:
            for other in ends:
                if other != end:
                    os.close(other)
            return end
    for end in ends:
        os.close(end)
    return None


def main() -> None:
    """Run a function as the command line says: its place, a module to import, and the descriptors of lifeline and connections."""
    place, imports, *numbers = sys.argv[1:]
    lifeline, *ends = map(int, numbers)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    module, _, name = place.partition(":")
    function = getattr(import_module(module), name)
    if imports:
        import_module(imports)
    end = ends[0] if len(ends) == 1 else _forked(ends)
    threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True).start()
    if end is None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the others take their time
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait()
        return
    with Connection(end) as connection:
        function(connection)


if __name__ == "__main__":
    main()
