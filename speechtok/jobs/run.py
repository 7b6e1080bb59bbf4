"""The main job: corpus → plan → shards → commit. The same call again does only what is missing."""

from __future__ import annotations

import errno
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import filelock

from speechtok.cards import dump_yaml
from speechtok.corpora import Corpus, read_corpus
from speechtok.errors import JobError
from speechtok.jobs.local import run_locally
from speechtok.jobs.plan import check_same, make_plan, segmented
from speechtok.jobs.ray import run_on_ray
from speechtok.jobs.settings import JobReport, JobSettings, Progress
from speechtok.jobs.worker import WorkerSettings
from speechtok.loading import load_tokenizer
from speechtok.shards.dataset_readme import front_matter, readme_body
from speechtok.shards.layout import Layout
from speechtok.shards.plan import Plan, ShardRecord, has_plan, is_done, read_plan, read_record, write_json
from speechtok.shards.verify import has_quarantine, quarantine_table
from speechtok.shards.writer import write_table
from speechtok.storage import AnyPath, StorePath, as_path
from speechtok.storage.lease import HeldError, leased
from speechtok.tokens import TokenizerInfo, with_codebooks
from speechtok.version import __version__
from speechtok.wording import count_text

HASH_THREADS = 4
"""Existing shards are hashed in this many threads."""


@dataclass(frozen=True, kw_only=True)
class Watcher:
    """Called while a job runs, for a progress display; every hook may be left out."""

    planning: Callable[[int], None] = lambda recordings: None
    """Planning starts; the number of utterances whose headers will be read."""
    probed: Callable[[], None] = lambda: None
    """One recording's header was read."""
    planned: Callable[[Plan, int, Corpus], None] = lambda plan, missing, corpus: None
    """The plan is frozen; the number of shards to make."""
    ready: Callable[[], None] = lambda: None
    """The first worker is up."""
    progressed: Callable[[Progress], None] = lambda progress: None
    """How far this run is, finished shards included."""


def tokenize_corpus(
    corpus: str | AnyPath,
    output: str | AnyPath,
    *,
    tokenizer: str = "dmel_16k",
    checkpoint: str | AnyPath | None = None,
    device: str = "cpu",
    settings: JobSettings | None = None,
    executor: Literal["ray", "local"] = "ray",
    workers: int | None = None,
    ray_address: str | None = None,
    max_errors: int | None = None,
    watcher: Watcher | None = None,
) -> JobReport:
    """Tokenize a corpus into a token dataset, or finish one that was begun.

    The plan is frozen on disk first; each shard then appears whole or not at all and is recorded
    with its sha256. Whatever is interrupted, the same call again does only what is missing, and the
    dataset is the same bytes as if nothing had happened.

    Args:
        corpus: see `speechtok.corpora.read_corpus`.
        output: folder of the dataset, or the URI of one in an object store; new, empty, or begun by the same call.
        tokenizer: name, card path or folder for `load_tokenizer`.
        checkpoint: folder with the published files, local or in an object store.
        device: where workers run the tokenizer, such as "cuda".
        settings: what decides the rows.
        executor: "ray", or "local" for this process alone.
        workers: number of Ray actors; None takes one per CPU.
        ray_address: a running Ray cluster; None starts Ray on this machine.
        max_errors: quarantined inputs after which the job gives up; None never does.
        watcher: hooks for a progress display.

    Raises:
        CardError, CheckpointError, HubError: when the tokenizer cannot be loaded.
        DatasetError: when the corpus or an existing dataset is malformed.
        StorageError: when an object store fails or refuses.
        JobError: when the output is not ours, belongs to another job or cannot be written, when too
            many inputs fail, or when not a single one could be tokenized.
    """
    settings, watcher = settings or JobSettings(), watcher or Watcher()
    loaded = load_tokenizer(tokenizer, checkpoint=checkpoint)
    if settings.num_codebooks is not None:
        loaded.check_codebooks(settings.num_codebooks)
    info, card = with_codebooks(loaded.info, settings.num_codebooks), loaded.card.to_dict()
    found = read_corpus(corpus, columns=settings.columns)
    layout = Layout(as_path(output))
    with claimed(layout) as check_claim:
        plan = _frozen_plan(layout, found, info, card, settings, watcher)
        with ThreadPoolExecutor(HASH_THREADS) as pool:
            done = list(pool.map(lambda task: is_done(layout, task), plan.tasks))
        missing = [task for task, complete in zip(plan.tasks, done, strict=True) if not complete]
        watcher.planned(plan, len(missing), found)
        worker = WorkerSettings(
            tokenizer=str(tokenizer),
            checkpoint=None if checkpoint is None else str(as_path(checkpoint).resolve()),
            device=device,
            output=str(layout.root.resolve()),
            corpus_root=str(found.root.resolve()),
            info=plan.info,
            card=plan.card,
            extra_types=plan.extra_types,
            job=settings,
        )

        def run(
            on_progress: Callable[[Progress], None], on_ready: Callable[[], None]
        ) -> Iterator[ShardRecord]:
            if executor == "local":
                return run_locally(missing, worker, on_progress, on_ready)
            return run_on_ray(missing, worker, on_progress, on_ready, workers=workers, address=ray_address)

        def progressed(progress: Progress) -> None:
            check_claim()
            watcher.progressed(progress)

        made = _Made()
        if missing:
            made.collect(run, replace(watcher, progressed=progressed), max_errors, _committed(layout, plan))
        records = _committed(layout, plan)
        finish(layout, plan, records)
        if missing:
            _write_run(layout, found, made, workers, executor)
        _check_errors(records, max_errors)
    return _report(plan, records, made)


