"""A corpus that has grown or changed → the dataset that a fresh run would make of it, of which only what changed is encoded.

1. The corpus is planned anew, and the batches that are the same as before are found: see `speechtok.engine.kept`.
2. A job makes the new dataset below `.speechtok/updating/`, or in a folder of its own; rows of those batches are copied.
3. One rename makes it the dataset, and its files are moved to their places: see `speechtok.shards.updated`. Until then the dataset is as before.

Contents: `UpdateResult`, `update_dataset`.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from speechtok.cards import merge
from speechtok.commands.tokenize import known_tokenizer, tokenize_corpus
from speechtok.corpora import read_corpus
from speechtok.engine.kept import KeptFrom, changed_files
from speechtok.engine.observer import Observer
from speechtok.engine.output_lock import check_output, output_lock
from speechtok.engine.planning import Listed, source_of
from speechtok.engine.settings import RunResult, RunSettings, frozen_settings
from speechtok.errors import DatasetError, JobError
from speechtok.shards.dataset_readme import OF_ROWS, read_readme
from speechtok.shards.layout import Layout
from speechtok.shards.ledger import Ledger
from speechtok.shards.manifest import read_manifest
from speechtok.shards.plan import Plan, has_plan, read_plan
from speechtok.shards.updated import settle_update
from speechtok.storage import AnyPath, as_path, flush


@dataclass(frozen=True, kw_only=True)
class UpdateResult:
    """What came of it."""

    job: RunResult | None
    """What the job has done; None where the corpus is as it was."""
    rows: int
    """Token rows of the dataset."""
    kept: int
    """How many of them were taken over; the others were made anew."""
    gone: int
    """Utterances of the dataset as it was that the corpus no longer has; one with another id counts too."""


def update_dataset(
    corpus: str | AnyPath,
    dataset: str | AnyPath,
    output: str | AnyPath | None = None,
    *,
    tokenizer: str | None = None,
    checkpoint: str | AnyPath | None = None,
    run: RunSettings | None = None,
    observer: Observer | None = None,
) -> UpdateResult:
    """Make of a token dataset the one that its corpus, as it is now, would give.

    What is new or changed is encoded, with what was encoded in one batch with it; what is gone is left out; changed transcripts or
    speakers alone encode nothing. What failed is tried again. The dataset has the same bytes as one that a fresh run makes with the same
    settings. Whatever is interrupted, the same call goes on. A recording is known by its name and size and, of a list, by its row.

    Args:
        corpus: see `speechtok.corpora.read_corpus`.
        dataset: a finished token dataset that was made of it.
        output: folder of the new dataset; None puts it in the place of the old one, for which this must lie on a disk, with room for both.
        tokenizer: name, card path or folder for `load_tokenizer`; None takes the card known here of the dataset's name.
        checkpoint: folder with the published files; it must be given where the last run took one.
        run: where and how to run; None takes the processes of this machine.
        observer: told of the progress.

    Raises:
        DatasetError: when there is no such dataset, or it does not say what it was made of.
        JobError: as `speechtok.commands.tokenize.tokenize_corpus`, and when the dataset cannot be replaced.
    """
    layout = Layout(as_path(dataset))
    check_output(layout)
    if output is not None:
        return _updated(corpus, layout, Layout(as_path(output)), tokenizer, checkpoint, run, observer)
    if not isinstance(layout.root, Path):
        raise JobError(
            f"{layout.root} lies in an object store, where nothing can be renamed; update it into another place with --output."
        )
    with output_lock(layout):
        staged = Layout(layout.updating)
        result = _updated(corpus, layout, staged, tokenizer, checkpoint, run, observer)
        if result.job is not None:
            _complete_readme(layout, staged)
            layout.updating.rename(layout.updated)  # type: ignore[arg-type, union-attr]
            flush(layout.state)  # type: ignore[arg-type]
            settle_update(layout)
    return result


def _updated(
    corpus: str | AnyPath,
    old: Layout,
    new: Layout,
    tokenizer: str | None,
    checkpoint: str | AnyPath | None,
    run: RunSettings | None,
    observer: Observer | None,
) -> UpdateResult:
    """Make the new dataset, unless the corpus is as it was."""
    plan = _finished(old)
    settings = frozen_settings(plan)
    if new.root == old.updating and plan.annotations:
        raise DatasetError(
            f"{old.root} has columns of the annotation '{plan.annotations[0].name}', which rows that are made anew would lack; update it into "
            "another folder with --output, and annotate that."
        )
    found = read_corpus(corpus, columns=settings.columns, corpus_format=settings.corpus_format)
    source = source_of(found)
    changed, now = changed_files(old, plan, source), Listed.of(source).to_dict()
    rows = Ledger.read(old, plan).totals.rows
    if new.root == old.updating:
        if has_plan(new) and read_plan(new).settings["listing"] != now:
            shutil.rmtree(old.updating)  # type: ignore[arg-type]  # of a corpus that has changed again
        if now == plan.settings["listing"]:
            return UpdateResult(job=None, rows=rows, kept=rows, gone=0)
    kept_from = KeptFrom(layout=old, plan=plan, changed=frozenset(changed))
    result = tokenize_corpus(
        corpus,
        new.root,
        tokenizer=tokenizer or known_tokenizer(old, plan.info.name, is_given=checkpoint is not None),
        checkpoint=checkpoint,
        settings=settings,
        run=run,
        observer=observer,
        kept_from=kept_from,
    )
    new.kept.unlink(missing_ok=True)
    return UpdateResult(job=result, rows=result.rows, kept=kept_from.rows, gone=_gone(plan, read_plan(new)))


def _finished(layout: Layout) -> Plan:
    """Return the plan of a dataset whose rows can be taken over."""
    plan = read_plan(layout)
    if read_manifest(layout) is None:
        raise DatasetError(f"{layout.root} is not finished; run its job again, and update it then.")
    return plan


def _complete_readme(old: Layout, new: Layout) -> None:
    """Have what people have written in the README of the old dataset in that of the new one."""
    text = merge(read_readme(new), read_readme(old), stale=OF_ROWS)
    with new.replacing(new.readme) as path:
        path.write_text(text, encoding="utf-8")


def _gone(old: Plan, new: Plan) -> int:
    """Return how many ids of a plan another one has not."""
    ids = {name for rows in old.batches(["id"]) for name in rows["id"].to_pylist()}
    for rows in new.batches(["id"]):
        ids.difference_update(rows["id"].to_pylist())
    return len(ids)
