"""What every kind of place keeps to: a disk, the memory of a process, servers of S3 and of Google's language, the Hub."""

import hashlib
import io
import json
import multiprocessing
import threading
import uuid

import pytest

from speechtok.errors import StorageError
from speechtok.hub import push_files
from speechtok.storage import (
    ABSENT,
    as_path,
    copy_bytes,
    download_folder,
    file_sha256,
    is_store,
    put_in_place,
    relative,
    replacing,
    unlink_all,
)
from speechtok.storage.lease import HeldError, leased
from speechtok.storage.stores import forget_stores
from tests.gcs import gcs_server
from tests.s3 import operation

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
CONTENT = bytes(range(256)) * 40
BUCKETS = ("memory", "s3", "gs")


@pytest.fixture(params=["disk", *BUCKETS])
def place(request, tmp_path):
    """A new, empty folder of a kind."""
    if request.param == "disk":
        (tmp_path / "disk").mkdir()
        return tmp_path / "disk"
    return _bucket(request)


@pytest.fixture(params=BUCKETS)
def bucket(request):
    """A new, empty bucket of a kind."""
    return _bucket(request)


def _bucket(request):
    if request.param == "memory":
        return as_path(f"memory://{uuid.uuid4().hex}")
    s3 = request.getfixturevalue("s3")
    if request.param == "s3":
        return s3
    patch, address = request.getfixturevalue("monkeypatch"), request.getfixturevalue("s3_process")
    server = gcs_server(address)
    account = {"gcs_base_url": server.__enter__(), "disable_oauth": True}
    request.addfinalizer(lambda: server.__exit__(None, None, None))
    empty = dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
    patch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(account | empty))
    return as_path(str(s3).replace("s3://", "gs://"))


def _write(path, content):
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def test_what_is_written_is_read(place, tmp_path):
    path = place / "a ü#%" / "b.bin"
    assert not path.exists()
    for content in (CONTENT, b"", CONTENT[::-1]):
        (tmp_path / "file").write_bytes(content)
        put_in_place(tmp_path / "file", path)
        (tmp_path / "file").unlink(missing_ok=True)
        assert path.read_bytes() == content
        assert (path.is_file(), path.is_dir(), path.parent.is_dir()) == (True, False, True)
        assert path.stat().st_size == len(content)
        assert file_sha256(path) == hashlib.sha256(content).hexdigest()
    path.unlink()
    path.unlink(missing_ok=True)
    assert not path.is_file()
    for read in (path.read_bytes, path.stat, lambda: path.open("rb")):
        with pytest.raises(FileNotFoundError):
            read()


def test_many_are_removed_at_once(place, monkeypatch):
    monkeypatch.setattr("speechtok.storage.path.PAGE_KEYS", 3)
    paths = [place / "a ü#%" / f"{number}&.bin" for number in range(7)]
    for path in paths:
        _write(path, CONTENT)
    _write(place / "other", CONTENT)
    unlink_all([*paths[:4], place / "missing", *paths[4:]])
    assert [path.name for path in place.iterdir() if path.is_file()] == ["other"]
    assert not any(path.is_file() for path in paths)
    unlink_all([])


def test_a_store_that_cannot_remove_many(s3, s3_proxy):
    """They are removed one by one, and a refusal is told in a sentence."""
    paths = [s3 / name for name in "abc"]
    for path in paths:
        path.put(CONTENT)
    unlink_all(paths)
    assert [operation(*request) for request in s3_proxy.requests][3:] == ["DeleteObjects"]
    for path in paths:
        path.put(CONTENT)
    s3_proxy.fault = lambda number, method, path: "403" if method == "POST" else None
    unlink_all(paths)
    assert not list(s3.files())
    s3_proxy.fault = lambda number, method, path: "403" if method in ("POST", "DELETE") else None
    with pytest.raises(StorageError, match=r"could not be cleared: the store refuses it"):
        unlink_all(paths)


