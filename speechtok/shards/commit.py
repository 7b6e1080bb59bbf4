"""Commit a shard: put its file in place, then the record that proves it.

On a disk the file is renamed into place, and a lock keeps other jobs away. In an object store nothing
can be renamed, and a worker that was given up may still be writing, so each put states what it expects
to find:

1. The file is created if it is not there. If it is there with the same content, nothing is to do. If it
   is there with other content, and a commit record says that this content is right, then somebody
   else has finished the shard, and theirs stays, unless it is the one to be replaced. Otherwise it is what a dead run left, and is replaced,
   provided that it is still the same version.
2. The record is created if it is not there. A record of the same content is as good; one of other
   content names a file that is gone since step 1, and is replaced, provided that it is still the same
   version.

Whatever loses such a race begins again at step 1. So a committed shard is never overwritten, file and
record agree in the end, and a put whose answer was lost can be made again.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from speechtok.shards.layout import Layout
from speechtok.shards.plan import ShardRecord, json_bytes, read_record, write_record
from speechtok.storage import ABSENT, StorePath, file_sha256, put_in_place


def commit(
    layout: Layout, temporary: Path, record: ShardRecord, *, instead_of: ShardRecord | None = None
) -> ShardRecord:
    """Put a finished shard in place and record it.

    Args:
        layout: the dataset.
        temporary: the shard's file, from `layout.temporary`.
        record: what it holds.
        instead_of: a committed shard that this one is to replace, because its failures were tried again.

    Returns:
        The record that is in place: another one when somebody else has finished the shard meanwhile.
    """
    path, proof = layout.root / record.file, layout.record(record.split, record.index)
    if not isinstance(path, StorePath) or not isinstance(proof, StorePath):
        put_in_place(temporary, path)
        write_record(layout, record)
        return record
    content = json_bytes(asdict(record))
    while True:
        theirs = _put_shard(layout, path, temporary, record, instead_of)
        if theirs is not None:
            return theirs
        if _put_record(proof, content):
            return record


def _put_shard(
    layout: Layout, path: StorePath, temporary: Path, record: ShardRecord, instead_of: ShardRecord | None
) -> ShardRecord | None:
    """Let the file be in place; returns the record of somebody who has finished the shard otherwise."""
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
        theirs = read_record(layout, record.split, record.index)
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
