"""Many values as one: mean, confidence interval, spread and the worst.

Source: Student's t interval of a mean; for pooled measures, Cochran 1977, Sampling Techniques, section 6.4 (ratio).

Contents: `Summary`, `summarize`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

CONFIDENCE = 0.95


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


def _interval(values: Array, weights: Array) -> tuple[float | None, float | None]:
    """Return the ends of the interval; a weighted mean is a ratio, whose variance is that of its linearization."""
    count = len(values)
    if count < 2 or not np.isfinite(values).all():
        return None, None
    from scipy.stats import t

    mean = np.average(values, weights=weights)
    deviations = weights * (values - mean)
    error = np.sqrt(count / (count - 1) * (deviations @ deviations)) / weights.sum()
    half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1) * error)
    return float(mean) - half, float(mean) + half
