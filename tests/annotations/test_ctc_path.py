from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechtok.annotations.ctc_path import best_path, symbol_spans


def brute_force(log_probs, symbols, blank):
    """The best score of all ways to write the symbols."""
    best = -np.inf
    for way in product(range(log_probs.shape[1]), repeat=len(log_probs)):
        merged = [label for k, label in enumerate(way) if k == 0 or label != way[k - 1]]
        if [label for label in merged if label != blank] == list(symbols):
            best = max(best, sum(log_probs[frame, label] for frame, label in enumerate(way)))
    return best


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 6),
    st.lists(st.integers(1, 2), min_size=1, max_size=4),
)
def test_the_path_is_the_best_of_all(seed, frames, symbols):
    log_probs = np.log(np.random.default_rng(seed).dirichlet(np.ones(3), frames).reshape(frames, 3))
    best = brute_force(log_probs, symbols, 0)
    path = best_path(log_probs, symbols, 0)
    if path is None:
        assert best == -np.inf
        return
    classes = [0 if place < 0 else symbols[place] for place in path]
    assert sum(log_probs[frame, label] for frame, label in enumerate(classes)) == pytest.approx(best)
    places = [place for k, place in enumerate(path) if place >= 0 and (k == 0 or path[k - 1] != place)]
    assert places == list(range(len(symbols)))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3)), min_size=1, max_size=6), st.integers(0, 4))
def test_spans_hold_their_symbols_and_halve_short_blanks(parts, end):
    path = [place for k, (blanks, length) in enumerate(parts) for place in [-1] * blanks + [k] * length] + [
        -1
    ] * end
    spans = symbol_spans(path, pause_frames=3)
    assert len(spans) == len(parts)
    for place, (start, stop) in enumerate(spans):
        frames = [k for k, item in enumerate(path) if item == place]
        assert start <= frames[0]
        assert frames[-1] < stop
    for place, (before, after) in enumerate(pairwise(spans), 1):
        blanks = parts[place][0]
        assert after[0] - before[1] == (blanks if blanks >= 3 else 0)


def test_known_spans():
    assert symbol_spans([-1, 0, -1, -1, 1, 1, -1, -1, -1, 2, -1], 3) == [(1, 3), (3, 6), (9, 10)]
    assert best_path(np.zeros((1, 2)), [1, 1], 0) is None
    assert best_path(np.zeros((0, 2)), [1], 0) is None
