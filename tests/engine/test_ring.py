"""What one process puts into a ring, another one takes out unchanged, as long as there is room."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechtok.engine import ring
from speechtok.engine.ring import Ring, unnamed_file


@pytest.fixture(scope="module", autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ring, "CAPACITY", 1024)
        yield


@pytest.fixture(scope="module")
def file():
    file = unnamed_file()
    yield file
    os.close(file)


@given(st.lists(st.tuples(st.integers(0, 1100), st.integers(0, 3)), max_size=60))
def test_any_arrays(file, steps):
    """Arrays of any length, taken at any time; the other end is told how far."""
    ours, theirs, waiting = Ring(file), Ring(file), []
    for number, (size, takes) in enumerate(steps):
        samples = np.full(size, number, np.float32)
        if (place := ours.put(samples)) is not None:
            waiting.append((place, samples))
        else:
            assert waiting or size > 1024
        for place, wanted in waiting[:takes]:
            assert (theirs.take(place, len(wanted)) == wanted).all()
        del waiting[:takes]
        ours.taken = max(ours.taken, theirs.taken)
    for place, wanted in waiting:
        assert (theirs.take(place, len(wanted)) == wanted).all()


def test_no_room(file):
    ours = Ring(file)
    assert ours.put(np.ones(1025, np.float32)) is None
    assert ours.put(np.ones(600, np.float32)) == 0
    assert ours.put(np.ones(600, np.float32)) is None
    ours.taken = 600
    assert ours.put(np.ones(600, np.float32)) == 1024
