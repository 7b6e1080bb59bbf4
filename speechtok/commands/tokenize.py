"""The main job: corpus → plan → shards → commit. The same call again does only what is missing."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

from speechtok.cards import merge, split_head, with_head
from speechtok.corpora import Corpus, read_corpus
from speechtok.corpora.originals import read_run
from speechtok.engine.journal import Journal
from speechtok.engine.local import run_locally
from speechtok.engine.made import Made, check_errors
from speechtok.engine.output_lock import check_output, output_lock
from speechtok.engine.planning import check_same, make_plan, segmented
from speechtok.engine.ray_executor import check_reachable, run_on_ray
from speechtok.engine.settings import JobSettings, Progress, RunResult, RunSettings, frozen_settings
from speechtok.engine.watcher import Watcher
from speechtok.engine.worker import WorkerSettings
from speechtok.errors import DatasetError, JobError
from speechtok.loading import list_tokenizers, load_tokenizer, options_of_last_run
from speechtok.nets.devices import usable_device
from speechtok.shards.dataset_readme import OF_ROWS, front_matter, read_readme, readme_body, summary
from speechtok.shards.layout import Layout
from speechtok.shards.plan import (
    Plan,
    ShardRecord,
    ShardTask,
    has_plan,
    is_done,
    read_plan,
    read_record,
)
from speechtok.shards.verify import has_quarantine, quarantine_table
from speechtok.shards.writer import write_table
from speechtok.storage import AnyPath, as_path
from speechtok.tokens import TokenizerInfo, with_codebooks
from speechtok.version import __version__
from speechtok.wording import count_text

HASH_THREADS = 4
"""Existing shards are hashed in this many threads."""


def tokenize_corpus(
    corpus: str | AnyPath,
    output: str | AnyPath,
    *,
    tokenizer: str = "dmel_16k",
    checkpoint: str | AnyPath | None = None,
    settings: JobSettings | None = None,
    watcher: Watcher | None = None,
    device: str = "cpu",
    executor: Literal["ray", "local"] = "ray",
    workers: int | None = None,
    ray_address: str | None = None,
    cpus_per_worker: float = 1.0,
    gpus_per_worker: float | None = None,
    runtime_env: Mapping[str, Any] | None = None,
    max_errors: int | str | None = None,
    timeout_seconds: float = 300.0,
    memory_mb: int = 2048,
) -> RunResult:
    """Tokenize a corpus into a token dataset, or finish one that was begun.

    The plan is frozen on disk first; each shard then appears whole or not at all and is recorded
    with its sha256. Whatever is interrupted, the same call again does only what is missing, and the
    dataset is the same bytes as if nothing had happened.

    Args:
        corpus: see `speechtok.corpora.read_corpus`.
        output: folder of the dataset, or the URI of one in an object store; new, empty, or begun by the same call.
        tokenizer: name, card path or folder for `load_tokenizer`.
        checkpoint: folder with the published files, local or in an object store.
        settings: what decides the rows.
        watcher: hooks for a progress display.
        device: where workers run the tokenizer, such as "cuda".
        executor: "ray", or "local" for this process alone.
        workers: most Ray workers; None takes as many as there is room for.
        ray_address: a running Ray cluster; None starts Ray on this machine.
        cpus_per_worker: CPUs each worker takes.
        gpus_per_worker: GPUs each worker takes; None takes one where the device is a GPU.
        runtime_env: what Ray prepares on each node.
        max_errors: quarantined inputs after which the job gives up, a number or a share such as "1%"; None never does.
        timeout_seconds: how long reading one recording may take.
        memory_mb: memory that decoding one recording may take, in MiB.

    Raises:
        CardError, CheckpointError, HubError: when the tokenizer cannot be loaded.
        DatasetError: when the corpus or an existing dataset is malformed.
        StorageError: when an object store fails or refuses.
        JobError: when the output is not ours, belongs to another job or cannot be written, when too
            many inputs fail, or when not a single one could be tokenized.
        ValueError: when a setting is out of its range.
    """
    settings, watcher = settings or JobSettings(), watcher or Watcher()
    run = RunSettings(
        device=device,
        executor=executor,
        workers=workers,
        ray_address=ray_address,
        cpus_per_worker=cpus_per_worker,
        gpus_per_worker=gpus_per_worker,
        runtime_env=runtime_env,
        max_errors=max_errors,
        timeout_seconds=timeout_seconds,
        memory_mb=memory_mb,
    )
    layout = Layout(as_path(output))
    check_output(layout)
    if run.executor == "local":
        usable_device(run.device)
    if run.ray_address is not None and not has_plan(layout):
        check_reachable(run.ray_address)
    loaded = load_tokenizer(tokenizer, checkpoint=checkpoint)
    if settings.num_codebooks is not None:
        loaded.check_codebooks(settings.num_codebooks)
    info, card = with_codebooks(loaded.info, settings.num_codebooks), loaded.card.to_dict()
    found = read_corpus(corpus, columns=settings.columns, corpus_format=settings.corpus_format)
    with output_lock(layout) as check_claim:
        plan = _frozen_plan(layout, found, info, card, settings, watcher)
        with ThreadPoolExecutor(HASH_THREADS) as pool:
            done = list(pool.map(lambda task: is_done(layout, task), plan.tasks))
        missing = [task for task, complete in zip(plan.tasks, done, strict=True) if not complete]
        watcher.planned(plan, len(missing), found)
        source = _Source(
            corpus_root=str(found.root.resolve()), tokenizer=str(tokenizer), checkpoint=checkpoint
        )
        return _make(layout, plan, missing, source, run, _checked(watcher, check_claim))


def retry_quarantined(
    output: str | AnyPath,
    *,
    corpus_root: str | AnyPath | None = None,
    tokenizer: str | None = None,
    checkpoint: str | AnyPath | None = None,
    watcher: Watcher | None = None,
    device: str = "cpu",
    executor: Literal["ray", "local"] = "ray",
    workers: int | None = None,
    ray_address: str | None = None,
    cpus_per_worker: float = 1.0,
    gpus_per_worker: float | None = None,
    runtime_env: Mapping[str, Any] | None = None,
    max_errors: int | str | None = None,
    timeout_seconds: float = 300.0,
    memory_mb: int = 2048,
) -> RunResult:
    """Try again what is in the quarantine of a dataset, and finish it where it is not.

    Batches without a quarantined input are taken over and the others made anew, so that the dataset
    becomes what it would be if these inputs had been good since the plan was frozen. However it is
    interrupted, each shard is as before or as after.

    Args:
        output: the dataset.
        corpus_root: folder that relative audio paths start from; None takes that of the last run.
        tokenizer: name, card path or folder for `load_tokenizer`; None takes the card known here of the dataset's name.
        checkpoint: folder with the published files; it must be given where the last run took one.
        watcher: hooks for a progress display.
        device: where workers run the tokenizer, such as "cuda".
        executor: "ray", or "local" for this process alone.
        workers: most Ray workers; None takes as many as there is room for.
        ray_address: a running Ray cluster; None starts Ray on this machine.
        cpus_per_worker: CPUs each worker takes.
        gpus_per_worker: GPUs each worker takes; None takes one where the device is a GPU.
        runtime_env: what Ray prepares on each node.
        max_errors: quarantined inputs after which the job gives up, a number or a share such as "1%"; None never does.
        timeout_seconds: how long reading one recording may take.
        memory_mb: memory that decoding one recording may take, in MiB.

    Raises:
        DatasetError: when there is no dataset, or nothing says where its corpus lies.
        JobError: as `tokenize_corpus`, and when the last run took files for its tokenizer that are not given again.
    """
    watcher, layout = watcher or Watcher(), Layout(as_path(output))
    run = RunSettings(
        device=device,
        executor=executor,
        workers=workers,
        ray_address=ray_address,
        cpus_per_worker=cpus_per_worker,
        gpus_per_worker=gpus_per_worker,
        runtime_env=runtime_env,
        max_errors=max_errors,
        timeout_seconds=timeout_seconds,
        memory_mb=memory_mb,
    )
    plan = read_plan(layout)
    check_output(layout)
    about = read_run(layout).get("about")
    last_root = about.get("corpus_root") if isinstance(about, dict) else None
    if corpus_root is None and not isinstance(last_root, str):
        raise DatasetError(
            f"Nothing says where the corpus of {output} lies; give its folder with --corpus-root."
        )
    if tokenizer is None:  # a dataset may come from anybody, and does not choose what is loaded
        given = options_of_last_run(layout.root)
        if plan.info.name not in list_tokenizers() or (checkpoint is None and given):
            suggestion = given or "--tokenizer, and --checkpoint where it needs files"
            raise JobError(
                f"{output} does not choose by itself which files to load for its tokenizer '{plan.info.name}'; if you trust "
                f"what its last run took, give {suggestion}."
            )
    source = _Source(
        corpus_root=str(last_root) if corpus_root is None else str(as_path(corpus_root).resolve()),
        tokenizer=str(tokenizer or plan.info.name),
        checkpoint=checkpoint,
    )
    with output_lock(layout) as check_claim:
        failed = {(item.split, item.index) for item in _committed(layout, plan) if item.quarantined}
        tasks = [
            task for task in plan.tasks if (task.split, task.index) in failed or not is_done(layout, task)
        ]
        watcher.planned(plan, len(tasks), None)
        return _make(layout, plan, tasks, source, run, _checked(watcher, check_claim))


def _checked(watcher: Watcher, check_claim: Callable[[], None]) -> Watcher:
    """Return a watcher that also checks, at each progress, that the output is still ours."""

    def progressed(progress: Progress) -> None:
        check_claim()
        watcher.progressed(progress)

    return replace(watcher, progressed=progressed)


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What a run needs from outside the dataset."""

    corpus_root: str
    """Folder that relative audio paths start from."""
    tokenizer: str
    """Name, card path or folder for `load_tokenizer`."""
    checkpoint: str | AnyPath | None
    """Folder with the published files."""


