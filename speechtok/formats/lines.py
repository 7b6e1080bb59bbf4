"""The lines of a text file with one utterance on each.

Contents: `read_lines`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechtok.errors import DatasetError
from speechtok.limits import bounded_lines, require_regular_file


def read_lines(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield the number of each line that is not empty, its place for messages, and its text without white space around it.

    Raises:
        DatasetError: when the file cannot be read, or naming the number of a line that is not UTF-8 or too long.
    """
    try:
        require_regular_file(path, error=DatasetError)
        with path.open("rb") as file:
            for number, raw in enumerate(bounded_lines(file, str(path), error=DatasetError), start=1):
                place = f"{path} line {number}"
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                except UnicodeDecodeError as error:
                    raise DatasetError(f"{place} is not UTF-8 text: {error}.") from None
                if line:
                    yield number, place, line
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}.") from error
