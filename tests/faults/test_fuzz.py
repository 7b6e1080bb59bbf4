"""Recordings damaged in one place or another: every one ends in a shard or in quarantine."""

import pytest

from tests.faults.fuzz import fuzz


@pytest.mark.slow
@pytest.mark.ray
def test_mutated_recordings(tmp_path):
    summary, lines = fuzz(tmp_path, 75)
    assert len(lines) == 75
    assert 75 / 4 < summary["in_quarantine"] < 75
