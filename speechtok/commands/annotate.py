"""Token dataset + annotations → the same dataset with more columns; the codes stay as they are.

1. Workers make the values of some rows each and keep them, a file for each piece, below `.speechtok/annotating/`.
2. Workers write each file of `data/` again there, with the new columns.
3. What belongs to them, the manifest at last, is written there too, and one rename makes all of it the dataset: see
   `speechtok.shards.annotated.settle`. Until then the dataset is as before.

Whatever is interrupted, the same call goes on; the bytes depend on the dataset, the recordings and the annotations alone.

Contents: `AnnotateResult`, `annotate_dataset`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from speechtok.annotations import Annotation, load_annotation
from speechtok.commands.annotation_files import Files, put_together, tidy
from speechtok.commands.annotation_plan import AnnotationPlan, pieces_of
from speechtok.commands.annotation_work import Annotator, Values
from speechtok.corpora.originals import Originals, find_originals
from speechtok.engine.executor import Executor, open_executor
from speechtok.engine.observer import Observer
from speechtok.engine.output_lock import check_output, output_lock
from speechtok.engine.settings import RunSettings
from speechtok.errors import DatasetError, JobError, SpeechtokError
from speechtok.shards.layout import Layout, is_there
from speechtok.shards.ledger import listing
from speechtok.shards.manifest import read_manifest
from speechtok.shards.plan import has_plan, read_plan
from speechtok.storage import AnyPath, StorePath, as_path, copy_bytes, file_sha256
from speechtok.wording import count_text

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class AnnotateResult:
    """What came of it."""

    rows: int
    """Rows of the dataset."""
    made: tuple[str, ...]
    """Annotations that this call has made; those that were there already are not among them."""
    failed: Mapping[str, int] = field(default_factory=dict)
    """By annotation, how many rows it has no value for."""

    def __str__(self) -> str:
        if not self.made:
            return f"{count_text(self.rows, 'row')}; all of it was there already."
        return f"{count_text(self.rows, 'row')}, annotated with {', '.join(self.made)}."


def annotate_dataset(
    dataset: str | AnyPath,
    annotations: Sequence[str | Annotation],
    output: str | AnyPath | None = None,
    *,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    corpus: str | AnyPath | None = None,
    folders: Sequence[str | AnyPath] = (),
    replace: bool = False,
    run: RunSettings | None = None,
    on_rows: Callable[[int, int], None] = lambda done, total: None,
) -> AnnotateResult:
    """Add columns to a token dataset: quality, pitch, phones and whatever else annotates rows.

    A row that an annotation has no value for keeps empty cells and is listed with the reason in `quarantine/annotations`.
    What is interrupted is finished by the same call; it gives the same bytes each time.

    Args:
        dataset: a finished token dataset.
        annotations: names, see `speechtok.annotations.list_annotations`, or annotations; later ones see the columns of earlier ones.
        output: folder of a new dataset with the columns; None adds them to the dataset itself, for which there must be room for
            its files twice.
        settings: settings of annotations that are given by name, by name.
        corpus: folder that the recordings lie below; needed by annotations of audio.
        folders: further folders that they may lie below.
        replace: make annotations anew that are there with other settings, another version or from other rows.
        run: where and how to run, which changes no value; None takes the processes of this machine.
        on_rows: told how many rows are done, and of how many.

    Raises:
        AnnotationError: when an annotation cannot be made here, or does not do what it states.
        DatasetError: when the dataset is unfinished, lacks a column that is needed, or has one already that would be added.
        JobError: when the output is in use or cannot be written.
        ValueError: when there is no such annotation or setting.
    """
    loaded = _loaded(annotations, settings or {})
    source = Layout(as_path(dataset))
    target = source if output is None else Layout(as_path(output))
    if isinstance(target.root, StorePath) and target == source:
        raise JobError(
            f"{target.root} lies in an object store, where nothing can be renamed; give an output beside it, and remove it afterwards."
        )
    check_output(target)
    with output_lock(target) as check_lock:
        if target != source:
            _copy(source, target)
        plan = AnnotationPlan(source, target, loaded, replaces=replace)
        if not plan.missing:
            tidy(target)
            return AnnotateResult(rows=plan.rows, made=())
        root = None if corpus is None else as_path(corpus).resolve()
        elsewhere = [as_path(item).resolve() for item in folders]
        originals = find_originals(source.root, root, elsewhere, has_starts=False)
        if any("audio" in item.needs for item in plan.missing):
            originals.check("--corpus")

        def told(done: int, total: int) -> None:
            check_lock()
            on_rows(done, total)

        run = run or RunSettings()
        with open_executor(run) as executor, executor:
            return _make(plan, executor, originals, told, run)


def _loaded(
    annotations: Sequence[str | Annotation], settings: Mapping[str, Mapping[str, Any]]
) -> list[Annotation]:
    names = [item if isinstance(item, str) else item.name for item in annotations]
    if not names:
        raise ValueError("`annotations` must name at least one annotation.")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"`annotations` names '{name}' twice.")
    for name in settings:
        if name not in annotations:
            raise ValueError(f"There are settings for '{name}', which is not among the annotations by name.")
    return [
        load_annotation(item, **settings.get(item, {})) if isinstance(item, str) else item
        for item in annotations
    ]


def _copy(source: Layout, target: Layout) -> None:
    """Have all of a dataset but its tokens in another folder, the plan at last.

    Raises:
        DatasetError: when there is another dataset.
    """
    plan = read_plan(source)
    if has_plan(target):
        if file_sha256(target.plan) != file_sha256(source.plan):
            raise DatasetError(
                f"{target.root} holds another dataset than {source.root}; write to another folder."
            )
        if read_manifest(target) is not None:
            return
    quarantine = {source.quarantine(split): target.quarantine(split) for split in plan.splits}
    dropped = {source.dropped(split): target.dropped(split) for split in plan.dropped}
    names = (*(("listing",) if is_there(source.listing) else ()), "parts_table", "plan_rows", "plan")
    state = {getattr(source, name): getattr(target, name) for name in names}
    for old, new in (quarantine | dropped | state).items():
        if not is_there(old):
            raise DatasetError(f"{old} is missing, so {source.root} cannot be annotated; run its job again.")
        with target.replacing(new) as path, path.open("wb") as file:
            copy_bytes(old, file)


def _make(
    plan: AnnotationPlan,
    executor: Executor,
    originals: Originals,
    on_rows: Callable[[int, int], None],
    run: RunSettings,
) -> AnnotateResult:
    """Make the columns, and let them become part of the dataset."""
    target = Layout(plan.target.root.resolve())  # workers may run in another folder
    folder = target.annotating / plan.key([str(originals.root), *map(str, originals.folders)])
    staged = Layout(folder / "dataset")
    if isinstance(plan.target.root, StorePath):
        staged = plan.target  # where nothing is until the manifest is
    values = Values(
        layout=Layout(plan.source.root.resolve()),
        folder=folder / "values",
        info=plan.plan.info,
        annotations=tuple((item.over(plan.looked_at(item)), plan.made[item.name]) for item in plan.missing),
        originals=originals,
        timeout_seconds=run.timeout_seconds,
        memory_mb=run.memory_mb,
    )
    pieces = {file.file: tuple(pieces_of(file)) for file in plan.files}
    there = {path.name for path in listing(values.folder)}
    missing = [piece for some in pieces.values() for piece in some if values.path(piece).name not in there]
    done = plan.rows - sum(piece.stop - piece.start for piece in missing)
    for rows in _results(executor, Annotator(values), missing):
        done += rows
        on_rows(done, plan.rows)
    files = Files(
        layout=values.layout, staged=staged, values=values, pieces=pieces, schema=plan.plan.token_schema
    )
    made = {record.file: record for record in _results(executor, files, plan.files)}
    failed = put_together(plan, files, [made[file.file] for file in plan.files])
    return AnnotateResult(rows=plan.rows, made=tuple(plan.made), failed=failed)


def _results(executor: Executor, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
    """Yield what a function returns for each task, as they end.

    Raises:
        SpeechtokError: that of the first task that fails.
        JobError: when one fails otherwise.
    """
    if not tasks:
        return
    with closing(executor.map(function, tasks, Observer())) as outcomes:
        for _, result in outcomes:
            if isinstance(result, SpeechtokError | OSError):
                raise result
            if isinstance(result, Exception):
                raise JobError(f"Annotating failed: {type(result).__name__}: {result}.") from result
            yield result