Run = Callable[[Callable[[Progress], None], Callable[[], None]], Iterator[ShardRecord]]
"""Makes the missing shards; takes the hooks `on_progress` and `on_ready`."""


class _Made:
    """What this run has made, and how long it took."""

    def __init__(self) -> None:
        self.records: list[ShardRecord] = []
        self.start_seconds = self.wall_seconds = 0.0

    def collect(
        self, run: Run, watcher: Watcher, max_errors: int | None, earlier: Sequence[ShardRecord]
    ) -> None:
        """Run the missing shards to the end."""
        begun = ready = time.monotonic()

        def on_ready() -> None:
            nonlocal ready
            ready = time.monotonic()
            watcher.ready()

        for record in run(lambda unfinished: watcher.progressed(self.progress + unfinished), on_ready):
            self.records.append(record)
            self.start_seconds, self.wall_seconds = ready - begun, time.monotonic() - ready
            watcher.progressed(self.progress)
            _check_errors([*earlier, *self.records], max_errors)

    @property
    def seconds(self) -> float:
        """Seconds of audio made."""
        return sum(record.seconds for record in self.records)

    @property
    def progress(self) -> Progress:
        """The finished shards as progress."""
        failed = sum(len(record.quarantined) for record in self.records)
        rows = sum(record.rows for record in self.records)
        return Progress(seconds=self.seconds, utterances=rows + failed, quarantined=failed)


def _check_errors(records: Sequence[ShardRecord], max_errors: int | None) -> None:
    failures = {(record.split, failure.id): failure for record in records for failure in record.quarantined}
    if max_errors is not None and len(failures) > max_errors:
        last = list(failures.values())[-1]
        raise JobError(
            f"{count_text(len(failures), 'input')} failed, more than the {max_errors} allowed; the last one was {last.audio}: {last.message} "
            "Finished shards are kept; allow more errors, or repair the inputs and use a new folder."
        )


def _frozen_plan(
    layout: Layout,
    corpus: Corpus,
    info: TokenizerInfo,
    card: dict[str, Any],
    settings: JobSettings,
    watcher: Watcher,
) -> Plan:
    if has_plan(layout):
        plan = read_plan(layout)
        corpus = segmented(corpus, settings, plan)
        check_same(plan, corpus, info, card, settings, str(layout.root))
        return plan
    corpus = segmented(corpus, settings)
    plan = make_plan(corpus, info, card, settings, on_planning=watcher.planning, on_probe=watcher.probed)
    plan.write(layout)
    return read_plan(layout)  # with the types that every later run will read


