"""The main job: corpus → plan → shards → commit. The same call again does only what is missing."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

from speechtok.cards import merge, split_head, with_head
from speechtok.corpora import Corpus, read_corpus
from speechtok.corpora.originals import read_run
from speechtok.engine.executor import Executor, open_executor, usable_cpus
from speechtok.engine.job_log import JobLog, check_errors
from speechtok.engine.kept import KeptFrom
from speechtok.engine.looking import Lookers
from speechtok.engine.observer import Observer, Progress
from speechtok.engine.output_lock import check_output, output_lock, unwritten
from speechtok.engine.planning import check_same, make_plan
from speechtok.engine.ray_executor import check_reachable
from speechtok.engine.settings import JobSettings, RunResult, RunSettings, frozen_settings
from speechtok.engine.worker import ShardWorker, WorkerSettings, describe_tokenizer
from speechtok.errors import DatasetError, JobError, SpeechtokError, StorageError
from speechtok.loading import list_tokenizers, options_of_last_run
from speechtok.shards.dataset_readme import OF_ROWS, front_matter, read_readme, readme_body, summary
from speechtok.shards.joining import MAX_FILES_AT_ONCE, clear, join, restore_parts
from speechtok.shards.layout import Layout
from speechtok.shards.ledger import Ledger, is_version_1
from speechtok.shards.manifest import FileRecord
from speechtok.shards.plan import DUPLICATE_ID, Plan, ShardTask, has_plan, read_plan
from speechtok.shards.verify import has_quarantine, quarantine_table
from speechtok.shards.writer import write_table
from speechtok.storage import AnyPath, as_path
from speechtok.tokens import TokenizerInfo
from speechtok.version import __version__

MAX_FAILED_IN_A_ROW = 4
"""Shards that may fail one after the other, without one that is made, until the job ends."""
MAX_NAMED = 20
"""Failed shards that are listed."""
PRELOADED = "speechtok.engine.preloaded"
"""What processes import that make shards."""


def tokenize_corpus(
    corpus: str | AnyPath,
    output: str | AnyPath,
    *,
    tokenizer: str = "dmel_16k",
    checkpoint: str | AnyPath | None = None,
    settings: JobSettings | None = None,
    run: RunSettings | None = None,
    observer: Observer | None = None,
    kept_from: KeptFrom | None = None,
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
        run: where and how to run, which changes no row; None takes the processes of this machine.
        observer: told of the progress.
        kept_from: a dataset of the same tokenizer and settings, from which rows are taken over that would be the same.

    Raises:
        CardError, CheckpointError, HubError: when the tokenizer cannot be loaded.
        DatasetError: when the corpus or an existing dataset is malformed.
        StorageError: when an object store fails or refuses.
        JobError: when the output is not ours, belongs to another job or cannot be written, when too
            many inputs fail, when a shard cannot be made, or when not a single input could be tokenized.
        ValueError: when a setting is out of its range.
    """
    settings, run, observer = settings or JobSettings(), run or RunSettings(), observer or Observer()
    layout = Layout(as_path(output))
    check_output(layout)
    if run.ray_address is not None and not has_plan(layout):
        check_reachable(run.ray_address)
    with open_executor(run, imports=PRELOADED) as executor:
        info, card = executor.ask(
            describe_tokenizer,
            str(tokenizer),
            _absolute(checkpoint),
            "cpu" if run.is_on_ray else run.device,
            settings.num_codebooks,
        )
        found = read_corpus(corpus, columns=settings.columns, corpus_format=settings.corpus_format)
        with output_lock(layout) as check_lock, executor:  # whose workers end before others may write
            plan = _frozen_plan(layout, found, info, card, settings, run, observer)
            ledger = Ledger.read(layout, plan)
            missing = ledger.missing(layout, plan.tasks)
            _check_version(layout, missing)
            observer.planned(plan, len(missing), found)
            source = _Source(
                corpus_root=str(found.root.resolve()),
                tokenizer=str(tokenizer),
                checkpoint=checkpoint,
                kept_from=None if kept_from is None else str(kept_from.layout.root.resolve()),
            )
            if kept_from is not None:
                kept_from.write(layout, plan)
            return _make(layout, plan, ledger, missing, source, run, executor, _checked(observer, check_lock))


