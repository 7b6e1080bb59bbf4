"""One job writes to an output at a time."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import filelock

from speechtok.errors import JobError
from speechtok.shards.annotated import settle
from speechtok.shards.layout import Layout
from speechtok.shards.updated import settle_update
from speechtok.storage import StorePath
from speechtok.storage.lease import HeldError, leased


@contextmanager
def output_lock(layout: Layout) -> Iterator[Callable[[], None]]:
    """Keep the output for one job, and turn what the filesystem refuses into a sentence.

    Gives a function that raises `StorageError` when the lock was lost, which happens in object stores
    only, see `speechtok.storage.lease`.
    """
    try:
        if isinstance(layout.lock, StorePath):
            with leased(layout.lock) as lease:
                yield lease.check
                lease.check()
            return
        check_output(layout)
        layout.lock.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(layout.lock, timeout=0):
            layout.clear_tmp()
            settle(layout)
            settle_update(layout)
            try:
                yield lambda: None
            finally:
                layout.clear_tmp()
    except filelock.Timeout:
        raise JobError(
            f"Another job is writing to {layout.root}; wait for it or use another output folder."
        ) from None
    except HeldError as error:
        raise JobError(
            f"Another job is writing to {layout.root} ({error}); wait for it or use another output folder."
        ) from None
    except OSError as error:
        raise JobError(unwritten(error, layout)) from error


def unwritten(error: OSError, layout: Layout) -> str:
    """Return the sentence of an output that cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = "Free some space and run the same command again; finished shards are kept."
    else:
        advice = "Choose a folder you can write to, or mend it and run the same command again."
    return f"{error.filename or layout.root} cannot be written: {error.strerror or error}. {advice}"


def check_output(layout: Layout) -> None:
    """Raise `JobError` for a place where no job may write."""
    if str(layout.root).startswith("hf://"):
        raise JobError(
            f"{layout.root} cannot be the output of a job: each file there is a commit, and the Hub takes about a hundred an "
            "hour; write to a folder or a bucket, and publish what is finished with `speechtok push`."
        )
    is_there = layout.root.is_dir()
    if not is_there and layout.root.exists():
        raise JobError(f"{layout.root} is a file; the output must be a folder.")
    if is_there and not layout.state.is_dir() and any(layout.root.iterdir()):
        raise JobError(f"{layout.root} is not empty and holds no token dataset; use a new or empty folder.")
    if layout.links:
        raise JobError(
            f"{layout.links[0]} is a link, which a job does not follow; put what it leads to in its place, or use another "
            "output folder."
        )