@contextmanager
def claimed(layout: Layout) -> Iterator[Callable[[], None]]:
    """Claim the output for one job, and turn what the filesystem refuses into a sentence.

    Gives a function that raises `StorageError` when the claim was lost, which happens in object stores
    only, see `speechtok.storage.lease`.
    """
    try:
        if isinstance(layout.lock, StorePath):
            _check_new(layout)
            with leased(layout.lock) as lease:
                yield lease.check
                lease.check()
            return
        if layout.root.exists() and not layout.root.is_dir():
            raise JobError(f"{layout.root} is a file; the output must be a folder.")
        _check_new(layout)
        layout.lock.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(layout.lock, timeout=0):
            layout.clear_tmp()
            yield lambda: None
            layout.clear_tmp()
    except filelock.Timeout:
        raise JobError(
            f"Another job is writing to {layout.root}; wait for it or use another output folder."
        ) from None
    except HeldError as error:
        raise JobError(
            f"Another job is writing to {layout.root} ({error}); wait for it or use another output folder."
        ) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "Free some space and run the same command again; finished shards are kept."
        else:
            advice = "Choose a folder you can write to, or mend it and run the same command again."
        raise JobError(
            f"{error.filename or layout.root} cannot be written: {error.strerror or error}. {advice}"
        ) from error


def _check_new(layout: Layout) -> None:
    """Raise when something else than a dataset lies where the output is wanted."""
    if layout.root.is_dir() and not layout.state.is_dir() and any(layout.root.iterdir()):
        raise JobError(f"{layout.root} is not empty and holds no token dataset; use a new or empty folder.")


def _committed(layout: Layout, plan: Plan) -> list[ShardRecord]:
    records = [read_record(layout, task.split, task.index) for task in plan.tasks]
    return [record for record in records if record is not None]


def finish(layout: Layout, plan: Plan, records: Sequence[ShardRecord]) -> None:
    """Write what summarises the shards; files that are right already are left alone."""
    for split in plan.splits:
        if not has_quarantine(layout, plan, split):
            with layout.replacing(layout.quarantine(split)) as path:
                write_table(quarantine_table(layout, plan, split), path)
    text = f"---\n{dump_yaml(front_matter(plan, records))}---\n\n{readme_body(plan, records)}"
    if not layout.readme.is_file() or layout.readme.read_text(encoding="utf-8") != text:
        with layout.replacing(layout.readme) as path:
            path.write_text(text, encoding="utf-8")


def _write_run(layout: Layout, corpus: Corpus, made: _Made, workers: int | None, executor: str) -> None:
    """Note where and how fast the last run was; local facts, not part of the dataset's identity."""
    import numpy
    import pyarrow
    import soundfile
    import torch

    content = {
        "corpus_root": str(corpus.root.resolve()),
        "executor": executor,
        "workers": workers,
        "shards_made": len(made.records),
        "audio_seconds": made.seconds,
        "start_seconds": made.start_seconds,
        "wall_seconds": made.wall_seconds,
        "times_real_time": made.seconds / made.wall_seconds if made.wall_seconds else 0.0,
        "versions": {
            "speechtok": __version__,
            "python": platform.python_version(),
            **{module.__name__: module.__version__ for module in (torch, numpy, pyarrow, soundfile)},
        },
        "machine": {"processor": platform.processor() or platform.machine(), "cpus": os.cpu_count()},
    }
    write_json(layout, layout.run, content)


def _report(plan: Plan, records: Sequence[ShardRecord], made: _Made) -> JobReport:
    failures = [failure for record in records for failure in record.quarantined]
    report = JobReport(
        shards=len(plan.tasks),
        shards_made=len(made.records),
        rows=sum(record.rows for record in records),
        quarantined=len(failures),
        seconds=sum(record.seconds for record in records),
        seconds_made=made.seconds,
        bytes=sum(record.bytes for record in records),
        start_seconds=made.start_seconds,
        wall_seconds=made.wall_seconds,
        reasons=Counter(failure.error for failure in failures),
    )
    if report.rows == 0:
        first = failures[0]
        raise JobError(
            f"None of the {len(failures)} inputs could be tokenized; the first one, {first.audio}: {first.message} "
            "All reasons are in the quarantine."
        )
    return report
