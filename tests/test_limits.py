"""Bounds on reading."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import socket
import zlib
from pathlib import Path
from typing import Any

import pytest

from speechtok.errors import CardError, CheckpointError
from speechtok.limits import (
    Bounded,
    bounded_lines,
    inflate,
    inflated_bytes,
    parse_json,
    read_bytes,
    read_json,
    require_regular_file,
)


def test_regular_files_and_links_to_them_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("a")
    assert read_bytes(tmp_path / "a", 3) == read_bytes(tmp_path / "link", 3) == b"abc"
    with pytest.raises(CardError, match=r"The card '.*a' is longer than 2 bytes"):
        read_bytes(tmp_path / "a", 2, "card", error=CardError)


def test_other_kinds_of_files_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    found = {"pipe": "a named pipe", "": "a folder"}
    with socket.socket(socket.AF_UNIX) as listener:
        if len(str(tmp_path)) < 80:  # the longest name a socket may have is short
            listener.bind(str(tmp_path / "socket"))
            found["socket"] = "a socket"
        for name, kind in found.items():
            with pytest.raises(CheckpointError, match=f"is {kind}, not a weights file"):
                require_regular_file(tmp_path / name, "weights file", error=CheckpointError)
    with pytest.raises(CheckpointError, match="is a device"):
        read_bytes(Path("/dev/zero"), 10, error=CheckpointError)
    with pytest.raises(CheckpointError, match="There is no file"):
        require_regular_file(tmp_path / "none", error=CheckpointError)
    for name in ("loop", "a\0b"):
        with pytest.raises(CheckpointError, match="cannot be read"):
            require_regular_file(tmp_path / name, error=CheckpointError)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a": NaN}', "NaN is not finite"),
        ('{"a": -Infinity}', "-Infinity is not finite"),
        ('{"a": 1e400}', "1e400 is not finite"),
        ("9" * 5000, "digits"),
        ("{", "Expecting"),
    ],
)
def test_json_ends_in_a_sentence(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=rf"config.json' cannot be read as JSON \(.*{reason}"):
        read_json(tmp_path / "config.json", error=CheckpointError)


def test_json_is_utf8() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": [1.5, 2, null]}', "x") == {"a": [1.5, 2, None]}
    with pytest.raises(CardError, match="x cannot be read as JSON"):
        parse_json(b'"\xff"', "x", error=CardError)


PACK: dict[str, Any] = {
    "zlib": zlib.compress,
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
}


@pytest.mark.parametrize("kind", PACK)
def test_inflating_is_bounded(kind: str) -> None:
    packed = PACK[kind](bytes(100_000))
    assert inflate(packed, 100_000) == bytes(100_000)
    with pytest.raises(ValueError, match="inflates to more than 100 kB"):
        inflate(packed, 99_999)
    with pytest.raises(ValueError, match="cut short"):
        inflate(packed[:-10], 200_000)
    with pytest.raises(ValueError, match=r"damaged|cut short"):
        inflate(packed[:12] + bytes(20), 200_000)
    with pytest.raises(ValueError, match="bytes follow"):
        inflate(packed + b"x", 100_000)


def test_what_is_not_compressed_stays() -> None:
    assert inflate(b"\x80\x04.", 0) == b"\x80\x04."


def test_a_dictionary_of_gigabytes_is_not_made() -> None:
    packed = lzma.compress(b"a", format=lzma.FORMAT_ALONE)
    with pytest.raises(ValueError, match="damaged"):
        inflate(packed[:1] + (3 * 2**30).to_bytes(4, "little") + packed[5:], 10)


def test_streams_are_counted() -> None:
    data = gzip.compress(b"line\n" * 100)
    lines = io.BufferedReader(Bounded(gzip.GzipFile(fileobj=io.BytesIO(data)), 500, "x"))  # type: ignore[arg-type]
    assert len(lines.readlines()) == 100
    lines = io.BufferedReader(Bounded(gzip.GzipFile(fileobj=io.BytesIO(data)), 499, "x", error=CardError))  # type: ignore[arg-type]
    with pytest.raises(CardError, match="x inflates to more than 499 bytes"):
        lines.read()
    assert inflated_bytes(1) == 64 * 2**20
    assert inflated_bytes(2**30) == 200 * 2**30


def test_lines_are_bounded() -> None:
    assert list(bounded_lines(io.BytesIO(b"ab\nc"), "x", limit=3)) == [b"ab\n", b"c"]
    with pytest.raises(CardError, match="Line 2 of x is longer than 3 bytes"):
        list(bounded_lines(io.BytesIO(b"ab\nabcd"), "x", limit=3, error=CardError))
