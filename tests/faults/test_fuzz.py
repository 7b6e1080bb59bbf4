"""Recordings damaged in one place or another: every one ends in a shard or in quarantine."""

import pytest

from tests.faults.fuzz import fuzz

COUNT = 520


@pytest.mark.slow
@pytest.mark.ray
def test_mutated_recordings(tmp_path):
    summary, lines = fuzz(tmp_path, COUNT)
    assert len(lines) == COUNT
    assert COUNT / 4 < summary["in_quarantine"] < COUNT
    assert summary["workers_lost"] == 0
