import os

import pytest

from speechtok.errors import DatasetError
from speechtok.shards.layout import Layout, is_split
from speechtok.storage import file_sha256


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path)


def test_names(layout, tmp_path):
    assert layout.file("train", 3, 16) == tmp_path / "data" / "train-00003-of-00016.parquet"
    assert layout.part(3) == tmp_path / ".speechtok" / "parts" / "0000003.parquet"
    assert layout.part_record(3) == tmp_path / ".speechtok" / "parts" / "0000003.json"
    assert layout.quarantine("dev") == tmp_path / "quarantine" / "dev.parquet"
    assert layout.relative(layout.quarantine("dev")) == "quarantine/dev.parquet"


@pytest.mark.parametrize(
    "split",
    [
        "",
        ".",
        "..",
        "../../x",
        "/etc/x",
        "a/b",
        "a\\b",
        "a\0b",
        "a\nb",
        "a..b",
        ".a",
        "a.",
        "a b",
        "\x1b[31m",
        "a" * 151,
        None,
        3,
    ],
)
def test_names_that_lead_outside(layout, split):
    assert not is_split(split)
    for path in (
        lambda: layout.file(split, 0, 1),
        lambda: layout.attempts(split, 0),
        lambda: layout.quarantine(split),
    ):
        with pytest.raises(DatasetError, match="cannot be the name of a split: it may hold letters, digits"):
            path()


@pytest.mark.parametrize("split", ["train", "train.clean.100", "dev_other", "čeština", "a" * 150])
def test_names_of_splits(layout, split):
    assert is_split(split)
    assert layout.file(split, 0, 1).is_relative_to(layout.data)


def test_replacing_is_whole_or_nothing(layout):
    path = layout.file("train", 0, 1)
    with layout.replacing(path) as temporary:
        temporary.write_text("first")
        assert not path.exists()
        assert temporary.is_relative_to(layout.tmp)
    assert path.read_text() == "first"

    def fail():
        with layout.replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "first"
    assert not list(layout.tmp.iterdir())


def test_replacing_flushes_before_it_renames(layout, monkeypatch):
    """A rename must not outlive the content; a crash in between loses the new file, not the old."""
    order = []
    fsync = os.fsync

    def note(handle):
        order.append(("flush", layout.readme.exists()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", note)
    with layout.replacing(layout.readme) as temporary:
        temporary.write_text("x")
    assert order == [("flush", False), ("flush", True)]


def test_two_writers_do_not_meet(layout):
    with layout.replacing(layout.readme) as one, layout.replacing(layout.readme) as two:
        assert one != two
        one.write_text("1")
        two.write_text("2")
    assert layout.readme.read_text() == "1"


def test_sha256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert file_sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
