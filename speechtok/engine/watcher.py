"""What a progress display is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from speechtok.corpora import Corpus
from speechtok.engine.settings import Progress
from speechtok.shards.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Watcher:
    """Called while a job runs, for a progress display; every hook may be left out."""

    planning: Callable[[int], None] = lambda recordings: None
    """Planning starts; the number of utterances whose headers will be read."""
    probed: Callable[[], None] = lambda: None
    """One recording's header was read."""
    planned: Callable[[Plan, int, Corpus | None], None] = lambda plan, missing, corpus: None
    """The plan is frozen; the number of shards to make, and the corpus if it was read."""
    ready: Callable[[], None] = lambda: None
    """The first worker is up."""
    progressed: Callable[[Progress], None] = lambda progress: None
    """How far this run is, finished shards included."""