def retry_quarantined(
    output: str | AnyPath,
    *,
    corpus_root: str | AnyPath | None = None,
    tokenizer: str | None = None,
    checkpoint: str | AnyPath | None = None,
    run: RunSettings | None = None,
    observer: Observer | None = None,
) -> RunResult:
    """Try again what is in the quarantine of a dataset, and finish it where it is not.

    Batches without a quarantined input are taken over and the others made anew, so that the dataset
    becomes what it would be if these inputs had been good since the plan was frozen. However it is
    interrupted, each shard is as before or as after. An utterance whose id is that of one before it stays where it is: the plan
    has its id.

    Args:
        output: the dataset.
        corpus_root: folder that relative audio paths start from; None takes that of the last run.
        tokenizer: name, card path or folder for `load_tokenizer`; None takes the card known here of the dataset's name.
        checkpoint: folder with the published files; it must be given where the last run took one.
        run: where and how to run; None takes the processes of this machine.
        observer: told of the progress.

    Raises:
        DatasetError: when there is no dataset, or nothing says where its corpus lies.
        JobError: as `tokenize_corpus`, and when the last run took files for its tokenizer that are not given again.
    """
    run, observer, layout = run or RunSettings(), observer or Observer(), Layout(as_path(output))
    plan = read_plan(layout)
    check_output(layout)
    root = _last_root(layout) if corpus_root is None else str(as_path(corpus_root).resolve())
    if tokenizer is None:
        tokenizer = known_tokenizer(layout, plan.info.name, is_given=checkpoint is not None)
    source = _Source(corpus_root=root, tokenizer=str(tokenizer), checkpoint=checkpoint)
    with output_lock(layout) as check_lock, open_executor(run, imports=PRELOADED) as executor:
        ledger = Ledger.read(layout, plan)
        missing = {task.number for task in ledger.missing(layout, plan.tasks)}
        failed = {
            part.number
            for part in ledger.in_order
            if any(failure.error != DUPLICATE_ID for failure in part.quarantined)
        }
        tasks = [task for task in plan.tasks if task.number in missing | failed]
        _check_version(layout, tasks)
        holding = [
            file for file in ledger.files.values() if failed & {part.number for part in ledger.parts_of(file)}
        ]
        restore_parts(layout, plan, ledger, holding)
        observer.planned(plan, len(tasks), None)
        return _make(
            layout, plan, ledger, tasks, source, run, executor, _checked(observer, check_lock), retries=True
        )


def _last_root(layout: Layout) -> str:
    """Return the folder that the last run took recordings from."""
    about = read_run(layout).get("about")
    root = about.get("corpus_root") if isinstance(about, dict) else None
    if not isinstance(root, str):
        raise DatasetError(
            f"Nothing says where the corpus of {layout.root} lies; give its folder with --corpus-root."
        )
    return root


def known_tokenizer(layout: Layout, name: str, *, is_given: bool) -> str:
    """Return the name of a dataset's tokenizer, where that says enough: a dataset may come from anybody, and does not choose what is loaded."""
    given = options_of_last_run(layout.root)
    if name not in list_tokenizers() or (given and not is_given):
        suggestion = given or "--tokenizer, and --checkpoint where it needs files"
        raise JobError(
            f"{layout.root} does not choose by itself which files to load for its tokenizer '{name}'; if you trust what its last "
            f"run took, give {suggestion}."
        )
    return name


