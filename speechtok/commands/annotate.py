"""Token dataset + annotations → the same dataset with more columns; the codes stay as they are.

1. Workers make the values of some rows each and keep them, a file for each piece, below `.speechtok/annotating/`.
2. Workers write each file of `data/` again there, with the new columns.
3. What belongs to them, the manifest at last, is written there too, and one rename makes all of it the dataset: see
   `speechtok.shards.annotated.settle`. Until then the dataset is as before.

Whatever is interrupted, the same call goes on; the bytes depend on the dataset, the recordings and the annotations alone.

Contents: `AnnotateResult`, `annotate_dataset`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from speechtok.annotations import Annotation, load_annotation
from speechtok.cards.markdown import merge, with_head
from speechtok.commands.annotation_work import Files, Piece, Values
from speechtok.corpora.originals import Originals, find_originals
from speechtok.engine.executor import Executor, open_executor
from speechtok.engine.observer import Observer
from speechtok.engine.output_lock import check_output, output_lock
from speechtok.engine.settings import RunSettings
from speechtok.errors import DatasetError, JobError, SpeechtokError
from speechtok.shards.annotated import (
    Annotated,
    Entry,
    Provenance,
    annotated_bytes,
    read_annotated,
    rows_sha256,
    settle,
)
from speechtok.shards.dataset_readme import OF_ROWS, front_matter, read_readme, readme_body
from speechtok.shards.layout import Layout, is_there
from speechtok.shards.ledger import Ledger, is_version_1
from speechtok.shards.manifest import FileRecord, read_manifest, write_manifest
from speechtok.shards.parquet import open_parquet, read_group
from speechtok.shards.plan import Plan, has_plan, read_plan
from speechtok.shards.reader import TokenDataset
from speechtok.shards.schema import quarantine_schema
from speechtok.shards.writer import write_table
from speechtok.storage import AnyPath, StorePath, as_path, copy_bytes, file_sha256, flush
from speechtok.utterances import RESERVED_COLUMNS
from speechtok.wording import count_text

PIECE_SECONDS = 600.0
"""Audio of the rows that a worker annotates in one go: what a kill loses at most, for each worker."""
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
    with output_lock(target):
        if target != source:
            _copy(source, target)
        job = _Job(source, target, loaded, replaces=replace)
        if not job.missing:
            return AnnotateResult(rows=job.rows, made=())
        originals = find_originals(source.root, _place(corpus), [as_path(item) for item in folders])
        if any("audio" in item.needs for item in job.missing):
            originals.check("--corpus")
        with open_executor(run or RunSettings()) as executor, executor:
            return job.make(executor, originals, on_rows)


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


def _place(folder: str | AnyPath | None) -> AnyPath | None:
    return None if folder is None else as_path(folder)


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
    state = {getattr(source, name): getattr(target, name) for name in ("parts_table", "plan_rows", "plan")}
    for old, new in (quarantine | dropped | state).items():
        if not is_there(old):
            raise DatasetError(f"{old} is missing, so {source.root} cannot be annotated; run its job again.")
        with target.replacing(new) as path, path.open("wb") as file:
            copy_bytes(old, file)


class _Job:
    """What is to be made of which dataset.

    Args:
        source: where the rows are.
        target: the dataset that gets the columns.
        annotations: what is asked for.
        replaces: whether what is there already may be made anew.
    """

    def __init__(
        self, source: Layout, target: Layout, annotations: Sequence[Annotation], *, replaces: bool
    ) -> None:
        files = read_manifest(target)
        if files is not None:
            source = target
        self._source, self._target = source, target
        files = read_manifest(source) if files is None else files
        if files is None or is_version_1(source):
            raise DatasetError(
                f"{source.root} is no finished token dataset of this version; run its job again, or make one of it with `speechtok select`."
            )
        self._files: list[FileRecord] = files
        self._plan = replace(read_plan(source), annotated=read_annotated(source))
        self.rows = sum(file.rows for file in files)
        self._rows_sha256 = rows_sha256(file.parts_sha256 for file in files)
        first = source.current(source.root / files[0].file)
        self._types = {item.name: item.type for item in open_parquet(first).schema_arrow}
        made = {item.name: item.provenance(self._plan.info.streams) for item in annotations}
        self._made = {name: item for name, item in made.items() if self._is_missing(item, replaces=replaces)}
        self.missing = [item for item in annotations if item.name in self._made]
        self._check_columns(annotations, made, replaces=replaces)
        self._plan = replace(self._plan, annotated=self._entries({}, {}))

    def _is_missing(self, made: Provenance, *, replaces: bool) -> bool:
        """Return whether an annotation is not there yet."""
        for entry in self._plan.annotated.entries:
            if entry.provenance.name == made.name:
                is_same = _plain(entry.provenance) == _plain(made) and entry.rows_sha256 == self._rows_sha256
                if not is_same and not replaces:
                    raise DatasetError(_differing(self._source, entry.provenance, made))
                return not is_same
        for earlier in self._plan.annotations:
            if earlier.name == made.name:
                if _plain(earlier) == _plain(made):
                    return False
                if not replaces:
                    raise DatasetError(_differing(self._source, earlier, made))
        return True

    def _check_columns(
        self, annotations: Sequence[Annotation], made: Mapping[str, Provenance], *, replaces: bool
    ) -> None:
        """Raise `DatasetError` when columns that are needed are missing, or those that are added are there already."""
        place, streams = self._source.root, {item.name for item in self._plan.info.streams}
        fixed = {*RESERVED_COLUMNS, "speaker_embedding", "scale", "start", *streams}
        owners = {column.name: item.name for item in self._plan.annotations for column in item.columns}
        known = set(self._types)
        for annotation in annotations:
            for name in annotation.requires:
                if name not in known:
                    raise DatasetError(
                        f"The annotation '{annotation.name}' needs the column '{name}', which {place} has not; make it first, or have it "
                        "made before in the same call."
                    )
            for column in made[annotation.name].columns:
                owner = owners.setdefault(column.name, annotation.name)
                is_taken = column.name in fixed or owner != annotation.name
                is_theirs = column.name in self._types and owner == annotation.name and not self._has(owner)
                if annotation.name in self._made and (is_taken or (is_theirs and not replaces)):
                    whose = f"of the annotation '{owner}'" if owner != annotation.name else "of its own"
                    raise DatasetError(
                        f"The annotation '{annotation.name}' adds the column '{column.name}', but {place} has one {whose}; leave that out with "
                        "`speechtok select`" + ("." if is_taken else ", or have it replaced with --replace.")
                    )
                known.add(column.name)

    def _has(self, name: str) -> bool:
        return any(item.name == name for item in self._plan.annotations)

    def _entries(self, failed: Mapping[str, int], quarantine: Mapping[str, Mapping[str, Any]]) -> Annotated:
        """Return what the dataset says of its annotations when these are made."""
        kept = [item for item in self._plan.annotated.entries if item.provenance.name not in self._made]
        new = [
            Entry(provenance=item, rows_sha256=self._rows_sha256, failed=failed.get(name, 0))
            for name, item in self._made.items()
        ]
        return Annotated(entries=(*kept, *new), quarantine=quarantine)

    def make(
        self, executor: Executor, originals: Originals, on_rows: Callable[[int, int], None]
    ) -> AnnotateResult:
        """Make the columns, and let them become part of the dataset."""
        folder = self._target.annotating / self._key
        staged = Layout(folder / "dataset")
        if isinstance(self._target.root, StorePath):
            staged = self._target  # where nothing is until the manifest is
        fitted = tuple(
            (item.over(self._looked_at(item)), self._made[item.name].columns) for item in self.missing
        )
        values = Values(
            layout=self._source,
            folder=folder / "values",
            info=self._plan.info,
            annotations=fitted,
            originals=replace(originals, starts={}),
        )
        pieces = {file.file: tuple(_pieces(file)) for file in self._files}
        self._make_values(executor, values, [piece for some in pieces.values() for piece in some], on_rows)
        files = Files(
            layout=self._source,
            staged=staged,
            values=values,
            pieces=pieces,
            schema=self._plan.token_schema,
        )
        made = {record.file: record for record in _results(executor, files, self._files)}
        tables = self._failures(files)
        failed = {
            name: sum(table["stage"].to_pylist().count(name) for table in tables.values())
            for name in self._made
        }
        self._finish(staged, [made[file.file] for file in self._files], failed, tables)
        return AnnotateResult(rows=self.rows, made=tuple(self._made), failed=failed)

    @property
    def _key(self) -> str:
        """What tells this work from others on the same dataset."""
        facts = [
            [item.to_dict() for item in self._made.values()],
            [(file.file, file.sha256) for file in self._files],
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

    def _looked_at(self, annotation: Annotation) -> Iterator[dict[str, Any]]:
        """Yield of each row what annotations may look at before."""
        wanted = ("id", "num_samples", "text", *annotation.requires, *annotation.uses)
        names = [name for name in dict.fromkeys(wanted) if name in self._types]
        rate = self._plan.info.sample_rate
        for row in TokenDataset(self._source.root, columns=names):
            yield row | {"duration": row["num_samples"] / rate}

    def _make_values(
        self, executor: Executor, values: Values, pieces: Sequence[Piece], on_rows: Callable[[int, int], None]
    ) -> None:
        there = {path.name for path in values.folder.iterdir()} if values.folder.is_dir() else set()
        missing = [piece for piece in pieces if values.path(piece).name not in there]
        done = self.rows - sum(piece.stop - piece.start for piece in missing)
        for rows in _results(executor, values, missing):
            done += rows
            on_rows(done, self.rows)

    def _failures(self, files: Files) -> dict[str, pa.Table]:
        """Return the rows without values of each split: those of annotations that stay first."""
        tables = {}
        for split in self._plan.splits:
            path = self._source.current(self._source.annotation_quarantine(split))
            old = quarantine_schema().empty_table()
            if is_there(path):
                reader = open_parquet(path)
                groups = range(reader.metadata.num_row_groups)
                old = pa.concat_tables([old, *(read_group(reader, path, group) for group in groups)])
            kept = old.filter(
                pa.array([name not in self._made for name in old["stage"].to_pylist()], pa.bool_())
            )
            new = pa.concat_tables(
                [quarantine_schema().empty_table()]
                + [files.failures(file.file) for file in self._files if file.split == split]
            )
            order = {name: number for number, name in enumerate(self._made)}
            places = sorted(
                range(len(new)), key=[order[name] for name in new["stage"].to_pylist()].__getitem__
            )
            tables[split] = pa.concat_tables([kept, new.take(pa.array(places, pa.int64()))])
        return tables

    def _finish(
        self,
        staged: Layout,
        files: Sequence[FileRecord],
        failed: Mapping[str, int],
        tables: Mapping[str, pa.Table],
    ) -> None:
        """Write what belongs to the files, then let all of it be the dataset."""
        quarantine = {}
        for split, table in tables.items():
            with staged.replacing(staged.annotation_quarantine(split)) as path:
                write_table(table, path)
                quarantine[split] = {
                    "rows": len(table),
                    "bytes": path.stat().st_size,
                    "sha256": file_sha256(path),
                }
        annotated = self._entries(failed, quarantine)
        with staged.replacing(staged.annotations) as path:
            path.write_bytes(annotated_bytes(annotated))
        ledger = Ledger.read(self._source, self._plan)
        ledger.files = {file.file: file for file in files}
        text = _readme(self._source, replace(self._plan, annotated=annotated), ledger)
        with staged.replacing(staged.readme) as path:
            path.write_text(text, encoding="utf-8")
        write_manifest(staged, files)
        if staged == self._target:
            _remove_values(self._target)
            return
        assert isinstance(staged.root, Path)  # noqa: S101
        assert isinstance(self._target.annotated, Path)  # noqa: S101
        for folder in (staged.state / "files", staged.tmp):
            shutil.rmtree(folder, ignore_errors=True)  # type: ignore[arg-type]
        staged.root.rename(self._target.annotated)
        flush(self._target.annotated.parent)
        settle(self._target)


def _readme(layout: Layout, plan: Plan, ledger: Ledger) -> str:
    """Return the README of a dataset with new columns; what people have written stays."""
    text = with_head(front_matter(plan, ledger), readme_body(plan, ledger))
    return merge(text, read_readme(layout), stale=OF_ROWS)


def _remove_values(layout: Layout) -> None:
    from speechtok.storage import unlink_all

    folder = layout.annotating
    if isinstance(folder, StorePath):
        with suppress(FileNotFoundError):
            unlink_all(folder.files())


def _pieces(file: FileRecord) -> Iterator[Piece]:
    """Yield the rows of a file in pieces of about the same length; they follow from the manifest alone."""
    for number, group in enumerate(file.groups):
        count = max(1, min(group.rows, round(group.seconds / PIECE_SECONDS)))
        bounds = [group.rows * place // count for place in range(count + 1)]
        for start, stop in pairwise(bounds):
            yield Piece(file=file.file, group=number, start=start, stop=stop)


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


def _plain(made: Provenance) -> Any:
    """Return what must be the same for two annotations to be the same."""
    return json.loads(json.dumps({**made.to_dict(), "facts": {}}))


def _differing(layout: Layout, old: Provenance, new: Provenance) -> str:
    """Return the sentence that says in what an annotation differs from the one that is there."""
    was, is_now = _plain(old), _plain(new)
    differing = [name for name in was if was[name] != is_now[name]]
    telling = [name for name in ("version", "settings", "files") if name in differing] or differing
    facts = " and ".join(
        f"{name} {json.dumps(was[name], sort_keys=True)} instead of {json.dumps(is_now[name], sort_keys=True)}"
        for name in telling
    )
    how = f"with {facts}" if facts else "before some of its rows were made anew"
    return f"{layout.root} was annotated with '{new.name}' already, {how}; have it replaced with --replace, or leave it as it is."
