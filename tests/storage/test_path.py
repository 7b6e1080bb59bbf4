"""`StorePath` against a real S3 server, and the sentences of its faults."""

import hashlib
import io
import pickle
import sys

import pytest

from speechtok.cli import main
from speechtok.errors import StorageError
from speechtok.storage import (
    ABSENT,
    as_path,
    copy_bytes,
    download_folder,
    file_sha256,
    join,
    local_copy,
    relative,
)
from speechtok.storage.stores import forget_stores
from tests.s3 import overwrite, put_key


def test_objects(s3):
    path = s3 / "a" / "b.txt"
    assert not path.exists()
    assert path.put(b"one") is not None
    assert path.read_bytes() == b"one"
    assert path.is_file()
    assert not path.is_dir()
    assert (s3 / "a").is_dir()
    assert path.stat().st_size == 3
    path.unlink()
    path.unlink()
    assert not path.is_file()
    for read in (path.read_bytes, path.stat, lambda: path.open("rb")):
        with pytest.raises(FileNotFoundError):
            read()


def test_conditional_puts(s3):
    path = s3 / "a"
    first = path.put(b"1", replaces=ABSENT)
    assert first is not None
    assert path.put(b"2", replaces=ABSENT) is None
    second = path.put(b"3", replaces=first)
    assert second not in (None, first)
    assert path.put(b"4", replaces=first) is None
    assert path.read_bytes() == b"3"
    assert (s3 / "b").put(b"5", replaces=first) is None
    assert not (s3 / "b").is_file()


def test_names():
    path = as_path("s3://bucket/a/b.c.wav")
    assert (path.name, path.stem, path.suffix) == ("b.c.wav", "b.c", ".wav")
    assert str(path.parent) == "s3://bucket/a"
    assert str(path.parent.parent.parent) == "s3://bucket"
    assert str(path / "../x/./y") == "s3://bucket/a/x/y".replace("/a/x", "/a/x")
    assert path.relative_to(as_path("s3://bucket")).as_posix() == "a/b.c.wav"
    assert path.is_relative_to(path.parent)
    assert path.is_relative_to(path)
    assert not path.is_relative_to(as_path("gs://bucket"))
    assert not path.is_relative_to(as_path("s3://bucket/a/b"))
    assert pickle.loads(pickle.dumps(path)) == path
    with pytest.raises(ValueError, match="is not below"):
        relative(path, as_path("/tmp"))


def test_join(tmp_path):
    assert join(tmp_path, "s3://b/c.wav") == as_path("s3://b/c.wav")
    assert join(as_path("s3://b"), "/c.wav") == as_path("/c.wav")
    assert join(as_path("s3://b/d"), "../c.wav") == as_path("s3://b/c.wav")
    assert join(tmp_path, "c.wav") == tmp_path / "c.wav"


def test_listing(s3):
    for name in ("a/1", "a/2 ü", "a/x/3", "a/x/y/4", "a#/5", "b%20%.c"):
        (s3 / name).put(b"")
    assert [path.name for path in (s3 / "a").iterdir()] == ["1", "2 ü", "x"]
    assert [path.is_dir() for path in (s3 / "a").iterdir()] == [False, False, True]
    put_key(s3, "a/x/", b"")  # what other tools leave for a folder
    put_key(s3, "a/y/", b"")
    (s3 / "b").put(b"12")
    found = [path.relative_to(s3).as_posix() for path in s3.files()]
    assert found == ["a#/5", "a/1", "a/2 ü", "a/x/3", "a/x/y/4", "b", "b%20%.c"]
    assert [path.name for path in (s3 / "a").glob("[12]*")] == ["1", "2 ü"]
    listed = next((s3 / "b").parent.glob("b")).listed
    assert (listed.st_size, listed.version) == (2, (s3 / "b").stat().version)
    assert list((s3 / "none").iterdir()) == []
    assert (s3 / "empty").put(b"") is not None


