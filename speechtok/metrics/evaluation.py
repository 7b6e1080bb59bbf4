"""What an evaluation found: a row of scores for each pair, and their summaries.

Contents: `EvaluationRow`, `Evaluation`, `summarize_rows`.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechtok.metrics.measures import MEASURES, Scores
from speechtok.metrics.summary import Summary, summarize
from speechtok.metrics.transcript import plain_text
from speechtok.shards.statistics import Statistics
from speechtok.storage import replacing


@dataclass(frozen=True, kw_only=True)
class EvaluationRow:
    """The scores of one pair."""

    id: str
    """Name of the row."""
    seconds: float | None
    """Length of the reference; None when there was nothing to measure."""
    text: str | None = None
    """Transcript."""
    scores: Scores
    """Values, and reasons for missing ones."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What came out."""

    name: str
    """Name of the dataset or list."""
    rows: tuple[EvaluationRow, ...]
    """One for each pair, in order."""
    summaries: dict[str, Summary]
    """By measure, in the order of tables."""
    statistics: Statistics | None = None
    """Of a dataset: bits per second and how codes are used."""
    decode_seconds: float | None = None
    """Time spent decoding tokens; None for pairs of files."""

    @property
    def seconds(self) -> float:
        """Seconds of speech that were compared."""
        return sum(row.seconds or 0.0 for row in self.rows)

    @property
    def failures(self) -> int:
        """Rows in which a measure has no value."""
        return sum(bool(row.scores.failures) for row in self.rows)

    def worst(self, name: str) -> EvaluationRow | None:
        """Return the row with the worst value of a measure, or None without any value."""
        rows = [row for row in self.rows if name in row.scores.values]
        pick: Any = min if MEASURES[name].better == "higher" else max
        return pick(rows, key=lambda row: row.scores.values[name]) if rows else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; infinite ones as text, since JSON has none."""
        return {
            "name": self.name,
            "seconds": self.seconds,
            "decode_seconds": self.decode_seconds,
            "summaries": {name: _finite(item.to_dict()) for name, item in self.summaries.items()},
            "statistics": None if self.statistics is None else self.statistics.to_dict(),
            "rows": [
                {
                    "id": row.id,
                    "seconds": row.seconds,
                    "values": _finite(dict(row.scores.values)),
                    "failures": dict(row.scores.failures),
                }
                for row in self.rows
            ],
        }

    def write_table(self, path: Path) -> None:
        """Write one line for each pair, tab-separated: id, seconds, a column for each measure, reasons.

        Raises:
            OSError: when the file cannot be written; an earlier one is then left as it was.
        """
        names = list(self.summaries)
        with (
            replacing(path, path.parent) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            table = csv.writer(file, delimiter="\t", lineterminator="\n")
            table.writerow(["id", "seconds", *names, "failures"])
            for row in self.rows:
                values = [row.scores.values.get(name, "") for name in names]
                reasons = "; ".join(dict.fromkeys(row.scores.failures.values()))
                table.writerow([row.id, "" if row.seconds is None else row.seconds, *values, reasons])


def summarize_rows(names: Sequence[str], rows: Sequence[EvaluationRow]) -> dict[str, Summary]:
    """Return the summary of each measure.

    Error rates are pooled over the words or characters of all transcripts, as is usual.
    """
    return {name: _summary(name, rows) for name in names}


def _summary(name: str, rows: Sequence[EvaluationRow]) -> Summary:
    found = [row for row in rows if name in row.scores.values]
    values = [row.scores.values[name] for row in found]
    weights = None
    if name in ("wer", "cer"):
        texts = [plain_text(row.text or "") for row in found]
        weights = [len(text.split() if name == "wer" else text) for text in texts]
    return summarize(values, failed=len(rows) - len(found), weights=weights)


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }
