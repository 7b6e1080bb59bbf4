"""Token dataset with alignments → a TextGrid file for each row, as Praat and the Montreal Forced Aligner have them.

Contents: `TEXTGRID`, `export_alignments`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from speechtok.commands.decode import row_path
from speechtok.errors import DatasetError
from speechtok.formats.intervals import Interval
from speechtok.formats.textgrid import format_textgrid
from speechtok.shards.reader import TokenDataset
from speechtok.storage import AnyPath, as_path, replacing

TEXTGRID = "textgrid"
"""Name of the format."""
SUFFIX = ".TextGrid"
_TIERS = {"words": "word", "phones": "phone"}
"""Tier → its column."""


def export_alignments(
    dataset: str | AnyPath,
    folder: str | Path,
    *,
    split: str | None = None,
    allow_partial: bool = False,
    on_row: Callable[[], None] | None = None,
) -> int:
    """Write the alignment of each row that has one; returns the number of files.

    Args:
        dataset: token dataset with the columns of the annotation `alignment`.
        folder: where to write; must be empty or missing. The id `a/b` goes to `a/b.TextGrid`, characters that not every
            system takes as %XX.
        split: only this split.
        allow_partial: take what is there of an unfinished dataset.
        on_row: called after each row.

    Raises:
        DatasetError: when the dataset has no alignments, or the folder holds something.
    """
    folder = Path(folder)
    found = TokenDataset(as_path(dataset), split=split, allow_partial=allow_partial)
    tiers = {tier: column for tier, column in _TIERS.items() if column in found.columns}
    if not tiers:
        raise DatasetError(
            f"{dataset} has no alignments; make them with `speechtok annotate {dataset} alignment`."
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(f"{folder} holds something already; write to a new folder.")
    columns = [name for column in tiers.values() for name in (column, f"{column}_start", f"{column}_end")]
    rows = TokenDataset(
        as_path(dataset), split=split, columns=["id", "num_samples", *columns], allow_partial=allow_partial
    )
    written = 0
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        intervals = {
            tier: made for tier, column in tiers.items() if (made := _intervals(row, column)) is not None
        }
        if intervals:
            path = row_path(folder, row["id"], SUFFIX)
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                text = format_textgrid(intervals, row["num_samples"] / rows.info.sample_rate)
                temporary.write_text(text, encoding="utf-8", newline="\n")
            written += 1
        if on_row is not None:
            on_row()
    return written


def _intervals(row: Mapping[str, Any], column: str) -> list[Interval] | None:
    if row[column] is None:
        return None
    times = zip(row[column], row[f"{column}_start"], row[f"{column}_end"], strict=True)
    return [Interval(start=float(start), end=float(end), label=str(label)) for label, start, end in times]
