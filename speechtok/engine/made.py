"""What one run has made so far, shard by shard."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from speechtok.engine.hooks import Hooks
from speechtok.engine.journal import Journal
from speechtok.engine.settings import Progress
from speechtok.engine.stages import WorkerStatus
from speechtok.engine.watcher import Watcher
from speechtok.errors import JobError
from speechtok.shards.plan import ShardRecord
from speechtok.wording import count_text


class Made:
    """The shards a run has made, and how long it took."""

    def __init__(self) -> None:
        self.records: list[ShardRecord] = []
        self.start_seconds = self.wall_seconds = 0.0
        self.progress = Progress()
        """The finished shards as progress; `seconds` counts what was tokenized alone."""
        self._shown = Progress()

    def collect(
        self,
        execute: Callable[[Hooks], Iterator[ShardRecord]],
        watcher: Watcher,
        journal: Journal,
        allowed: int | None,
        earlier: Sequence[ShardRecord],
    ) -> None:
        """Make shards to the end.

        Args:
            execute: makes the shards, and tells the hooks it is given.
            watcher: told of the progress.
            journal: told of everything.
            allowed: inputs that may fail; None for all.
            earlier: records of the shards that were done before.

        Raises:
            JobError: when more inputs failed.
        """
        begun = ready = time.monotonic()
        failed = sum(len(record.quarantined) for record in earlier)

        def on_ready() -> None:
            nonlocal ready
            ready = time.monotonic()
            journal.event("ready")
            watcher.ready()

        def progressed(workers: Sequence[WorkerStatus]) -> None:
            progress = sum((status.progress for status in workers), self.progress)
            journal.progressed(progress, workers)
            if progress.utterances >= self._shown.utterances:  # between two shards, one may count for none
                self._shown = progress
                watcher.progressed(progress)

        for record in execute(Hooks(ready=on_ready, progressed=progressed, event=journal.event)):
            self.records.append(record)
            self.progress += _progress(record)
            failed += len(record.quarantined)
            self.start_seconds, self.wall_seconds = ready - begun, time.monotonic() - ready
            journal.committed(record, len(earlier) + len(self.records))
            if self.progress.utterances >= self._shown.utterances:
                self._shown = self.progress
                watcher.progressed(self.progress)
            if allowed is not None and failed > allowed:
                check_errors([*earlier, *self.records], allowed)

    @property
    def seconds(self) -> float:
        """Seconds of audio made."""
        return self.progress.seconds

    def summary(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        return {
            "shards": len(self.records),
            "audio_seconds": self.seconds,
            "start_seconds": self.start_seconds,
            "wall_seconds": self.wall_seconds,
            "times_real_time": self.seconds / self.wall_seconds if self.wall_seconds else 0.0,
        }


def _progress(record: ShardRecord) -> Progress:
    failed = len(record.quarantined)
    return Progress(seconds=record.seconds, utterances=record.rows + failed, quarantined=failed)


def check_errors(records: Sequence[ShardRecord], allowed: int | None) -> None:
    """Raise `JobError` when more inputs failed than are allowed."""
    failures = [failure for record in records for failure in record.quarantined]
    if allowed is not None and len(failures) > allowed:
        last = failures[-1]
        raise JobError(
            f"{count_text(len(failures), 'input')} failed, more than the {allowed} allowed; the last one was {last.audio}: {last.message} "
            "Finished shards are kept; allow more errors, or repair the inputs and run `speechtok retry`."
        )