def test_reading(s3, tmp_path):
    content = bytes(range(256)) * 5000
    path = s3 / "big"
    path.put(content, sha256=hashlib.sha256(content).hexdigest())
    assert path.stat().sha256 == path.stat().stated_sha256 == file_sha256(path)
    (s3 / "small").put(b"1")
    assert (s3 / "small").stat().sha256 is (s3 / "small").stat().stated_sha256 is None
    overwrite(path, content[::-1])
    assert path.stat().sha256 is None
    assert path.stat().stated_sha256 == hashlib.sha256(content).hexdigest()
    overwrite(path, content)
    with path.open("rb") as file:
        assert file.seek(-7, io.SEEK_END) == len(content) - 7
        assert file.read() == content[-7:]
        file.seek(1000)
        assert file.read(5) == content[1000:1005]
        assert file.read(2_000_000) == content[1005:]
        assert file.read() == b""
    assert path.read_range(len(content), len(content) + 5) == b""
    for start, size in ((0, None), (3, 10), (len(content) - 2, 10)):
        out = io.BytesIO()
        stop = None if size is None else start + size
        assert copy_bytes(path, out, start, size) == len(content[start:stop])
        assert out.getvalue() == content[start:stop]
    with local_copy(path) as copy:
        assert copy.read_bytes() == content
    assert not copy.exists()
    (tmp_path / "same").write_bytes(content)
    assert file_sha256(path) == file_sha256(tmp_path / "same")
    (s3 / "text").put("ä\r\nb".encode())
    assert list((s3 / "text").open(encoding="utf-8", newline="")) == ["ä\r\n", "b"]
    with pytest.raises(ValueError, match="objects are opened for reading only"):
        path.open("wb")


def test_download_folder(s3):
    """A folder is fetched once, kept, and brought up to date file by file."""
    folder = s3 / "weights"
    (folder / "a" / "one.bin").put(b"1")
    (folder / "two.bin").put(b"2", sha256="d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35")
    copy = download_folder(folder)
    assert {path.relative_to(copy).as_posix() for path in copy.rglob("*.bin")} == {"a/one.bin", "two.bin"}
    stamp = (copy / "two.bin").stat().st_mtime_ns
    (folder / "a" / "one.bin").put(b"new")
    assert download_folder(folder) == copy
    assert (copy / "a" / "one.bin").read_bytes() == b"new"
    assert (copy / "two.bin").stat().st_mtime_ns == stamp
    (folder / "a" / "one.bin").unlink()
    download_folder(folder)
    assert not (copy / "a" / "one.bin").exists()
    overwrite(folder / "two.bin", b"3")
    with pytest.raises(
        StorageError, match=r"two\.bin arrived damaged: its sha256 is not the one stored with it"
    ):
        download_folder(folder)
    with pytest.raises(StorageError, match=r"There is nothing at s3://.*/nothing; check the address"):
        download_folder(s3 / "nothing")


@pytest.mark.parametrize("fault", ["500", "503", "reset", "lost"])
def test_faults_pass(s3, s3_proxy, fault):
    path = s3 / "a"
    s3_proxy.fault = lambda number, method, path: fault if number % 3 else None
    assert path.put(b"1") is not None
    assert path.read_bytes() == b"1"
    assert [item.name for item in s3.iterdir()] == ["a"]
    assert s3_proxy.counts[fault] >= 5


def test_a_put_whose_answer_was_lost(s3, s3_proxy):
    """It is made again, and then finds what it made itself."""
    s3_proxy.fault = lambda number, method, path: "lost" if number == 1 else None
    assert (s3 / "a").put(b"1", replaces=ABSENT) is None
    assert (s3 / "a").read_bytes() == b"1"


def test_a_fault_that_stays(s3, s3_proxy, monkeypatch):
    monkeypatch.setattr("speechtok.storage.stores.ATTEMPTS", 3)
    s3_proxy.fault = lambda number, method, path: "503"
    with pytest.raises(
        StorageError,
        match=r"s3://\w+/a could not be read: .* often it was asked \(SlowDown\)\. Finished work",
    ):
        (s3 / "a").read_bytes()
    assert s3_proxy.counts["503"] == 3


