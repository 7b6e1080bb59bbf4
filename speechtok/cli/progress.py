"""Progress on the terminal; where there is none, jobs write a line now and then, and the rest is silent."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from speechtok.cli.printing import shown
from speechtok.corpora import Corpus
from speechtok.engine.observer import Observer
from speechtok.engine.observer import Progress as JobProgress
from speechtok.shards.plan import Plan
from speechtok.wording import count_text, duration_text, labels_text

T = TypeVar("T")

LINE_SECONDS = 60.0
"""How often a job writes a line where there is no terminal."""


@contextmanager
def counting(what: str, total: int | None) -> Iterator[Callable[..., None]]:
    """Show a bar for `total` equal steps; the block calls what it is given once per step."""
    with _bar(TextColumn("{task.completed:.0f}/{task.total:.0f}")) as bar:
        task = bar.add_task(what, total=total)
        yield lambda *_: bar.advance(task)


@contextmanager
def counting_of(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar from when the block first tells how much is done, and of how much, until all is."""
    with _bar(TextColumn("{task.completed:.0f}/{task.total:.0f}")) as bar:
        task = bar.add_task(what, total=None, visible=False)

        def told(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=done < total)

        yield told


def counted(what: str, items: Sequence[T]) -> Iterator[T]:
    """Go through `items` and show a bar."""
    with counting(what, len(items)) as step:
        for item in items:
            yield item
            step()


@contextmanager
def job_display() -> Iterator[Observer]:
    """Show planning, then audio-hours done, times real time, time left and quarantined inputs."""
    with _bar(TextColumn("{task.fields[detail]}")) as bar:
        display = _JobDisplay(bar)
        yield Observer(
            planning=display.planning,
            probed=display.probed,
            planned=display.planned,
            ready=display.ready,
            progressed=display.progressed,
        )


class _JobDisplay:
    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task: TaskID | None = None
        self._started = 0.0
        self._told = time.monotonic()
        self._probed, self._total = 0, 0.0
        self._earlier: float | None = None

    def planning(self, recordings: int) -> None:
        if self._task is None:
            self._begin("Looking at recordings", recordings)
        else:
            self._total = recordings
            self._bar.update(self._task, total=recordings)

    def probed(self) -> None:
        if self._task is not None:
            self._bar.advance(self._task)
        self._probed += 1
        self._tell(f"Looking at recordings: {self._probed:,} of {self._total:,.0f}.")

    def planned(self, plan: Plan, missing: int, corpus: Corpus | None) -> None:
        if corpus is not None:
            self._say(f"{corpus.kind}: {count_text(plan.num_rows, 'utterance')}, {labels_text(plan.labels)}.")
        if corpus is not None and corpus.ignored:
            listed = ", ".join(f"{count:,} {what}" for what, count in corpus.ignored.most_common(5))
            self._say(f"Left out {count_text(corpus.ignored.total(), 'file')}: {listed}.")
        if missing:
            self._begin("Starting workers", plan.seconds)

    def _say(self, sentence: str) -> None:
        self._bar.console.print(shown(sentence), highlight=False, markup=False, soft_wrap=True)

    def _tell(self, sentence: str) -> None:
        """Write a line now and then where nobody sees a bar."""
        if not self._bar.console.is_terminal and time.monotonic() - self._told >= LINE_SECONDS:
            self._told = time.monotonic()
            self._say(sentence)

    def ready(self) -> None:
        self._started = time.monotonic()
        if self._task is not None:
            self._bar.update(self._task, description="Tokenizing")

    def progressed(self, progress: JobProgress) -> None:
        if self._task is None:
            return
        if self._earlier is None:  # told before anything is made
            self._earlier = progress.seconds
        speed = (progress.seconds - self._earlier) / max(time.monotonic() - self._started, 1e-9)
        detail = (
            f"{progress.seconds / 3600:.2f} h, {speed:.0f} × real time, {progress.quarantined} quarantined"
        )
        self._bar.update(self._task, completed=progress.seconds, detail=detail)
        left = max(0.0, self._total - progress.seconds) / speed if speed else math.inf
        about = f", about {duration_text(left)} left" if math.isfinite(left) else ""
        self._tell(f"Tokenizing: {detail}; {self._total / 3600:.2f} h in all{about}.")

    def _begin(self, what: str, total: float) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._total = total
        self._task = self._bar.add_task(what, total=total, detail="")


def _bar(detail: TextColumn) -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        detail,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
