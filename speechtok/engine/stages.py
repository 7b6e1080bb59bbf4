"""Where a worker's time goes: waiting for recordings, tokenizing, or writing.

The three follow each other in one thread, so their shares add up to one, and the largest names what the
others wait for.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from speechtok.engine.settings import Progress

READ, ENCODE, WRITE, IDLE = "read", "encode", "write", "idle"
"""Waiting for a recording to be read; tokenizing; writing a shard; without a shard."""


@dataclass(frozen=True, kw_only=True)
class WorkerStatus:
    """What one worker tells about itself."""

    node: str
    """Name of its machine."""
    pid: int
    """Its process there."""
    shard: str | None
    """The shard it makes."""
    progress: Progress
    """How far this shard is."""
    audio_seconds: float
    """Seconds of audio it has gone through since it started."""
    stage: str
    """What it does now."""
    stage_seconds: float
    """For how long it has done only that."""
    spent: dict[str, float] = field(default_factory=dict)
    """Seconds spent in each stage since the worker started."""


class Stopwatch:
    """Adds up the time spent in each stage."""

    def __init__(self) -> None:
        self._spent = dict.fromkeys((READ, ENCODE, WRITE, IDLE), 0.0)
        self._stage, self._since = IDLE, time.monotonic()

    def enter(self, stage: str) -> None:
        """Go on to another stage."""
        now = time.monotonic()
        self._spent[self._stage] += now - self._since
        self._stage, self._since = stage, now

    @property
    def stage(self) -> str:
        """The stage that was entered last."""
        return self._stage

    @property
    def stage_seconds(self) -> float:
        """How long that is ago."""
        return time.monotonic() - self._since

    def spent(self) -> dict[str, float]:
        """Return the seconds of each stage, the present one included."""
        spent = dict(self._spent)
        spent[self._stage] += self.stage_seconds
        return spent
