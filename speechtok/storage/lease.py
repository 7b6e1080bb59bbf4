"""A lease: the lock of a folder in an object store, where files cannot be locked.

The lease is one small object that names its owner. It is created only if it is not there, renewed every
`RENEW_SECONDS` by its owner, and emptied in the end; each write states which version it replaces, so of
two claimants one wins. A claimant who finds it owned watches it: whoever has not renewed it for
`STALE_SECONDS` of the claimant's own, monotonic clock is taken to be dead, and the lease is taken
over. No two clocks are compared. An owner of the same machine whose process has ended is known to be dead
at once.

An owner who was taken over finds out at the next renewal. What it still writes until then does no harm:
shards and commit records are conditional puts of their own.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from speechtok.errors import SpeechtokError, StorageError
from speechtok.storage.path import StorePath
from speechtok.storage.stores import ABSENT

RENEW_SECONDS = 10.0
"""How often an owner renews its lease."""
STALE_SECONDS = 45.0
"""After how long without renewal an owner is taken to be dead."""
WATCH_SECONDS = 1.0
"""How often a claimant looks at a lease that is owned."""


_LIVE: set[str] = set()
"""Owners in this process."""


class HeldError(Exception):
    """Somebody else owns the lease and is alive; the text says who."""


class Lease:
    """One claim on a lease; `check` raises once it was lost."""

    def __init__(self, path: StorePath) -> None:
        self._path = path
        self._owner = {"owner": uuid.uuid4().hex, "host": socket.gethostname(), **_process()}
        self._version = ABSENT
        self._count = 0
        self._lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def check(self) -> None:
        """Raise when another job has taken the lease over.

        Raises:
            StorageError: then this job must stop.
        """
        if self._lost:
            raise StorageError(
                f"Another job took over {self._path.parent.parent}, since this one was not heard of for "
                f"{STALE_SECONDS:g} s; let that one finish, then run the same command again."
            )

    def acquire(self) -> None:
        """Claim the lease, waiting until a dead owner is known to be dead.

        Raises:
            HeldError: when its owner is alive.
        """
        while not self._write(self._version):
            content, version = _read(self._path)
            if not content or _is_dead(content) or self._outlasts(version):
                self._version = version
                continue
            raise HeldError(
                f"on {content.get('host', 'another machine')}, process {content.get('process', '?')}"
            )
        _LIVE.add(self._owner["owner"])
        self._thread.start()

    def release(self) -> None:
        """End the claim; the next claimant need not wait."""
        self._ended.set()
        self._thread.join()
        _LIVE.discard(self._owner["owner"])
        if not self._lost:
            self._path.put(b"", replaces=self._version)

    def _write(self, replaces: str) -> bool:
        """Write the lease if it still has a version, and note the version it has then."""
        self._count += 1
        content = json.dumps({**self._owner, "renewals": self._count}, sort_keys=True).encode()
        version = self._path.put(content, replaces=replaces)
        if version is None:
            found, there = _read(self._path)  # an earlier try may have arrived whose answer did not
            version = there if found == json.loads(content) else None
        self._version = version or self._version
        return version is not None

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_SECONDS):
            try:
                self._lost = not self._write(self._version)
            except SpeechtokError:
                continue  # the store is away for longer; whoever takes over meanwhile shows in the next try
            if self._lost:
                return

    def _outlasts(self, version: str) -> bool:
        """Return whether a lease stays as it is for so long that its owner must be dead."""
        begun = time.monotonic()
        while time.monotonic() - begun < STALE_SECONDS:
            time.sleep(WATCH_SECONDS)
            if _read(self._path)[1] != version:
                return not _read(self._path)[0]
        return True


@contextmanager
def leased(path: StorePath) -> Iterator[Lease]:
    """Hold the lease while the block runs.

    Raises:
        HeldError: when somebody else holds it.
        StorageError: when the store cannot be used.
    """
    lease = Lease(path)
    lease.acquire()
    try:
        yield lease
    except BaseException:
        with suppress(
            StorageError
        ):  # what went wrong first is to be told; others will see that nobody renews
            lease.release()
        raise
    lease.release()


def _read(path: StorePath) -> tuple[dict[str, Any], str]:
    """Return a lease and its version; a free or unreadable one is empty."""
    try:
        head, content = path.stat(), path.read_bytes()
    except FileNotFoundError:
        return {}, ABSENT
    try:
        found = json.loads(content)
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}, head.version


def _process() -> dict[str, Any]:
    """Return what tells this process from every other, as far as the system says."""
    return {"process": os.getpid(), "machine": _machine(), "started": _started(os.getpid())}


def _is_dead(owner: dict[str, Any]) -> bool:
    """Return whether an owner was a process of this machine that has ended, or a job that has in this one."""
    if owner.get("machine") is None or owner["machine"] != _machine():
        return False
    if owner.get("process") == os.getpid() and owner.get("owner") not in _LIVE:
        return True
    return _started(owner.get("process", 0)) != owner.get("started")


def _machine() -> str | None:
    """Return what tells this boot and its table of processes from every other, None where nothing does."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}-{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return None


def _started(process: int) -> str | None:
    """Return when a process began, in the system's own unit, or None when it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else fields[19]