def test_refused(s3, s3_proxy):
    s3_proxy.fault = lambda number, method, path: "403"
    for action in ((s3 / "a").read_bytes, lambda: (s3 / "a").put(b""), lambda: list(s3.iterdir())):
        with pytest.raises(
            StorageError, match=r"the store refuses it \(AccessDenied\); check that the credentials"
        ):
            action()
    with pytest.raises(StorageError, match=r"the store refuses it \(status 403\)"):
        (s3 / "a").stat()
    assert s3_proxy.counts["403"] == 4


@pytest.mark.parametrize("place", ["127.0.0.1:9", "127.0.0.1:99999", "no host"])
def test_passwords_of_an_endpoint_are_not_told(s3, monkeypatch, capsys, caplog, place):
    """Neither the sentence nor the trace of --verbose tells the address with what it holds."""
    monkeypatch.setattr("speechtok.storage.stores.ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://me:sesame-99@{place}")
    forget_stores()
    assert main.run(["verify", f"{s3}/out", "--verbose"]) == 1
    said = capsys.readouterr()
    assert f"speechtok: {s3}/out/.speechtok/plan.json could not be read: " in said.err
    assert "sesame" not in said.err + said.out + caplog.text


def test_answers_without_end(s3, s3_proxy, monkeypatch, tmp_path):
    """No more is taken than was asked for, or than a small file may have."""
    monkeypatch.setattr("speechtok.storage.stores.MAX_WHOLE_BYTES", 1 << 20)
    monkeypatch.setattr("speechtok.storage.path.MAX_WHOLE_BYTES", 1 << 20)
    monkeypatch.setattr("speechtok.storage.files.COPY_BYTES", 1 << 20)
    path = s3 / "weights" / "a"
    path.put(bytes(3 << 20))
    s3_proxy.fault = lambda number, method, path: (
        "endless" if method == "GET" and "list-type" not in path else None
    )
    for read in (
        path.read_bytes,
        lambda: path.read_range(1, 11),
        lambda: path.open("rb").read(5),
        lambda: copy_bytes(path, io.BytesIO()),
        lambda: file_sha256(path),
        lambda: download_folder(s3 / "weights"),
    ):
        with pytest.raises(
            StorageError, match=r"a could not be read: the store sends more than the [\d,]+ bytes that"
        ):
            read()
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    s3_proxy.fault = lambda number, method, path: None
    with pytest.raises(StorageError, match="the store sends more than the 1,048,576 bytes"):
        path.read_bytes()


def test_copies_end_where_the_object_did(s3, monkeypatch):
    monkeypatch.setattr("speechtok.storage.files.COPY_BYTES", 4)
    path = s3 / "a"
    for size in (0, 3, 4, 8, 9):
        path.put(bytes(range(size)))
        for start in (0, 2):
            out = io.BytesIO()
            assert copy_bytes(path, out, start) == max(0, size - start)
            assert out.getvalue() == bytes(range(size))[start:]


def test_no_bucket(s3):
    for action in (
        lambda: list(as_path("s3://nowhere-at-all").iterdir()),
        lambda: as_path("s3://nowhere-at-all/a").put(b""),
    ):
        with pytest.raises(
            StorageError, match="there is no bucket 'nowhere-at-all'; create it, or check the name"
        ):
            action()


def test_no_credentials(s3, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    forget_stores()
    with pytest.raises(StorageError, match="no credentials for s3:// were found; set AWS_ACCESS_KEY_ID and"):
        (s3 / "a").read_bytes()


def test_no_client(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    forget_stores()
    with pytest.raises(
        StorageError, match=r"s3:// needs the package obstore, .*pip install .speechtok\[stores\]"
    ):
        as_path("s3://b/a").read_bytes()
    forget_stores()


def test_too_large(s3, tmp_path, monkeypatch):
    monkeypatch.setattr("speechtok.storage.stores.MAX_PUT_BYTES", 3)
    (tmp_path / "a").write_bytes(b"1234")
    with pytest.raises(StorageError, match="make smaller shards with --shard-seconds"):
        (s3 / "a").put(tmp_path / "a")


def test_light(run_python):
    """Nothing of a store's client is imported before a store is used."""
    script = "import sys, speechtok.storage; print([n for n in ('fsspec', 'obstore', 'boto3', 'tenacity', 'torch') if n in sys.modules])"
    assert run_python(script).strip() == "[]"
