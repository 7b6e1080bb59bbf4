"""Many values as one: mean, confidence interval, spread and the worst.

Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile interval), computed by SciPy.

Contents: `Summary`, `summarize`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 2000
MOST_AT_ONCE = 10_000_000
"""Values resampled at once, which bounds the memory."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One measure over many pairs."""

    count: int
    """Pairs that have a value."""
    failed: int
    """Pairs that have none."""
    mean: float | None
    """Mean, weighted where the measure says so; None without any value."""
    low: float | None
    """Lower end of the 95 % confidence interval of the mean; None for fewer than two values, or infinite ones."""
    high: float | None
    """Upper end."""
    median: float | None
    """Middle value."""
    lowest: float | None
    """Smallest value."""
    highest: float | None
    """Largest value."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def summarize(values: Sequence[float], *, failed: int = 0, weights: Sequence[float] | None = None) -> Summary:
    """Return the summary of a measure.

    The interval is a bootstrap over pairs with a fixed seed: the same values always give the same one.

    Args:
        values: one for each pair that has one.
        failed: pairs without a value.
        weights: of each value, for measures that are pooled, such as words of an error rate; None weighs all alike.
    """
    found = np.asarray(values, dtype=np.float64)
    if not len(found):
        return Summary(
            count=0, failed=failed, mean=None, low=None, high=None, median=None, lowest=None, highest=None
        )
    weight = np.ones(len(found)) if weights is None else np.asarray(weights, dtype=np.float64)
    low, high = _interval(found, weight)
    return Summary(
        count=len(found),
        failed=failed,
        mean=float(np.average(found, weights=weight)),
        low=low,
        high=high,
        median=float(np.median(found)),
        lowest=float(found.min()),
        highest=float(found.max()),
    )


def _interval(
    values: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]
) -> tuple[float | None, float | None]:
    if len(values) < 2 or not np.isfinite(values).all():
        return None, None
    from scipy.stats import bootstrap

    def mean(value: Any, weight: Any, axis: int) -> Any:
        return (value * weight).sum(axis=axis) / weight.sum(axis=axis)

    found = bootstrap(
        (values, weights),
        mean,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, MOST_AT_ONCE // len(values)),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)
