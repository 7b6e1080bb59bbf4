"""Lists are not hashed whole before it is known that they are lists."""

import hashlib
import os

import pytest

from speechtok.corpora import read_corpus
from speechtok.corpora.lines import lines_sha256
from speechtok.errors import DatasetError
from speechtok.limits import LINE_BYTES


def test_hash(tmp_path):
    for n, content in enumerate([b"", b"a\n", b"a\rb", b"x" * 3_000_000 + b"\n" + b"y"]):
        (tmp_path / f"{n}").write_bytes(content)
        assert lines_sha256(tmp_path / f"{n}") == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("head", [b"", b"audio\na.wav\n"])
def test_a_hole_of_a_terabyte(tmp_path, head):
    path = tmp_path / "c.csv"
    path.write_bytes(head)
    os.truncate(path, 1 << 40)
    line = 1 + head.count(b"\n")
    with pytest.raises(DatasetError, match=rf"c\.csv line {line} is longer than 67\.1 MB"):
        lines_sha256(path)


def test_no_end_of_line(tmp_path):
    (tmp_path / "a").write_bytes(b"\r".join([b"x" * (LINE_BYTES // 2)] * 3))
    lines_sha256(tmp_path / "a")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("c.parquet", "cannot be read as Parquet"),
        ("c.jsonl.gz", "cannot be read as UTF-8 text"),
        ("c.tsv", "line 1 is longer than"),
    ],
)
def test_a_hole_for_a_manifest(tmp_path, name, message):
    (tmp_path / name).touch()
    os.truncate(tmp_path / name, 1 << 40)
    with pytest.raises(DatasetError, match=message):
        list(read_corpus(tmp_path / name).source.files())
