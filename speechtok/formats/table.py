"""Kaldi-style tables: one line per utterance, its key and one value.

Conventions: `utt2scale` holds the level of an utterance as a float32 written so that it reads back
exactly; `utt2num_samples` its length in samples, as Kaldi tools write it.

Contents: `read_table`, `write_table`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from speechtok.errors import DatasetError
from speechtok.formats.lines import read_lines

SCALES = "utt2scale"
"""File of levels beside an export."""
SAMPLES = "utt2num_samples"
"""File of lengths beside an export."""
T = TypeVar("T")


def read_table(path: Path, convert: Callable[[str], T]) -> dict[str, T]:
    """Return key → value; nothing when there is no such file.

    Args:
        path: the file.
        convert: turns the text of a value into the value, or raises ValueError.

    Raises:
        DatasetError: naming the number of a malformed line.
    """
    if not path.is_file():
        return {}
    table: dict[str, T] = {}
    for _, place, line in read_lines(path):
        key, *values = line.split()
        try:
            (value,) = values
            table[key] = convert(value)
        except (ValueError, OverflowError):
            raise DatasetError(f"{place} must be 'key value', got '{line[:60]}'.") from None
    return table


def write_table(path: Path, rows: Iterable[tuple[str, object]]) -> None:
    """Write `key value` lines."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{key} {value}\n" for key, value in rows)
