"""How far a job is, read from what it left in its dataset: nobody has to be asked."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from typing import Any

from speechtok.corpora.originals import read_run
from speechtok.engine.job_log import STATE_SECONDS, STORE_PATIENCE, read_events
from speechtok.errors import DatasetError
from speechtok.shards.layout import Layout
from speechtok.shards.ledger import Ledger, listing
from speechtok.shards.plan import has_plan, read_plan
from speechtok.storage import AnyPath, as_path
from speechtok.wording import duration_text

SILENT_SECONDS = 15 * STATE_SECONDS * STORE_PATIENCE
"""After so long without a word, a job that is not known to have ended is taken for dead."""
WAITING_SHARE = 0.5
"""Share of their time that workers must wait for reading or writing for it to be said."""


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """How far a job is."""

    state: str
    """planning, running, lost (it ended without a word), stopped (Ctrl-C, SIGTERM), failed, finished or unknown."""
    sentence: str
    """The same for people."""
    shards: int
    """Shards planned."""
    shards_done: int
    """Shards committed."""
    utterances: int
    """Utterances planned."""
    utterances_done: int
    """Utterances in committed shards, quarantined ones included."""
    quarantined: int
    """Inputs of committed shards that failed."""
    seconds: float
    """Seconds of audio planned."""
    times_real_time: float
    """Seconds of audio per second, of the last minute while it runs."""
    left_seconds: float | None
    """How long it will take at this speed."""
    nodes: dict[str, Any]
    """By machine: number of workers, speed, and shares of the time spent in each stage."""
    bottleneck: str | None
    """What workers mostly wait for, if it is not the tokenizer."""
    stalled: list[dict[str, Any]]
    """Workers that have done the same for very long."""
    job: dict[str, Any]
    """The state the job wrote last, whole."""
    events: list[dict[str, Any]]
    """The last events."""


def read_status(output: str | AnyPath, *, last_events: int = 20) -> JobStatus:
    """Return how far the job is that writes, or wrote, a dataset.

    Args:
        output: the dataset.
        last_events: how many events to return, the last ones.

    Raises:
        DatasetError: when no job has begun there, or what the last one left is damaged.
    """
    layout = Layout(as_path(output))
    try:
        return _read_status(layout, str(output), last_events)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DatasetError(f"{layout.job} is damaged; the next run writes it anew.") from error


def _read_status(layout: Layout, output: str, last_events: int) -> JobStatus:
    job = read_run(layout)
    if not has_plan(layout):
        if not job and not layout.state.is_dir():
            raise DatasetError(f"{output} holds no token dataset, and no job has begun one there.")
        return _status("planning", "the job is planning, or ended before its plan was frozen.", job, layout)
    plan = read_plan(layout)
    ledger = Ledger.read(layout, plan)
    totals = ledger.totals
    names = {layout.relative(path) for path in listing(layout.data)}
    state, sentence = _state(job, len(ledger.parts) == len(plan.tasks) and set(ledger.files) <= names)
    speed = float(job.get("times_real_time") or 0.0)
    to_make = max(0.0, plan.seconds - float(job.get("progress", {}).get("seconds", 0.0)))
    return _status(
        state,
        sentence,
        job,
        layout,
        shards=len(plan.tasks),
        shards_done=len(ledger.parts),
        utterances=plan.num_rows,
        utterances_done=totals.rows + totals.quarantined,
        quarantined=totals.quarantined,
        seconds=plan.seconds,
        left_seconds=to_make / speed if state == "running" and speed else None,
        events=read_events(layout)[-last_events:],
    )


def _status(state: str, sentence: str, job: dict[str, Any], layout: Layout, **known: Any) -> JobStatus:
    workers = job.get("workers", []) if state == "running" else []
    figures: dict[str, Any] = dict.fromkeys(
        ("shards", "shards_done", "utterances", "utterances_done", "quarantined"), 0
    )
    return JobStatus(
        **{
            **figures,
            "state": state,
            "sentence": sentence,
            "seconds": 0.0,
            "times_real_time": float(job.get("times_real_time") or 0.0),
            "left_seconds": None,
            "nodes": job.get("nodes", {}),
            "bottleneck": _bottleneck(job.get("nodes", {})) if state == "running" else None,
            "stalled": [worker for worker in workers if worker["is_stalled"]],
            "job": job,
            "events": [],
            **known,
        }
    )


def _state(job: dict[str, Any], is_complete: bool) -> tuple[str, str]:
    """Return the state of a job and a sentence about it."""
    if not job:
        return (
            ("finished", "complete.")
            if is_complete
            else ("unknown", "unfinished, and nothing is known of the last run.")
        )
    where = f"process {job['pid']} on {job['host']}"
    if job["state"] == "running":
        silent = time.time() - job["updated"]
        if _is_gone(job) or silent > SILENT_SECONDS:
            return "lost", f"{where} ended without a word; run the same command again to go on."
        return "running", f"running for {duration_text(job['running_seconds'])}, by {where}."
    if job["state"] == "stopped":
        return "stopped", "stopped by Ctrl-C or SIGTERM; run the same command again to go on."
    if job["state"] == "failed":
        return "failed", f"failed: {job.get('error', 'for an unknown reason')}"
    if not is_complete:
        return "unknown", "unfinished: something has vanished since the last run; run the same command again."
    return "finished", f"finished after {duration_text(job['running_seconds'])}."


def _is_gone(job: dict[str, Any]) -> bool:
    """Return whether the process of a job on this machine is no more."""
    if job["host"] != platform.node():
        return False
    try:
        os.kill(job["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _bottleneck(nodes: dict[str, Any]) -> str | None:
    """Return a sentence when workers wait for reading or writing most of their time."""
    for name, node in nodes.items():
        for stage, cause in (("read", "reading"), ("write", "writing")):
            if node["shares"][stage] > WAITING_SHARE:
                return (
                    f"On {name} the tokenizer waits for {cause} {100 * node['shares'][stage]:.0f} % of the time: "
                    + (
                        "more CPUs per worker or a faster disk would help."
                        if stage == "read"
                        else "a faster disk would help."
                    )
                )
    return None