def test_a_failed_write_leaves_what_was_there(place):
    path = place / "a"
    _write(path, b"old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:  # noqa: PT012
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert [item.name for item in place.iterdir()] == ["a"]


def test_parts_of_a_file(place):
    path = place / "a"
    _write(path, CONTENT)
    for start, size in (
        (0, None),
        (3, 10),
        (len(CONTENT) - 2, 10),
        (len(CONTENT), 4),
        (len(CONTENT) + 9, None),
    ):
        out = io.BytesIO()
        stop = None if size is None else start + size
        assert copy_bytes(path, out, start, size) == len(CONTENT[start:stop])
        assert out.getvalue() == CONTENT[start:stop]
    with path.open("rb") as file:
        file.seek(-7, io.SEEK_END)
        assert file.read() == CONTENT[-7:]
        file.seek(1000)
        assert file.read(5) == CONTENT[1000:1005]
        file.seek(len(CONTENT) + 5)
        assert file.read(3) == b""
    _write(path, "ä\nb\n".encode())
    with path.open("r", encoding="utf-8") as file:
        assert list(file) == ["ä\n", "b\n"]


def test_what_lies_below(place):
    names = ["1", "2 ü", "x/3", "x/y/4", "x#/5", "xy"]
    for name in names:
        _write(place / "a" / name, b"12")
    _write(place / "b", b"")
    found = sorted((path.name, path.is_dir()) for path in (place / "a").iterdir())
    assert found == [("1", False), ("2 ü", False), ("x", True), ("x#", True), ("xy", False)]
    assert sorted(path.name for path in (place / "a").glob("[12]*")) == ["1", "2 ü"]
    assert sorted(path.name for path in place.iterdir()) == ["a", "b"]
    if is_store(str(place)):
        assert [relative(path, place / "a") for path in (place / "a").files()] == sorted(names)
        assert {path.listed.st_size for path in (place / "a").files()} == {2}
        assert list((place / "none").iterdir()) == []
        assert list((place / "a" / "1").files()) == []


def test_listings_tell_changes(bucket):
    path = bucket / "a"
    path.put(b"1")
    (first,) = bucket.files()
    (same,) = bucket.iterdir()
    path.put(b"2")
    (second,) = bucket.files()
    assert first.listed == same.listed != second.listed
    assert bucket.listed is None


def test_conditions(bucket):
    path = bucket / "a"
    first = path.put(b"1", replaces=ABSENT)
    assert first == path.stat().version
    assert path.put(b"2", replaces=ABSENT) is None
    second = path.put(b"3", replaces=first)
    assert second == path.stat().version != first
    assert path.put(b"4", replaces=first) is None
    assert path.read_bytes() == b"3"
    assert (bucket / "b").put(b"5", replaces=first) is None
    assert not (bucket / "b").is_file()


def test_one_of_many_creates(bucket):
    made = []
    threads = [
        threading.Thread(target=lambda n=n: made.append((bucket / "a").put(b"%d" % n, replaces=ABSENT)))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(version is None for version in made) == [False] + [True] * 7


@pytest.mark.parametrize("bucket", ["s3", "gs"], indirect=True)
def test_hashes_are_vouched_for(bucket):
    """As long as the store itself finds what was put, whatever is said beside it."""
    path, sha256 = bucket / "a", hashlib.sha256(CONTENT).hexdigest()
    path.put(CONTENT, sha256=sha256)
    assert path.stat().sha256 == path.stat().stated_sha256 == sha256
    path.put(b"other")
    assert path.stat().sha256 is path.stat().stated_sha256 is None


def test_leases(bucket, monkeypatch):
    monkeypatch.setattr("speechtok.storage.lease.RENEW_SECONDS", 0.1)
    monkeypatch.setattr("speechtok.storage.lease.WATCH_SECONDS", 0.05)
    with leased(bucket / "lock") as lease:
        with pytest.raises(HeldError), leased(bucket / "lock"):
            pass
        lease.check()
    assert (bucket / "lock").read_bytes() == b""


@pytest.mark.parametrize("bucket", ["s3", "gs"], indirect=True)
def test_no_bucket(bucket):
    nowhere = as_path(f"{str(bucket)[:2]}://nowhere-at-all")
    for action in (lambda: list(nowhere.iterdir()), lambda: (nowhere / "a").put(b"")):
        with pytest.raises(
            StorageError, match="there is no bucket 'nowhere-at-all'; create it, or check the name"
        ):
            action()


def _send(path, pipe):
    pipe.send_bytes(path.read_bytes())


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("bucket", ["s3", "gs"], indirect=True)
def test_forked_processes(bucket):
    """Workers that are forked read and write with threads of their own."""
    path = bucket / "a"
    path.put(CONTENT)
    fork = multiprocessing.get_context("fork")
    for _ in range(2):
        ours, theirs = fork.Pipe()
        process = fork.Process(target=_send, args=(path, theirs))
        process.start()
        assert ours.poll(60)
        assert ours.recv_bytes() == CONTENT
        process.join(timeout=60)
        assert process.exitcode == 0
    assert path.read_bytes() == CONTENT


def test_the_hub_is_read(hub, monkeypatch, tmp_path):
    monkeypatch.setenv("SPEECHTOK_CACHE", str(tmp_path / "cache"))
    forget_stores()
    files = {"data/a.txt": b"one", "data/x/b.bin": CONTENT, "c.txt": b"2"}
    for name, content in files.items():
        _write(tmp_path / "set" / name, content)
    push_files("anna/set", {name: tmp_path / "set" / name for name in files})
    place = as_path("hf://datasets/anna/set")
    assert sorted((path.name, path.is_dir()) for path in (place / "data").iterdir()) == [
        ("a.txt", False),
        ("x", True),
    ]
    assert [relative(path, place) for path in (place / "data").files()] == ["data/a.txt", "data/x/b.bin"]
    assert (place / "data" / "a.txt").read_bytes() == b"one"
    path = place / "data" / "x" / "b.bin"
    assert path.stat().st_size == len(CONTENT)
    assert path.stat().sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert path.read_range(3, 9) == CONTENT[3:9]
    assert (download_folder(place / "data") / "x" / "b.bin").read_bytes() == CONTENT
    with pytest.raises(FileNotFoundError):
        (place / "none").read_bytes()
    for change in (lambda: path.put(b"1"), path.unlink):
        with pytest.raises(StorageError, match=r"each file there is a commit; .* with `speechtok push`"):
            change()
    forget_stores()