def _checked(observer: Observer, check_lock: Callable[[], None]) -> Observer:
    """Return an observer that also checks, at each progress, that the output is still ours."""

    def progressed(progress: Progress) -> None:
        check_lock()
        observer.progressed(progress)

    return replace(observer, progressed=progressed)


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What a run needs from outside the dataset."""

    corpus_root: str
    """Folder that relative audio paths start from."""
    tokenizer: str
    """Name, card path or folder for `load_tokenizer`."""
    checkpoint: str | AnyPath | None
    """Folder with the published files."""
    kept_from: str | None = None
    """A dataset that rows are taken over from."""


def _absolute(checkpoint: str | AnyPath | None) -> str | None:
    return None if checkpoint is None else str(as_path(checkpoint).resolve())


def _make(
    layout: Layout,
    plan: Plan,
    ledger: Ledger,
    tasks: list[ShardTask],
    source: _Source,
    run: RunSettings,
    executor: Executor,
    observer: Observer,
    *,
    retries: bool = False,
) -> RunResult:
    """Make shards, then files of them, then what summarises all of them."""
    allowed = run.errors_allowed(plan.num_rows)
    worker = replace(_worker_settings(layout, plan, source, run), retries=retries)
    about = {"corpus_root": worker.corpus_root, "tokenizer": worker.tokenizer}
    log = JobLog(layout, {**about, "checkpoint": worker.checkpoint, **run.to_dict()}, observer)
    if tasks:
        for task in tasks:
            ledger.drop(task.number)
        with log.kept(plan, ledger, tasks):
            _make_shards(layout, ShardWorker(worker), tasks, executor, log, allowed)
            layout.clear_attempts()
            finish(layout, plan, ledger, on_file=log.joined)
            log.update(made=log.summary(), versions=_versions())
    else:
        layout.clear_attempts()  # of a run that was killed when it had made the last shard
        finish(layout, plan, ledger)
    check_errors(ledger, allowed)
    return _report(plan, ledger, log)


def _make_shards(
    layout: Layout,
    worker: ShardWorker,
    tasks: list[ShardTask],
    executor: Executor,
    log: JobLog,
    allowed: int | None,
) -> None:
    """Make shards; one that cannot be made does not keep the others from it.

    Raises:
        StorageError: when a store fails.
        JobError: when more inputs failed than are allowed, when shards could not be made, or when several in a row could
            not, which the others would then not be spared.
    """
    failed, in_a_row = list[tuple[ShardTask, str]](), 0
    with closing(executor.map(worker, tasks, log.observer)) as outcomes:
        for task, made in outcomes:
            if isinstance(made, StorageError):
                raise made
            if isinstance(made, Exception):
                failed.append((task, _sentence(made, layout)))
                log.event("shard failed", shard=task.name, reason=failed[-1][1])
                in_a_row += 1
                if in_a_row >= MAX_FAILED_IN_A_ROW:
                    break
                continue
            in_a_row = 0
            log.committed(made)
            check_errors(log.ledger, allowed)
    if failed:
        names = ", ".join(task.name for task, _ in failed[:MAX_NAMED])
        more = f" and {len(failed) - MAX_NAMED:,} more" if len(failed) > MAX_NAMED else ""
        raise JobError(f"{failed[0][1]} Not made: {names}{more}.")


def _sentence(error: Exception, layout: Layout) -> str:
    """Return why a shard could not be made."""
    if isinstance(error, SpeechtokError):
        return str(error)
    if isinstance(error, OSError):
        return unwritten(error, layout)
    return f"A shard failed: {type(error).__name__}: {error}."


def _worker_settings(layout: Layout, plan: Plan, source: _Source, run: RunSettings) -> WorkerSettings:
    return WorkerSettings(
        tokenizer=source.tokenizer,
        checkpoint=_absolute(source.checkpoint),
        device=run.device,
        output=str(layout.root.resolve()),
        corpus_root=source.corpus_root,
        info=plan.info,
        card=plan.card,
        extra_types=plan.extra_types,
        annotated_types={
            column.name: column.arrow_type for item in plan.annotations for column in item.columns
        },
        job=frozen_settings(plan),
        run_seconds=plan.settings.get("run_seconds"),
        kept_from=source.kept_from,
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
    run: RunSettings,
    observer: Observer,
) -> Plan:
    if has_plan(layout):
        plan = read_plan(layout)
        check_same(plan, corpus, info, card, settings, str(layout.root))
        return plan
    with Lookers(run) as lookers:
        plan = make_plan(
            corpus, info, card, settings, lookers, on_planning=observer.planning, on_probe=observer.probed
        )
    plan.write(layout)
    return read_plan(layout)  # with the types that every later run will read


def _check_version(layout: Layout, missing: Sequence[ShardTask]) -> None:
    """Raise `JobError` where a job of an earlier version would have to be finished, which left files where this one leaves parts."""
    if missing and is_version_1(layout):
        raise JobError(
            f"{layout.root} was begun by an earlier version of speechtok, which is needed to finish it; or tokenize into another "
            "folder. What is finished of it can be read as it is."
        )


def finish(
    layout: Layout,
    plan: Plan,
    ledger: Ledger,
    *,
    on_file: Callable[[FileRecord], None] = lambda record: None,
) -> None:
    """Join the parts, then write what summarises them; files that are right already are left alone.

    Args:
        layout: the dataset.
        plan: what it holds.
        ledger: all its parts.
        on_file: called after each file that was made.

    Raises:
        DatasetError: when a part or its record is lost, since there would be less than was made.
    """
    at_once = min(MAX_FILES_AT_ONCE, usable_cpus())
    join(layout, plan, ledger, file_mb=frozen_settings(plan).file_mb, at_once=at_once, on_file=on_file)
    for split in plan.splits:
        if not has_quarantine(layout, ledger, split):
            with layout.replacing(layout.quarantine(split)) as path:
                write_table(quarantine_table(ledger, split), path)
    _write_readme(layout, plan, ledger)
    clear(layout)


def _write_readme(layout: Layout, plan: Plan, ledger: Ledger) -> None:
    """Write the README, unless there is one of these rows, as people or a push may have completed it.

    Of one of other rows, what people have written stays.
    """
    head = front_matter(plan, ledger)
    old = read_readme(layout)
    old_head, old_body = split_head(old)
    if old_head.get("configs") == head["configs"] and summary(ledger) in old_body:
        return
    text = merge(with_head(head, readme_body(plan, ledger)), old, stale=OF_ROWS)
    with layout.replacing(layout.readme) as path:
        path.write_text(text, encoding="utf-8")


def _versions() -> dict[str, str]:
    names = ("torch", "numpy", "pyarrow", "soundfile")
    return {
        "speechtok": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def _report(plan: Plan, ledger: Ledger, log: JobLog) -> RunResult:
    totals = ledger.totals
    report = RunResult(
        shards=len(plan.tasks),
        shards_made=log.shards_made,
        files=len(ledger.files),
        rows=totals.rows,
        quarantined=totals.quarantined,
        seconds=totals.seconds,
        seconds_made=log.seconds_made,
        bytes=ledger.bytes,
        start_seconds=log.start_seconds,
        wall_seconds=log.wall_seconds,
        reasons=Counter(failure.error for failure in ledger.failures()),
    )
    if report.rows == 0:
        first = next(ledger.failures())
        raise JobError(
            f"None of the {totals.quarantined} inputs could be tokenized; the first one, {first.audio}: {first.message} "
            "All reasons are in the quarantine."
        )
    return report