def _make(
    layout: Layout, plan: Plan, tasks: list[ShardTask], source: _Source, run: RunSettings, watcher: Watcher
) -> RunResult:
    """Make shards, then what summarises all of them."""
    allowed, made = run.errors_allowed(plan.num_rows), Made()
    if tasks:
        worker = _worker_settings(layout, plan, source, run)
        about = {"corpus_root": worker.corpus_root, "tokenizer": worker.tokenizer}
        journal = Journal(layout, {**about, "checkpoint": worker.checkpoint, **run.to_dict()})
        remade = {(task.split, task.index) for task in tasks}
        earlier = [item for item in _committed(layout, plan) if (item.split, item.index) not in remade]
        execute = run_locally if run.executor == "local" else run_on_ray
        with journal.kept(plan, earlier, tasks):
            made.collect(lambda hooks: execute(tasks, worker, run, hooks), watcher, journal, allowed, earlier)
            layout.clear_attempts()
            finish(layout, plan, _committed(layout, plan))
            journal.update(made=made.summary(), versions=_versions())
    else:
        layout.clear_attempts()  # of a run that was killed when it had made the last shard
    records = _committed(layout, plan)
    finish(layout, plan, records)
    check_errors(records, allowed)
    return _report(plan, records, made)


def _worker_settings(layout: Layout, plan: Plan, source: _Source, run: RunSettings) -> WorkerSettings:
    return WorkerSettings(
        tokenizer=source.tokenizer,
        checkpoint=None if source.checkpoint is None else str(as_path(source.checkpoint).resolve()),
        device=run.device,
        output=str(layout.root.resolve()),
        corpus_root=source.corpus_root,
        info=plan.info,
        card=plan.card,
        extra_types=plan.extra_types,
        job=frozen_settings(plan),
        timeout_seconds=run.timeout_seconds,
        memory_mb=run.memory_mb,
        readers=run.readers,
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
        corpus = segmented(corpus, settings, plan, on_planning=watcher.planning, on_probe=watcher.probed)
        check_same(plan, corpus, info, card, settings, str(layout.root))
        return plan
    corpus = segmented(corpus, settings, on_planning=watcher.planning, on_probe=watcher.probed)
    plan = make_plan(corpus, info, card, settings, on_planning=watcher.planning, on_probe=watcher.probed)
    plan.write(layout)
    return read_plan(layout)  # with the types that every later run will read


def _committed(layout: Layout, plan: Plan) -> list[ShardRecord]:
    records = [read_record(layout, task.split, task.index) for task in plan.tasks]
    return [record for record in records if record is not None]


def finish(layout: Layout, plan: Plan, records: Sequence[ShardRecord]) -> None:
    """Write what summarises the shards; files that are right already are left alone.

    Raises:
        JobError: when a shard has no record any more, since README and report would then say less than there is.
    """
    if len(records) < len(plan.tasks):
        raise JobError(
            f"{layout.root} has {len(records):,} commit records for {count_text(len(plan.tasks), 'shard')}, although all were made; "
            "run the same command again, and `speechtok verify` if that does not help."
        )
    for split in plan.splits:
        if not has_quarantine(layout, plan, split):
            with layout.replacing(layout.quarantine(split)) as path:
                write_table(quarantine_table(layout, plan, split), path)
    _write_readme(layout, plan, records)


def _write_readme(layout: Layout, plan: Plan, records: Sequence[ShardRecord]) -> None:
    """Write the README, unless there is one of these rows, as people or a push may have completed it.

    Of one of other rows, what people have written stays.
    """
    head = front_matter(plan, records)
    old = read_readme(layout)
    old_head, old_body = split_head(old)
    if old_head.get("configs") == head["configs"] and summary(records) in old_body:
        return
    text = merge(with_head(head, readme_body(plan, records)), old, stale=OF_ROWS)
    with layout.replacing(layout.readme) as path:
        path.write_text(text, encoding="utf-8")


def _versions() -> dict[str, str]:
    import numpy
    import pyarrow
    import soundfile
    import torch

    modules = (torch, numpy, pyarrow, soundfile)
    return {
        "speechtok": __version__,
        "python": platform.python_version(),
        **{module.__name__: module.__version__ for module in modules},
    }


def _report(plan: Plan, records: Sequence[ShardRecord], made: Made) -> RunResult:
    failures = [failure for record in records for failure in record.quarantined]
    report = RunResult(
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
