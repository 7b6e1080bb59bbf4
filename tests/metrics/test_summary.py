import math

import numpy as np
import pytest
import scipy.stats

from speechtok.metrics.summary import summarize


def test_mean_and_interval():
    values = np.random.default_rng(1).normal(3.0, 0.5, 200).tolist()
    found = summarize(values, failed=4)
    assert (found.count, found.failed) == (200, 4)
    assert found.mean == pytest.approx(np.mean(values))
    interval = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert (found.lowest, found.median, found.highest) == (min(values), np.median(values), max(values))


def test_error_rates_are_pooled():
    found = summarize([0.0, 1.0], weights=[9, 1])
    assert found.mean == pytest.approx(0.1)


def test_the_interval_of_a_pooled_rate_covers_it():
    draw = np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        words = draw.integers(1, 30, 60)
        found = summarize((draw.binomial(words, 0.2) / words).tolist(), weights=words.tolist())
        covered += found.low <= 0.2 <= found.high
    assert 0.92 <= covered / 400 <= 0.98


def test_none_one_and_infinite_values():
    assert summarize([], failed=2).mean is None
    assert summarize([2.0]).low is None
    found = summarize([1.0, math.inf])
    assert (found.mean, found.low, found.median) == (math.inf, None, math.inf)
