"""The lines of a text file with one utterance on each.

Contents: `read_lines`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechtok.errors import DatasetError


def read_lines(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield the number of each line that is not empty, its place for messages, and its text without white space around it.

    Raises:
        DatasetError: when the file cannot be read, or naming the number of a line that is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                place = f"{path} line {number}"
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                except UnicodeDecodeError as error:
                    raise DatasetError(f"{place} is not UTF-8 text: {error}.") from None
                if line:
                    yield number, place, line
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}.") from error
