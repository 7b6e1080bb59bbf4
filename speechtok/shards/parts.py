"""Parts: what workers commit, one for each shard of the plan, until all are joined into the files of `data/`.

A part is a Parquet file of token rows and a record that proves it: file first, record last. On a disk the file is
renamed into place, and a lock keeps other jobs away. In an object store nothing can be renamed, and a worker that was
given up may still be writing, so each put states what it expects to find:

1. The file is created if it is not there. If it is there with the same content, nothing is to do. If it
   is there with other content, and a record says that this content is right, then somebody
   else has finished the part, and theirs stays, unless it is the one to be replaced. Otherwise it is what a dead run left, and is replaced,
   provided that it is still the same version.
2. The record is created if it is not there. A record of the same content is as good; one of other
   content names a file that is gone since step 1, and is replaced, provided that it is still the same
   version.

Whatever loses such a race begins again at step 1. So a committed part is never overwritten, file and
record agree in the end, and a put whose answer was lost can be made again.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from speechtok import limits
from speechtok.errors import DatasetError
from speechtok.shards.layout import Layout, is_split, json_bytes, write_json
from speechtok.storage import ABSENT, AnyPath, StorePath, file_sha256, put_in_place

RECORD_BYTES = 256 * limits.MIB
"""Length of a record; each quarantined input takes some hundred bytes, and a part may have many thousand."""
LARGEST = 1 << 60
"""Rows, bytes and seconds of a part stay below."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One input that was quarantined."""

    id: str
    """Id of the utterance."""
    audio: str
    """Its recording."""
    stage: str
    """Where it failed: "read", "encode", or "crash" for one that ended its process."""
    error: str
    """Type of the error."""
    message: str
    """The error's sentence."""


@dataclass(frozen=True, kw_only=True)
class SplitRecord:
    """The rows of one split in a part; those of several splits follow each other."""

    split: str
    """Name of the split."""
    rows: int
    """Token rows."""
    seconds: float
    """Seconds of audio in them."""
    quarantined: tuple[Failure, ...] = field(default=())
    """Inputs that failed, in plan order."""


@dataclass(frozen=True, kw_only=True)
class PartRecord:
    """Proof that a part is complete."""

    number: int
    """Number of its shard in the plan, over all splits."""
    sha256: str
    """Hash of its Parquet file."""
    bytes: int
    """Size of that file."""
    splits: tuple[SplitRecord, ...]
    """What is in it, in the order of its rows."""

    @property
    def rows(self) -> int:
        """Token rows in it."""
        return sum(item.rows for item in self.splits)

    @property
    def seconds(self) -> float:
        """Seconds of audio in it."""
        return sum(item.seconds for item in self.splits)

    @property
    def quarantined(self) -> tuple[Failure, ...]:
        """Inputs that failed, in plan order."""
        return tuple(failure for item in self.splits for failure in item.quarantined)


def part_record(
    number: int, file: Path, split: str, *, rows: int, seconds: float, quarantined: tuple[Failure, ...] = ()
) -> PartRecord:
    """Return the record of a part of one split, whose file was just written."""
    contents = SplitRecord(split=split, rows=rows, seconds=seconds, quarantined=quarantined)
    return PartRecord(number=number, sha256=file_sha256(file), bytes=file.stat().st_size, splits=(contents,))


def parse_record(content: bytes | str, number: int) -> PartRecord | None:
    """Return the record that a JSON text holds; None for one that proves nothing about this part."""
    try:
        values = json.loads(content)
        splits = tuple(
            SplitRecord(**{**item, "quarantined": tuple(Failure(**one) for one in item["quarantined"])})
            for item in values["splits"]
        )
        record = PartRecord(**{**values, "splits": splits})
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    parts = [record, *splits, *record.quarantined] if all(map(has_its_types, splits)) else []
    is_sound = (
        bool(parts)
        and all(map(has_its_types, parts))
        and record.number == number
        and all(is_split(item.split) for item in splits)
        and all(0 <= value < LARGEST for item in splits for value in (item.rows, item.seconds))
        and 0 <= record.bytes < LARGEST
    )
    return record if is_sound else None


def has_its_types(item: Any) -> bool:
    """Return whether text and numbers are what the fields of a record say."""
    kinds = {"str": str, "int": int, "float": int | float}
    return all(
        isinstance(getattr(item, spec.name), kinds.get(str(spec.type), object))
        and not isinstance(getattr(item, spec.name), bool)
        for spec in fields(item)
    )


def read_part(layout: Layout, number: int) -> PartRecord | None:
    """Return a part's record; None when there is none, or a damaged one, which proves nothing.

    Raises:
        DatasetError: when there may be one, and the file system does not let it be read.
    """
    content = read_small(layout.part_record(number))
    return None if content is None else parse_record(content, number)


def read_small(path: AnyPath) -> bytes | None:
    """Return a record's content; None when there is no such file.

    Raises:
        DatasetError: when there may be one, and the file system does not let it be read.
    """
    try:
        if isinstance(path, Path):
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                raise OSError("it is no regular file")
            if found.st_size > RECORD_BYTES:
                raise OSError("it is far longer than any")
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be read ({error.strerror or error}), so nothing can be said about what it proves; "
            "mend that and run the same command again."
        ) from error


def is_intact(path: AnyPath, size: int, sha256: str) -> bool:
    """Return whether a file is there with its size and hash; one whose hash a store reckons itself is not read."""
    if path.is_symlink():
        return False
    try:
        head = path.stat()
    except FileNotFoundError:
        return False
    if head.st_size != size:
        return False
    reckoned = getattr(head, "sha256", None)
    return bool((reckoned if reckoned is not None else file_sha256(path)) == sha256)


def commit(
    layout: Layout, temporary: Path, record: PartRecord, *, instead_of: PartRecord | None = None
) -> PartRecord:
    """Put a finished part in place and record it.

    Args:
        layout: the dataset.
        temporary: the part's file, from `layout.temporary`.
        record: what it holds.
        instead_of: a committed part that this one is to replace, because its failures were tried again.

    Returns:
        The record that is in place: another one when somebody else has finished the part meanwhile.
    """
    path, proof = layout.part(record.number), layout.part_record(record.number)
    content: Mapping[str, Any] = asdict(record)
    if not isinstance(path, StorePath) or not isinstance(proof, StorePath):
        put_in_place(temporary, path)
        write_json(layout, proof, content)
        return record
    while True:
        theirs = _put_part(layout, path, temporary, record, instead_of)
        if theirs is not None:
            return theirs
        if _put_record(proof, json_bytes(content)):
            return record


def _put_part(
    layout: Layout, path: StorePath, temporary: Path, record: PartRecord, instead_of: PartRecord | None
) -> PartRecord | None:
    """Let the file be in place; returns the record of somebody who has finished the part otherwise."""
    expected = ABSENT
    while path.put(temporary, sha256=record.sha256, replaces=expected) is None:
        try:
            head = path.stat()
        except FileNotFoundError:
            expected = ABSENT
            continue
        found = head.sha256 or file_sha256(path)
        if found == record.sha256:
            return None
        theirs = read_part(layout, record.number)
        if theirs is not None and theirs.sha256 == found and theirs != instead_of:
            return theirs
        expected = head.version
    return None


def _put_record(proof: StorePath, content: bytes) -> bool:
    """Return whether the record is in place; False when another one appeared in this moment."""
    if proof.put(content, replaces=ABSENT) is not None:
        return True
    try:
        version = proof.stat().version
        if proof.read_bytes() == content:
            return True
    except FileNotFoundError:
        return False
    return proof.put(content, replaces=version) is not None
