"""A table of recordings and what was made of them.

Tab-separated UTF-8 text with a header. Columns: `reference` and `decoded`, paths of audio files, relative to the
table; optionally `id` (default: the path of `decoded`) and `text`, the transcript. Others are ignored.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from speechtok.corpora.lines import Lines
from speechtok.errors import DatasetError


@dataclass(frozen=True, kw_only=True)
class PairOfFiles:
    """One line of the table."""

    id: str
    """Name of the pair."""
    reference: Path
    """The recording."""
    decoded: Path
    """What is judged."""
    text: str | None
    """Transcript."""


def read_pairs(table: Path) -> Iterator[PairOfFiles]:
    """Yield the pairs of a table.

    Raises:
        DatasetError: when the table cannot be read, lacks a column or has a line that lacks a path.
    """
    lines = csv.DictReader(Lines(table, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    columns = lines.fieldnames or []
    for name in ("reference", "decoded"):
        if name not in columns:
            raise DatasetError(
                f"{table} has no column {name}; a table of pairs is tab-separated, with the columns reference and decoded."
            )
    for line in lines:
        if not line["reference"] or not line["decoded"]:
            raise DatasetError(f"Line {lines.line_num} of {table} lacks the path of a file.")
        yield PairOfFiles(
            id=line.get("id") or line["decoded"],
            reference=table.parent / line["reference"],
            decoded=table.parent / line["decoded"],
            text=line.get("text") or None,
        )
