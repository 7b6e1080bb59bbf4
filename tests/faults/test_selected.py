"""A few trials of each night's campaign, always the same ones."""

import pytest

from tests.faults.annotating import Annotating
from tests.faults.arena import Arena


@pytest.fixture(scope="module")
def arena(tmp_path_factory):
    arena = Arena(tmp_path_factory.mktemp("arena") / "here", recordings=6)
    yield arena
    arena.close()


@pytest.mark.ray
@pytest.mark.parametrize(
    "kind",
    [
        "kill worker",
        "stop driver",
        "kill joining",
        "hide record",
        "s3",
        pytest.param("s3 kill worker", marks=pytest.mark.slow),
    ],
)
def test_trial(arena, kind):
    told = arena.trial(kind, seed=0)
    assert told["injected"]
    assert told["exit_codes"][-1] == 0


@pytest.mark.ray
def test_full_disk(arena):
    if arena.disk is None:
        pytest.skip("only root may mount a small filesystem")
    assert arena.trial("fill disk", seed=0)["exit_codes"][-1] == 0


@pytest.fixture(scope="module")
def annotating(arena):
    return Annotating(arena)


@pytest.mark.ray
@pytest.mark.parametrize("kind", ["annotate kill worker", "annotate kill moving"])
def test_annotating(annotating, kind):
    told = annotating.trial(kind, seed=0)
    assert told["injected"]
    assert told["exit_codes"][-1] == 0
