"""Recordings damaged in one place or another: every one ends in a shard or in quarantine."""

import pytest

from tests.faults.fuzz import fuzz


@pytest.mark.slow
@pytest.mark.ray
def test_mutated_recordings(tmp_path):
    summary, lines = fuzz(tmp_path, 150)
    assert len(lines) == 150
    assert 150 / 4 < summary["in_quarantine"] < 150
