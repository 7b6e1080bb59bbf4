"""The page about an evaluation: a table of measures, their spread, bits and codes, and what failed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from speechtok.metrics.evaluation import Evaluation
from speechtok.metrics.measures import MEASURES
from speechtok.report.plots import plot_values
from speechtok.report.render import write_page
from speechtok.shards.statistics import Statistics
from speechtok.wording import number_text

MAX_FAILURES = 100
"""Failures listed on the page."""


def write_evaluation(evaluation: Evaluation, html: Path) -> None:
    """Write one self-contained HTML page about an evaluation.

    Args:
        evaluation: what was found.
        html: the file to write or replace; its folder is made if need be.

    Raises:
        OSError: when the page cannot be written.
    """
    spent = evaluation.decode_seconds
    write_page(
        html,
        "evaluation.html.j2",
        {
            "evaluation": evaluation,
            "speed": evaluation.seconds / spent if spent else None,
            "measures": [_measure(name, evaluation) for name in evaluation.summaries],
            "streams": list(_codebooks(evaluation.statistics)) if evaluation.statistics else [],
            "failures": list(islice(_failures(evaluation), MAX_FAILURES)),
        },
    )


def _measure(name: str, evaluation: Evaluation) -> dict[str, Any]:
    item, summary = MEASURES[name], evaluation.summaries[name]
    values = [row.scores.values[name] for row in evaluation.rows if name in row.scores.values]
    finite = [value for value in values if math.isfinite(value)]
    worst = evaluation.worst(name)
    label = f"{item.title}, {item.unit}" if item.unit else item.title
    return {
        "title": item.title,
        "unit": item.unit,
        "better": item.better,
        "mean": number_text(summary.mean),
        "interval": f"{number_text(summary.low)} to {number_text(summary.high)}"
        if summary.low is not None
        else "–",
        "median": number_text(summary.median),
        "lowest": number_text(summary.lowest),
        "highest": number_text(summary.highest),
        "count": summary.count,
        "failed": summary.failed,
        "plot": plot_values(finite, label, f"measure-{name}") if len(finite) > 1 else None,
        "worst": worst.id if worst else None,
    }


def _codebooks(statistics: Statistics) -> Iterator[dict[str, Any]]:
    for item in statistics.streams:
        several = item.stream.num_codebooks > 1
        for number, entropy in enumerate(item.entropy):
            yield {
                "name": f"{item.stream.name} {number}" if several else item.stream.name,
                "size": item.stream.codebook_size,
                "bps": item.stream.bitrate_bps / item.stream.num_codebooks,
                "entropy_bps": float(entropy) * item.stream.frame_rate,
                "used": float(item.used[number]),
                "perplexity": float(item.perplexity[number]),
            }


def _failures(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """Yield one line for each pair and reason, with the measures that share it."""
    for row in evaluation.rows:
        by_reason: dict[str, list[str]] = {}
        for name, reason in row.scores.failures.items():
            by_reason.setdefault(reason, []).append(name)
        for reason, names in by_reason.items():
            listed = "all" if len(names) == len(evaluation.summaries) else ", ".join(names)
            yield {"id": row.id, "measures": listed, "reason": reason}
