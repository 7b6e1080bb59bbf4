"""What a job tells while it runs: to executors' drivers, to a display, to the log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from speechtok.corpora import Corpus
    from speechtok.shards.plan import Plan

READ, ENCODE, WRITE, IDLE = "read", "encode", "write", "idle"
"""What a worker does: waiting for a recording to be read; tokenizing; writing; nothing. They follow each other in one thread, so their
shares add up to one, and the largest names what the others wait for."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a job is."""

    seconds: float = 0.0
    """Seconds of audio tokenized or quarantined, finished shards included."""
    utterances: int = 0
    """Utterances tokenized or quarantined."""
    quarantined: int = 0
    """Utterances that failed."""

    def __add__(self, other: Progress) -> Progress:
        return Progress(
            seconds=self.seconds + other.seconds,
            utterances=self.utterances + other.utterances,
            quarantined=self.quarantined + other.quarantined,
        )


@dataclass(frozen=True, kw_only=True)
class WorkerStatus:
    """What one worker tells about itself."""

    node: str
    """Name of its machine."""
    pid: int
    """Its process there."""
    task: str | None = None
    """Name of what it makes."""
    progress: Progress = field(default_factory=Progress)
    """How far this is."""
    audio_seconds: float = 0.0
    """Seconds of audio it has gone through since it started."""
    stage: str = IDLE
    """What it does now."""
    stage_seconds: float = 0.0
    """For how long it has done only that."""
    spent: dict[str, float] = field(default_factory=dict)
    """Seconds spent in each stage since the worker started."""


class OnEvent(Protocol):
    """Called when something happens that is worth a line in the log."""

    def __call__(self, kind: str, **fields: object) -> None:
        """Note an event.

        Args:
            kind: what happened, in a word or two.
            fields: plain values about it.
        """
        ...


def _ignore(kind: str, **fields: object) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Observer:
    """Told what a job does; every hook may be left out, and may be called from another thread."""

    planning: Callable[[int], None] = lambda recordings: None
    """Planning starts; the number of utterances whose headers will be read."""
    probed: Callable[[], None] = lambda: None
    """One recording's header was read."""
    planned: Callable[[Plan, int, Corpus | None], None] = lambda plan, missing, corpus: None
    """The plan is frozen; the number of shards to make, and the corpus if it was read."""
    ready: Callable[[], None] = lambda: None
    """The first worker is up."""
    working: Callable[[Sequence[WorkerStatus]], None] = lambda workers: None
    """About twice a second: what every worker does."""
    progressed: Callable[[Progress], None] = lambda progress: None
    """How far the job is, shards of earlier runs included."""
    event: OnEvent = _ignore
    """A worker came or died, a shard was made or failed, the cluster changed; each is a line of the log."""
