"""Kaldi's binary matrices: an `.ark` of values, and beside it an `.scp` that says where each one lies.

Source: Kaldi documentation, "Kaldi I/O mechanisms"; files written by FunCodec
(`funcodec/bin/codec_inference.py`).

Conventions: a record is the key, one space, then a zero byte, `B`, `FM ` for float32 or `DM ` for
float64, and rows and columns as little-endian int32 that each follow a byte 4; then the values row by
row, little-endian. An scp line is `key path:offset`, where offset is that of the zero byte.

Contents: `MatrixWriter`, `read_ark`, `read_scp`.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

from speechtok.errors import DatasetError
from speechtok.formats.lines import read_lines
from speechtok.limits import require_regular_file

Matrix = np.ndarray[Any, np.dtype[Any]]
_KINDS: dict[bytes, np.dtype[Any]] = {b"FM ": np.dtype("<f4"), b"DM ": np.dtype("<f8")}
KEY_BYTES = 4096
"""Length of a key."""
_NAMES = {4: b"FM ", 8: b"DM "}


class MatrixWriter:
    """Write an ark and its scp; use as a context manager.

    Args:
        ark: file to write.
        scp: file to write.
        ark_name: what the scp calls the ark; its path when left out.
    """

    def __init__(self, ark: Path, scp: Path, *, ark_name: str | None = None) -> None:
        self._name = ark_name or str(ark)
        self._ark = ark.open("wb")
        self._scp = scp.open("w", encoding="utf-8", newline="\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ark.close()
        self._scp.close()

    def add(self, key: str, matrix: Matrix) -> None:
        """Add one matrix `(rows, columns)`; float64 stays float64, anything else becomes float32.

        Raises:
            DatasetError: when the key is empty or holds white space.
        """
        if not key or len(key.split()) != 1:
            raise DatasetError(
                f"The id '{key}' cannot be a Kaldi key: it is empty or holds white space; rename it."
            )
        values = matrix.astype("<f8" if matrix.dtype == np.float64 else "<f4")
        self._ark.write(key.encode() + b" ")
        self._scp.write(f"{key} {self._name}:{self._ark.tell()}\n")
        rows, columns = values.shape
        head = b"\0B" + _NAMES[values.itemsize] + struct.pack("<bibi", 4, rows, 4, columns)
        self._ark.write(head + values.tobytes())


def read_ark(path: Path) -> Iterator[tuple[str, Matrix]]:
    """Yield key and matrix `(rows, columns)` of every record, in order.

    Raises:
        DatasetError: when the file cannot be read, or naming the number of a damaged record.
    """
    try:
        require_regular_file(path, "archive", error=DatasetError)
        with path.open("rb") as file:
            number = 0
            while key := _key(file, path):
                number += 1
                yield key, _matrix(file, f"{path} record {number} ('{key}')")
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}.") from error


def read_scp(path: Path) -> Iterator[tuple[int, str, Matrix]]:
    """Yield line number, key and matrix of every line.

    Relative paths are looked for from the working folder, as Kaldi does, then from the folder of the
    scp and the one above it.

    Raises:
        DatasetError: naming the number of a malformed line, or of one whose matrix cannot be read.
    """
    for number, place, line in read_lines(path):
        key, *rest = line.split(maxsplit=1)
        name, colon, offset = rest[0].strip().rpartition(":") if rest else ("", "", "")
        if not colon or not re.fullmatch(r"\d{1,18}", offset):
            raise DatasetError(f"{place} must be 'key path:offset', got '{line.strip()[:80]}'.")
        ark = next(
            (
                base / name
                for base in (Path(), path.parent, path.parent.parent)
                if os.path.isfile(base / name)  # noqa: PTH113 - never raises
            ),
            None,
        )
        if ark is None:
            raise DatasetError(f"{place} ('{key}') names {name}, which is not there.")
        try:
            with ark.open("rb") as file:
                file.seek(int(offset))
                matrix = _matrix(file, f"{place} ('{key}')")
        except OSError as error:
            raise DatasetError(
                f"{place} ('{key}') names {name}, which cannot be read: {error.strerror}."
            ) from error
        yield number, key, matrix


def _key(file: BinaryIO, path: Path) -> str:
    """Return the next key, or nothing at the end of the file."""
    key = bytearray()
    while (byte := file.read(1)) not in (b"", b" "):
        key += byte
        if len(key) > KEY_BYTES:
            raise DatasetError(
                f"{path} has a key of more than {KEY_BYTES:,} bytes, so it is no archive of matrices."
            )
    return key.decode("utf-8", "replace").strip()


def _matrix(file: BinaryIO, place: str) -> Matrix:
    head = file.read(15)
    if len(head) < 15 or head[:2] != b"\0B" or head[2:5] not in _KINDS:
        raise DatasetError(f"{place} holds no binary float matrix.")
    four, rows, also_four, columns = struct.unpack("<bibi", head[5:])
    if (four, also_four) != (4, 4) or rows < 0 or columns < 0:
        raise DatasetError(f"{place} holds no binary float matrix.")
    kind = _KINDS[head[2:5]]
    size, begin = rows * columns * kind.itemsize, file.tell()
    left = file.seek(0, 2) - begin
    if left < size:
        raise DatasetError(
            f"{place} is cut off: {rows} × {columns} values are announced, {left} bytes follow."
        )
    file.seek(begin)
    data = file.read(size)
    return np.frombuffer(data, dtype=kind).reshape(rows, columns)
