"""What annotations there are to make of a dataset, once it is known that they can be made.

Contents: `Piece`, `AnnotationPlan`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from speechtok.annotations import Annotation
from speechtok.errors import DatasetError
from speechtok.shards.annotated import Annotated, Entry, Provenance, read_annotated, rows_sha256
from speechtok.shards.layout import Layout
from speechtok.shards.ledger import is_version_1
from speechtok.shards.manifest import FileRecord, read_manifest
from speechtok.shards.parquet import open_parquet
from speechtok.shards.plan import read_plan
from speechtok.shards.reader import TokenDataset
from speechtok.utterances import RESERVED_COLUMNS

PIECE_SECONDS = 600.0
"""Audio of the rows that a worker annotates in one go: what a kill loses at most, for each worker."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some rows of a row group, one after the other: what a worker annotates in one go."""

    file: str
    """The file, by its path inside the dataset."""
    group: int
    """Number of the row group."""
    start: int
    """The first row, counted in the row group."""
    stop: int
    """The first that is not among them."""

    @property
    def name(self) -> str:
        """What it is called in messages, and where its values are kept."""
        return f"{self.file.rpartition('/')[2].removesuffix('.parquet')}-{self.group:05d}-{self.start:07d}"


class AnnotationPlan:
    """Annotations that are missing, and the dataset that gets them.

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
        self.source, self.target = source, target
        files = read_manifest(source) if files is None else files
        if files is None or is_version_1(source):
            raise DatasetError(
                f"{source.root} is no finished token dataset of this version; run its job again, or make one of it with `speechtok select`."
            )
        self.files: list[FileRecord] = files
        self.plan = replace(read_plan(source), annotated=read_annotated(source))
        self.rows = sum(file.rows for file in files)
        self._rows_sha256 = rows_sha256(file.parts_sha256 for file in files)
        first = source.current(source.root / files[0].file)
        self._types = {item.name: item.type for item in open_parquet(first).schema_arrow}
        made = self._provenances(annotations)
        self.made = {name: item for name, item in made.items() if self._is_missing(item, replaces=replaces)}
        self.missing = [item for item in annotations if item.name in self.made]
        self._check_columns(annotations, made, replaces=replaces)
        self._check_inputs(made)
        self.plan = replace(self.plan, annotated=self.entries({}, {}))

    def _provenances(self, annotations: Sequence[Annotation]) -> dict[str, Provenance]:
        """Return what will be recorded of each annotation, with what makes the columns that it takes."""
        owners = {column.name: item for item in self.plan.annotations for column in item.columns}
        made = {}
        for annotation in annotations:
            taken = (*annotation.requires, *annotation.uses)
            inputs = {name: owners[name].identity for name in taken if name in owners}
            found = replace(annotation.provenance(self.plan.info.streams), inputs=inputs)
            owners |= {column.name: found for column in found.columns}
            made[annotation.name] = found
        return made

    def _check_inputs(self, made: Mapping[str, Provenance]) -> None:
        """Raise `DatasetError` when an annotation that stays was made of columns that do not."""
        owners = {column.name: item for item in self.made.values() for column in item.columns}
        for item in self.plan.annotations:
            stale = [
                name
                for name, known in item.inputs.items()
                if name in owners and owners[name].identity != known
            ]
            if stale and item.name not in made:
                raise DatasetError(
                    f"The annotation '{item.name}' of {self.source.root} was made of the column '{stale[0]}', which would get other values; "
                    "name it after that one, so that it is made anew."
                )

    def _is_missing(self, made: Provenance, *, replaces: bool) -> bool:
        """Return whether an annotation is not there yet."""
        for entry in self.plan.annotated.entries:
            if entry.provenance.name == made.name:
                is_same = (
                    entry.provenance.identity == made.identity and entry.rows_sha256 == self._rows_sha256
                )
                if not is_same and not replaces:
                    raise DatasetError(_differing(self.source, entry.provenance, made))
                return not is_same
        for earlier in self.plan.annotations:
            if earlier.name == made.name:
                if earlier.identity == made.identity:
                    return False
                if not replaces:
                    raise DatasetError(_differing(self.source, earlier, made))
        return True

    def _check_columns(
        self, annotations: Sequence[Annotation], made: Mapping[str, Provenance], *, replaces: bool
    ) -> None:
        """Raise `DatasetError` when columns that are needed are missing, or those that are added are there already."""
        place, streams = self.source.root, {item.name for item in self.plan.info.streams}
        fixed = {*RESERVED_COLUMNS, "speaker_embedding", "scale", "start", *streams}
        owners = {column.name: item.name for item in self.plan.annotations for column in item.columns}
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
                if annotation.name in self.made and (is_taken or (is_theirs and not replaces)):
                    whose = f"of the annotation '{owner}'" if owner != annotation.name else "of its own"
                    raise DatasetError(
                        f"The annotation '{annotation.name}' adds the column '{column.name}', but {place} has one {whose}; leave that out with "
                        "`speechtok select`" + ("." if is_taken else ", or have it replaced with --replace.")
                    )
                known.add(column.name)

    def _has(self, name: str) -> bool:
        return any(item.name == name for item in self.plan.annotations)

    def entries(self, failed: Mapping[str, int], quarantine: Mapping[str, Mapping[str, Any]]) -> Annotated:
        """Return what the dataset says of its annotations when these are made."""
        kept = [item for item in self.plan.annotated.entries if item.provenance.name not in self.made]
        new = [
            Entry(provenance=item, rows_sha256=self._rows_sha256, failed=failed.get(name, 0))
            for name, item in self.made.items()
        ]
        return Annotated(entries=(*kept, *new), quarantine=quarantine)

    def key(self, recordings: Sequence[str]) -> str:
        """Return what tells this work from others on the same dataset.

        Args:
            recordings: where the recordings lie.
        """
        facts = [
            list(recordings),
            [item.to_dict() for item in self.made.values()],
            [(file.file, file.sha256) for file in self.files],
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

    def looked_at(self, annotation: Annotation) -> Iterator[dict[str, Any]]:
        """Yield of each row what annotations may look at before."""
        wanted = ("id", "num_samples", "text", *annotation.requires, *annotation.uses)
        names = [name for name in dict.fromkeys(wanted) if name in self._types]
        rate = self.plan.info.sample_rate
        for row in TokenDataset(self.source.root, columns=names):
            yield row | {"duration": row["num_samples"] / rate}


def pieces_of(file: FileRecord) -> Iterator[Piece]:
    """Yield the rows of a file in pieces of about the same length; they follow from the manifest alone."""
    for number, group in enumerate(file.groups):
        count = max(1, min(group.rows, round(group.seconds / PIECE_SECONDS)))
        bounds = [group.rows * place // count for place in range(count + 1)]
        for start, stop in pairwise(bounds):
            yield Piece(file=file.file, group=number, start=start, stop=stop)


def _differing(layout: Layout, old: Provenance, new: Provenance) -> str:
    """Return the sentence that says in what an annotation differs from the one that is there."""
    was, is_now = (json.loads(json.dumps(item.to_dict())) for item in (old, new))
    differing = [name for name in was if name != "facts" and was[name] != is_now[name]]
    telling = [name for name in ("version", "settings", "files") if name in differing] or differing
    facts = " and ".join(
        f"{name} {json.dumps(was[name], sort_keys=True)} instead of {json.dumps(is_now[name], sort_keys=True)}"
        for name in telling
    )
    if differing == ["inputs"]:
        facts = f"other values of {', '.join(sorted(dict(old.inputs.items() ^ new.inputs.items())))}"
    how = f"with {facts}" if facts else "before some of its rows were made anew"
    return f"{layout.root} was annotated with '{new.name}' already, {how}; have it replaced with --replace, or leave it as it is."
