"""Where everything lies inside a token dataset, and how files are put there.

    OUT/README.md                                   dataset card
    OUT/data/<split>-00000-of-000NN.parquet         token rows
    OUT/quarantine/<split>.parquet                  inputs that failed
    OUT/dropped/<split>.parquet                     rows of another dataset that a filter left out
    OUT/quarantine/annotations/<split>.parquet      rows that an annotation has no value for
    OUT/manifest.parquet                            what is in each row group of each file
    OUT/.speechtok/plan.json, plan.parquet          the frozen plan
    OUT/.speechtok/listing.parquet                  signs of the files of the corpus, by which changed ones are found
    OUT/.speechtok/parts/0000000.parquet, .json     what workers have made, and the proof, until files are made of it
    OUT/.speechtok/files/<file>.json                the proof of each file of data/, until the manifest is written
    OUT/.speechtok/parts.parquet                    the proofs of all parts of a finished dataset
    OUT/.speechtok/job.json, events.jsonl           the present or last run: place, speed, versions; what happened
    OUT/.speechtok/attempts/                        notes about parts that are being made
    OUT/.speechtok/annotations.json                 what annotations have added, with what settings
    OUT/.speechtok/annotating/                      what annotations have made so far
    OUT/.speechtok/annotated/                       files with new columns, on their way to their places
    OUT/.speechtok/kept.parquet                     while a dataset is updated: which rows are taken over
    OUT/.speechtok/updating/                        an updated dataset that is being made
    OUT/.speechtok/updated/                         a whole one, whose files are on their way to their places
    OUT/.speechtok/tmp/                             files being written

Every file appears whole or not at all: it is written below `tmp`, flushed to disk, then renamed. In an
object store, which cannot rename, it is written on the local disk and then put in one request.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechtok.errors import DatasetError
from speechtok.storage import AnyPath, relative, replacing, temporary_file, unlink_all

SPLIT_NAME = r"\w+(\.\w+)*"
"""What `datasets` accepts as the name of a split; it also becomes part of file names."""
MOST_SPLIT_BYTES = 150
"""Longest name of a split: file systems allow 255 bytes, and numbers, a suffix and a temporary name come on top."""


def is_split(name: Any) -> bool:
    """Return whether a value can be the name of a split, and so a part of file names: it never leads outside."""
    return (
        isinstance(name, str)
        and re.fullmatch(SPLIT_NAME, name) is not None
        and len(name.encode()) <= MOST_SPLIT_BYTES
    )


def check_split(name: Any, source: str | None = None) -> str:
    """Return the name of a split that was read from somewhere.

    Args:
        name: what was read.
        source: the plan that says so, for the message.

    Raises:
        DatasetError: when it cannot be one.
    """
    if not is_split(name):
        where = "" if source is None else f"{source} is no plan that speechtok makes: "
        raise DatasetError(
            f"{where}{name!r} cannot be the name of a split: it may hold letters, digits, underscores and single dots, in at "
            f"most {MOST_SPLIT_BYTES} bytes."
        )
    return str(name)


@dataclass(frozen=True)
class Layout:
    """Paths of one token dataset.

    Those with the name of a split raise `DatasetError` for what cannot be one, wherever the name was read.
    """

    root: AnyPath
    """The folder users call OUT."""

    @property
    def readme(self) -> AnyPath:
        """The dataset card."""
        return self.root / "README.md"

    @property
    def data(self) -> AnyPath:
        """Folder of the token shards."""
        return self.root / "data"

    @property
    def state(self) -> AnyPath:
        """Folder of plan, commit records and temporary files."""
        return self.root / ".speechtok"

    @property
    def plan(self) -> AnyPath:
        """The frozen settings; written last, so a plan with this file is complete."""
        return self.state / "plan.json"

    @property
    def plan_rows(self) -> AnyPath:
        """The frozen utterances."""
        return self.state / "plan.parquet"

    @property
    def listing(self) -> AnyPath:
        """Of each file of the corpus a hash of its name, size and version."""
        return self.state / "listing.parquet"

    @property
    def kept(self) -> AnyPath:
        """Of each planned utterance the row of another dataset that is taken over for it; null where none is."""
        return self.state / "kept.parquet"

    @property
    def updating(self) -> AnyPath:
        """Folder of an updated dataset that is being made."""
        return self.state / "updating"

    @property
    def updated(self) -> AnyPath:
        """Folder of an updated dataset that is to replace this one."""
        return self.state / "updated"

    @property
    def job(self) -> AnyPath:
        """What the present or last run does; local facts, not part of the dataset."""
        return self.state / "job.json"

    @property
    def events(self) -> AnyPath:
        """What happened in all runs; local facts, not part of the dataset."""
        return self.state / "events.jsonl"

    @property
    def lock(self) -> AnyPath:
        """Held while a job writes."""
        return self.state / "lock"

    @property
    def tmp(self) -> AnyPath:
        """Folder of files being written."""
        return self.state / "tmp"

    @property
    def manifest(self) -> AnyPath:
        """What is in each row group of each file; written last, so a dataset with this file is complete."""
        return self.root / "manifest.parquet"

    @property
    def parts(self) -> AnyPath:
        """Folder of the parts and their records."""
        return self.state / "parts"

    @property
    def parts_table(self) -> AnyPath:
        """The records of all parts of a finished dataset."""
        return self.state / "parts.parquet"

    def part(self, number: int) -> AnyPath:
        """The Parquet file of one part."""
        return self.parts / f"{number:07d}.parquet"

    def part_record(self, number: int) -> AnyPath:
        """What proves a part."""
        return self.parts / f"{number:07d}.json"

    def file(self, split: str, index: int, count: int) -> AnyPath:
        """A Parquet file of token rows."""
        return self.data / f"{check_split(split)}-{index:05d}-of-{count:05d}.parquet"

    def file_record(self, file: str) -> AnyPath:
        """What proves a file, given by its path inside the dataset."""
        return self.state / "files" / (file.removeprefix("data/") + ".json")

    def attempts(self, split: str, index: int) -> AnyPath:
        """The note about a part that is being made."""
        return self.state / "attempts" / f"{check_split(split)}-{index:05d}.json"

    def quarantine(self, split: str) -> AnyPath:
        """The Parquet file of the inputs of one split that failed."""
        return self.root / "quarantine" / f"{check_split(split)}.parquet"

    def dropped(self, split: str) -> AnyPath:
        """The Parquet file of the rows of one split of another dataset that were left out."""
        return self.root / "dropped" / f"{check_split(split)}.parquet"

    def annotation_quarantine(self, split: str) -> AnyPath:
        """The Parquet file of the rows of one split that an annotation has no value for."""
        return self.root / "quarantine" / "annotations" / f"{check_split(split)}.parquet"

    @property
    def annotations(self) -> AnyPath:
        """What annotations have added to the rows."""
        return self.state / "annotations.json"

    @property
    def annotating(self) -> AnyPath:
        """Folder of what annotations have made so far."""
        return self.state / "annotating"

    @property
    def annotated(self) -> AnyPath:
        """Folder of files that are to replace those of the dataset: whatever lies in it is what the dataset holds."""
        return self.state / "annotated"

    @property
    def is_moving(self) -> bool:
        """Whether files are on their way to their places; never in an object store, where nothing is moved."""
        return isinstance(self.annotated, Path) and self.annotated.is_dir()

    def current(self, path: AnyPath) -> AnyPath:
        """Return where a file of the dataset lies: in its place, or still on its way there."""
        if not self.is_moving:
            return path
        moving = self.annotated / self.relative(path)
        return moving if moving.is_file() and not moving.is_symlink() else path

    @property
    def links(self) -> list[AnyPath]:
        """Those of its own files and folders that are links: a dataset from elsewhere may lead a writer anywhere."""
        names = ("tmp", "parts", "files", "attempts", "annotating", "annotated", "updating", "updated")
        folders = (self.state, self.data, *(self.state / name for name in names))
        files = (
            self.lock,
            self.job,
            self.events,
            self.plan,
            self.plan_rows,
            self.listing,
            self.kept,
            self.parts_table,
            self.annotations,
            self.manifest,
            self.readme,
        )
        quarantine = self.root / "quarantine"
        listed = (quarantine, quarantine / "annotations", self.root / "dropped")
        return [path for path in (*folders, *listed, *files) if path.is_symlink()]

    def relative(self, path: AnyPath) -> str:
        """Return a path inside the dataset as users see it."""
        return relative(path, self.root)

    def clear_tmp(self) -> None:
        """Remove what interrupted writers left behind; nothing is ever left in a store."""
        if isinstance(self.tmp, Path):
            shutil.rmtree(self.tmp, ignore_errors=True)

    def clear_attempts(self) -> None:
        """Remove the notes about shards; for when all are done."""
        folder = self.state / "attempts"
        if isinstance(folder, Path):
            shutil.rmtree(folder, ignore_errors=True)
        else:
            unlink_all(folder.iterdir())

    def replacing(self, path: AnyPath) -> AbstractContextManager[Path]:
        """Give a temporary path that becomes `path`, see `speechtok.storage.replacing`."""
        return replacing(path, self.tmp)

    def temporary(self, path: AnyPath) -> AbstractContextManager[Path]:
        """Give a local path where the file that will be `path` is written; it vanishes with the block."""
        return temporary_file(path, self.tmp)


def write_json(layout: Layout, path: AnyPath, content: Mapping[str, Any]) -> None:
    """Write a small JSON file, whole or not at all."""
    with layout.replacing(path) as temporary:
        temporary.write_bytes(json_bytes(content))


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """Return a small JSON file as its bytes, the same for the same content."""
    return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def is_there(path: AnyPath) -> bool:
    """Return whether there is such a file.

    Raises:
        DatasetError: when that cannot be found out; only what is not there is missing.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be read ({error}), so nothing can be said about it; make it readable and run the same command again."
        ) from error
    return True
