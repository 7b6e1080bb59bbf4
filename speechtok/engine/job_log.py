"""What a job tells about itself while it runs, for people and programs elsewhere: two files beside the dataset.

    OUT/.speechtok/job.json       the present state, replaced every few seconds
    OUT/.speechtok/events.jsonl   what happened, one JSON object a line, oldest first

Both are local facts and no part of the dataset's identity. In the state, times are seconds since 1970 by the
driver's clock; durations come from a clock that nobody sets.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from speechtok.engine.observer import ENCODE, READ, WRITE, Observer, Progress, WorkerStatus
from speechtok.errors import JobError, StorageError
from speechtok.redaction import redact_all
from speechtok.shards.layout import Layout, write_json
from speechtok.shards.ledger import Ledger
from speechtok.shards.manifest import FileRecord
from speechtok.shards.parts import PartRecord
from speechtok.shards.plan import Plan, ShardTask
from speechtok.wording import count_text

STATE_SECONDS = 2.0
"""How often the state is replaced …"""
STORE_PATIENCE = 5
"""… and how many times as rarely in an object store, where each time is a request."""
STALL_SECONDS = 60.0
"""A worker that does the same for so long has stalled."""
SPEED_SECONDS = 60.0
"""The speed stated is that of the last so many seconds."""
MAX_EVENTS_BYTES = 4 << 20
"""Size at which the older half of the events is dropped."""


class JobLog:
    """Writes state and events of one run, counts what it makes, and tells an observer.

    Args:
        layout: the dataset.
        about: what the run was asked to do, plain values.
        observer: told of the progress.
    """

    def __init__(self, layout: Layout, about: Mapping[str, Any], observer: Observer | None = None) -> None:
        self._layout, self._lock = layout, threading.Lock()
        self._observer = observer or Observer()
        self._events = _Events(layout)
        self._patience = 1 if isinstance(layout.job, Path) else STORE_PATIENCE
        self._begun = self._ready = time.monotonic()
        self._written = 0.0
        self._stalled: set[tuple[str, int, str | None]] = set()
        self._speeds: dict[tuple[str, int], _Speed] = defaultdict(_Speed)
        self._speed = _Speed()
        self._finished = self._shown = Progress()
        self.ledger = Ledger()
        """All parts that are there, those of earlier runs included."""
        self.shards_made, self.seconds_made = 0, 0.0
        self.start_seconds = self.wall_seconds = 0.0
        self._state: dict[str, Any] = {
            "state": "running",
            "host": platform.node(),
            "pid": os.getpid(),
            "started": time.time(),
            "updated": time.time(),
            "running_seconds": 0.0,
            "about": dict(about),
            "shards": 0,
            "shards_done": 0,
            "utterances": 0,
            "progress": asdict(Progress()),
            "times_real_time": 0.0,
            "nodes": {},
            "workers": [],
            "versions": {},
            "machine": {"processor": platform.processor() or platform.machine(), "cpus": os.cpu_count()},
        }

    @property
    def observer(self) -> Observer:
        """What an executor tells this log."""
        return Observer(ready=self._is_ready, working=self.working, event=self.event)

    @contextmanager
    def kept(self, plan: Plan, ledger: Ledger, tasks: Sequence[ShardTask]) -> Iterator[None]:
        """Keep the log while the block makes shards, and note how it ends.

        Args:
            plan: the frozen plan.
            ledger: the parts that are not to be made; those that are come to it.
            tasks: shards to be made.
        """
        self.ledger, totals = ledger, ledger.totals
        self._finished = Progress(
            seconds=totals.seconds,
            utterances=totals.rows + totals.quarantined,
            quarantined=totals.quarantined,
        )
        self._state |= {
            "shards": len(plan.tasks),
            "shards_done": len(ledger.parts),
            "utterances": plan.num_rows,
            "seconds": plan.seconds,
        }
        self.event("started", host=self._state["host"], pid=self._state["pid"], shards=len(tasks))
        self.update()
        self._show(self._finished)
        try:
            yield
        except Exception as error:
            self._end_whatever("failed", error=str(error))
            raise
        except BaseException:  # Ctrl-C, SIGTERM
            self._end_whatever("stopped")
            raise
        self._end("finished")

    def committed(self, record: PartRecord) -> None:
        """Note that a shard is done."""
        self.ledger.put(record)
        self.ledger.loose.add(record.number)
        self.shards_made += 1
        self.seconds_made += record.seconds
        failed = len(record.quarantined)
        self._finished += Progress(
            seconds=record.seconds, utterances=record.rows + failed, quarantined=failed
        )
        self.start_seconds, self.wall_seconds = self._ready - self._begun, time.monotonic() - self._ready
        self.event(
            "shard",
            part=record.number,
            rows=record.rows,
            seconds=record.seconds,
            quarantined=failed,
        )
        self.update(shards_done=len(self.ledger.parts))
        self._show(self._finished)

    def joined(self, record: FileRecord) -> None:
        """Note that parts were joined to a file; the job is still at work, and its output still to be ours."""
        self.event("file", file=record.file, rows=record.rows, bytes=record.bytes)
        self.update()
        self._show(self._finished)

    def summary(self) -> dict[str, Any]:
        """Return what this run has made, as plain values."""
        return {
            "shards": self.shards_made,
            "audio_seconds": self.seconds_made,
            "start_seconds": self.start_seconds,
            "wall_seconds": self.wall_seconds,
            "times_real_time": self.seconds_made / self.wall_seconds if self.wall_seconds else 0.0,
        }

    def event(self, kind: str, **fields: object) -> None:
        """Add a line to the events."""
        with self._lock:
            self._events.add({"time": time.time(), "event": kind, **redact_all(fields)})
        self._observer.event(kind, **fields)

    def update(self, **fields: Any) -> None:
        """Change the state, and write it soon."""
        with self._lock:
            self._state |= fields
            if time.monotonic() - self._written >= STATE_SECONDS * self._patience:
                self._write()

    def working(self, workers: Sequence[WorkerStatus]) -> None:
        """Note what the workers do."""
        progress = sum((status.progress for status in workers), self._finished)
        for status in workers:
            self._speeds[status.node, status.pid].see(status.audio_seconds)
            self._note_stall(status)
        self._speed.see(progress.seconds)
        present = {(status.node, status.pid): status for status in workers}
        described = [self._describe(status) for status in present.values()]
        self.update(
            progress=asdict(progress),
            times_real_time=self._speed.value,
            workers=described,
            nodes=_by_node(described),
        )
        self._show(progress)

    def _is_ready(self) -> None:
        self._ready = time.monotonic()
        self.event("ready")
        self._observer.ready()

    def _show(self, progress: Progress) -> None:
        if progress.utterances >= self._shown.utterances:  # between two shards, one may count for none
            self._shown = progress
            self._observer.progressed(progress)

    def _end_whatever(self, state: str, **fields: Any) -> None:
        with contextlib.suppress(OSError, StorageError):  # the first error is the one to be told
            self._end(state, **fields)

    def _end(self, state: str, **fields: Any) -> None:
        self.event(state, **{name: fields[name] for name in ("error",) if name in fields})
        with self._lock:
            self._state |= {"state": state, "workers": [], **redact_all(fields)}
            self._write()
            self._events.flush()

    def _describe(self, status: WorkerStatus) -> dict[str, Any]:
        whole = sum(status.spent.get(stage, 0.0) for stage in (READ, ENCODE, WRITE))
        return {
            "node": status.node,
            "pid": status.pid,
            "shard": status.task,
            "stage": status.stage,
            "stage_seconds": status.stage_seconds,
            "is_stalled": status.task is not None and status.stage_seconds > STALL_SECONDS,
            "times_real_time": self._speeds[status.node, status.pid].value,
            "shares": {
                stage: status.spent.get(stage, 0.0) / (whole or 1.0) for stage in (READ, ENCODE, WRITE)
            },
        }

    def _note_stall(self, status: WorkerStatus) -> None:
        key = (status.node, status.pid, status.task)
        if status.task is None or status.stage_seconds <= STALL_SECONDS:
            self._stalled.discard(key)
        elif key not in self._stalled:
            self._stalled.add(key)
            self.event(
                "stalled",
                node=status.node,
                pid=status.pid,
                shard=status.task,
                stage=status.stage,
                seconds=status.stage_seconds,
            )

    def _write(self) -> None:
        self._written = time.monotonic()
        self._state |= {"updated": time.time(), "running_seconds": self._written - self._begun}
        write_json(self._layout, self._layout.job, self._state)
        self._events.flush()


def read_events(layout: Layout) -> list[dict[str, Any]]:
    """Return what happened, oldest first; lines that a crash left half are left out."""
    if not layout.events.is_file():
        return []
    events = []
    for line in layout.events.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):
            if isinstance(event := json.loads(line), dict):
                events.append(event)
    return events


class _Events:
    """Lines in a file: appended one by one on a disk, and written together in an object store, which cannot append."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._pending: list[str] = []

    def add(self, event: Mapping[str, object]) -> None:
        self._pending.append(json.dumps(event, ensure_ascii=False) + "\n")
        if isinstance(self._layout.events, Path):
            self.flush()

    def flush(self) -> None:
        if not self._pending:
            return
        path, text = self._layout.events, "".join(self._pending)
        self._pending = []
        if isinstance(path, Path) and not (path.is_file() and path.stat().st_size > MAX_EVENTS_BYTES):
            with open(path, "ab+", opener=_open_no_link) as file:
                if file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
                    text = "\n" + text  # after a line that a crash left half
                file.write(text.encode())
            return
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        if len(before) > MAX_EVENTS_BYTES:
            before = before[before.index("\n", len(before) // 2) + 1 :]
        with self._layout.replacing(path) as temporary:
            temporary.write_text(before + text, encoding="utf-8")


def _open_no_link(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NOFOLLOW, 0o666)


class _Speed:
    """Seconds of audio per second, over the last minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()

    def see(self, audio_seconds: float) -> None:
        """Note how many seconds of audio are done by now."""
        now = time.monotonic()
        self._seen.append((now, audio_seconds))
        while now - self._seen[0][0] > SPEED_SECONDS and len(self._seen) > 2:
            self._seen.popleft()

    @property
    def value(self) -> float:
        """Times real time."""
        (begun, before), (now, after) = self._seen[0], self._seen[-1]
        return max(0.0, after - before) / (now - begun) if now > begun else 0.0


def _by_node(workers: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the workers of each node together: their number, their speed, and the mean of their shares."""
    nodes: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for worker in workers:
        nodes[worker["node"]].append(worker)
    return {
        node: {
            "workers": len(found),
            "times_real_time": sum(worker["times_real_time"] for worker in found),
            "shares": {
                stage: sum(worker["shares"][stage] for worker in found) / len(found)
                for stage in (READ, ENCODE, WRITE)
            },
        }
        for node, found in nodes.items()
    }


def check_errors(ledger: Ledger, allowed: int | None) -> None:
    """Raise `JobError` when more inputs failed than are allowed; None allows all."""
    if allowed is not None and ledger.quarantined > allowed:
        failures = list(ledger.failures())
        last = failures[-1]
        raise JobError(
            f"{count_text(len(failures), 'input')} failed, more than the {allowed} allowed; the last one was {last.audio}: {last.message} "
            "Finished shards are kept; allow more errors, or repair the inputs and run `speechtok retry`."
        )
