"""Of several claimants one holds a lease; a dead one does not keep it."""

import json
import threading

import pytest

from speechtok.errors import StorageError
from speechtok.storage.lease import HeldError, Lease, leased
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    for name, seconds in {"RENEW_SECONDS": 0.1, "WATCH_SECONDS": 0.05}.items():
        monkeypatch.setattr(f"speechtok.storage.lease.{name}", seconds)


@pytest.fixture
def path(s3):
    return s3 / "out" / ".speechtok" / "lock"


def test_one_at_a_time(path):
    with leased(path) as lease:
        with pytest.raises(HeldError, match="process"):
            Lease(path).acquire()
        lease.check()
        assert json.loads(path.read_bytes())["host"]
    assert path.read_bytes() == b""
    with leased(path):
        pass


def test_one_of_many_wins(path):
    held, refused = [], []

    def claim():
        try:
            with leased(path):
                held.append(1)
                done.wait(timeout=120)
        except HeldError:
            refused.append(1)

    done = threading.Event()
    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads[1:]:
        thread.join(timeout=0.5)
    wait_until(lambda: len(held) + len(refused) == 4)
    done.set()
    for thread in threads:
        thread.join(timeout=60)
    assert (len(held), len(refused)) == (1, 3)


@pytest.mark.parametrize(
    "owner",
    [
        {"owner": "x", "host": "elsewhere", "process": 1, "machine": "another", "started": "1"},
        {"owner": "x"},
    ],
)
def test_stale_owner(path, owner, monkeypatch):
    """An owner on another machine who does not renew is given up after a while."""
    monkeypatch.setattr("speechtok.storage.lease.STALE_SECONDS", 0.8)
    path.put(json.dumps(owner).encode())
    with leased(path) as lease:
        lease.check()


def test_ended_owner(path, monkeypatch, run_python):
    """An owner whose process has ended on this machine is given up at once."""
    monkeypatch.setattr("speechtok.storage.lease.STALE_SECONDS", 1e9)
    run_python(
        "import os, sys; from speechtok.storage import as_path; from speechtok.storage.lease import Lease\n"
        "Lease(as_path(sys.argv[1])).acquire(); os._exit(0)",
        path,
    )
    assert path.read_bytes()
    with leased(path):
        pass


def test_damaged_lease_is_free(path):
    path.put(b"{")
    with leased(path):
        pass


def is_lost(lease):
    try:
        lease.check()
    except StorageError:
        return True
    return False


def test_owner_that_was_taken_over(path):
    with leased(path) as lease:
        path.put(b'{"owner": "somebody else"}')
        wait_until(lambda: is_lost(lease))
        with pytest.raises(StorageError, match="Another job took over s3://"):
            lease.check()
    assert path.read_bytes() == b'{"owner": "somebody else"}'
