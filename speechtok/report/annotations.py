"""What annotations say of a dataset: a histogram and a few figures for each column of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from speechtok.report.plots import plot_values
from speechtok.shards.annotated import Column, Provenance, read_annotated
from speechtok.shards.layout import Layout
from speechtok.shards.reader import TokenDataset

LOW, HIGH = 5, 95
"""Percentiles between which most rows lie."""


def describe_annotations(rows: TokenDataset) -> list[dict[str, Any]]:
    """Return each annotation of a dataset with its columns of numbers, ready for the template.

    Raises:
        DatasetError: when the dataset is damaged.
    """
    failed = {}
    if rows.path.is_dir():
        failed = {item.provenance.name: item.failed for item in read_annotated(Layout(rows.path)).entries}
    return [
        {
            "made": made,
            "failed": failed.get(made.name, 0),
            "columns": [
                _described(rows, made, column)
                for column in made.columns
                if not column.type.startswith(("list", "string"))
            ],
        }
        for made in rows.annotations
    ]


def _described(rows: TokenDataset, made: Provenance, column: Column) -> dict[str, Any]:
    """Return a column's figures and its picture, which two values or more have."""
    values = np.array(rows.column(column.name).drop_null().to_pylist(), dtype=np.float64)
    name = f"annotation-{made.name}-{column.name}"
    low, median, high = np.percentile(values, (LOW, 50, HIGH)).tolist() if len(values) else (None,) * 3
    return {
        "column": column,
        "known": len(values),
        "low": low,
        "median": median,
        "high": high,
        "plot": plot_values(values.tolist(), column.name, name, of="utterances") if len(values) > 1 else None,
    }
