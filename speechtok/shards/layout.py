"""Where everything lies inside a token dataset, and how files are put there.

    OUT/README.md                                   dataset card
    OUT/data/<split>-00000-of-000NN.parquet         token rows
    OUT/quarantine/<split>.parquet                  inputs that failed
    OUT/.speechtok/plan.json, plan.parquet          the frozen plan
    OUT/.speechtok/shards/<split>-00000.json        one commit record per shard
    OUT/.speechtok/job.json, events.jsonl           the present or last run: place, speed, versions; what happened
    OUT/.speechtok/attempts/                        notes about shards that are being made
    OUT/.speechtok/tmp/                             files being written

Every file appears whole or not at all: it is written below `tmp`, flushed to disk, then renamed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """Paths of one token dataset."""

    root: Path
    """The folder users call OUT."""

    @property
    def readme(self) -> Path:
        """The dataset card."""
        return self.root / "README.md"

    @property
    def data(self) -> Path:
        """Folder of the token shards."""
        return self.root / "data"

    @property
    def state(self) -> Path:
        """Folder of plan, commit records and temporary files."""
        return self.root / ".speechtok"

    @property
    def plan(self) -> Path:
        """The frozen settings; written last, so a plan with this file is complete."""
        return self.state / "plan.json"

    @property
    def plan_rows(self) -> Path:
        """The frozen utterances."""
        return self.state / "plan.parquet"

    @property
    def job(self) -> Path:
        """What the present or last run does; local facts, not part of the dataset."""
        return self.state / "job.json"

    @property
    def events(self) -> Path:
        """What happened in all runs; local facts, not part of the dataset."""
        return self.state / "events.jsonl"

    @property
    def lock(self) -> Path:
        """Held while a job writes."""
        return self.state / "lock"

    @property
    def tmp(self) -> Path:
        """Folder of files being written."""
        return self.state / "tmp"

    def shard(self, split: str, index: int, count: int) -> Path:
        """The Parquet file of one shard."""
        return self.data / f"{split}-{index:05d}-of-{count:05d}.parquet"

    def record(self, split: str, index: int) -> Path:
        """The commit record of one shard."""
        return self.state / "shards" / f"{split}-{index:05d}.json"

    def attempts(self, split: str, index: int) -> Path:
        """The note about a shard that is being made."""
        return self.state / "attempts" / f"{split}-{index:05d}.json"

    def quarantine(self, split: str) -> Path:
        """The Parquet file of the inputs of one split that failed."""
        return self.root / "quarantine" / f"{split}.parquet"

    def relative(self, path: Path) -> str:
        """Return a path inside the dataset as users see it."""
        return path.relative_to(self.root).as_posix()

    def clear_tmp(self) -> None:
        """Remove what interrupted writers left behind."""
        shutil.rmtree(self.tmp, ignore_errors=True)

    def clear_attempts(self) -> None:
        """Remove the notes about shards; for when all are done."""
        shutil.rmtree(self.state / "attempts", ignore_errors=True)

    def replacing(self, path: Path) -> AbstractContextManager[Path]:
        """Give a temporary path that becomes `path`, see `replacing`."""
        return replacing(path, self.tmp)


@contextmanager
def replacing(path: Path, tmp: Path) -> Iterator[Path]:
    """Give a temporary path that becomes `path` when the block ends well, and vanishes otherwise.

    A block that removes the temporary file itself leaves `path` as it was.

    Args:
        path: the file to write.
        tmp: folder for the temporary file, on the same filesystem.
    """
    tmp.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = tmp / f".{path.name}.{uuid.uuid4().hex}"
    try:
        yield temporary
        if temporary.exists():
            _flush(temporary)
            temporary.replace(path)
            _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """Return the hash of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Force a file, or a folder's entries, to disk: a rename must not outlive its content."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
