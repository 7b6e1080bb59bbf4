"""Where everything lies inside a token dataset, and how files are put there.

    OUT/README.md                                   dataset card
    OUT/data/<split>-00000-of-000NN.parquet         token rows
    OUT/quarantine/<split>.parquet                  inputs that failed
    OUT/.speechtok/plan.json, plan.parquet          the frozen plan
    OUT/.speechtok/shards/<split>-00000.json        one commit record per shard
    OUT/.speechtok/job.json, events.jsonl           the present or last run: place, speed, versions; what happened
    OUT/.speechtok/attempts/                        notes about shards that are being made
    OUT/.speechtok/tmp/                             files being written

Every file appears whole or not at all: it is written below `tmp`, flushed to disk, then renamed. In an
object store, which cannot rename, it is written on the local disk and then put in one request.
"""

from __future__ import annotations

import re
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechtok.errors import DatasetError
from speechtok.storage import AnyPath, relative, replacing, temporary_file

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

    def shard(self, split: str, index: int, count: int) -> AnyPath:
        """The Parquet file of one shard."""
        return self.data / f"{check_split(split)}-{index:05d}-of-{count:05d}.parquet"

    def record(self, split: str, index: int) -> AnyPath:
        """The commit record of one shard."""
        return self.state / "shards" / f"{check_split(split)}-{index:05d}.json"

    def attempts(self, split: str, index: int) -> AnyPath:
        """The note about a shard that is being made."""
        return self.state / "attempts" / f"{check_split(split)}-{index:05d}.json"

    def quarantine(self, split: str) -> AnyPath:
        """The Parquet file of the inputs of one split that failed."""
        return self.root / "quarantine" / f"{check_split(split)}.parquet"

    @property
    def links(self) -> list[AnyPath]:
        """Those of its own files and folders that are links: a dataset from elsewhere may lead a writer anywhere."""
        folders = (self.state, self.tmp, self.state / "shards", self.state / "attempts", self.data)
        files = (self.lock, self.job, self.events, self.plan, self.plan_rows, self.readme)
        return [path for path in (*folders, self.root / "quarantine", *files) if path.is_symlink()]

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
            return
        for note in folder.iterdir():
            note.unlink(missing_ok=True)

    def replacing(self, path: AnyPath) -> AbstractContextManager[Path]:
        """Give a temporary path that becomes `path`, see `speechtok.storage.replacing`."""
        return replacing(path, self.tmp)

    def temporary(self, path: AnyPath) -> AbstractContextManager[Path]:
        """Give a local path where the file that will be `path` is written; it vanishes with the block."""
        return temporary_file(path, self.tmp)
