"""A few hostile inputs of each kind; `make hostile` gives speechtok all of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.campaign import good_dataset
from tests.hostile.cases import QUICK, all_cases, prepare_outside
from tests.hostile.judge import Place

CAMPAIGN = Path(__file__).with_name("campaign.py")


@pytest.mark.slow
def test_hostile_inputs_do_nothing(tmp_path):
    log = tmp_path / "log.jsonl"
    command = [sys.executable, str(CAMPAIGN), "--quick", "--log", str(log)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    head, *trials = map(json.loads, log.read_text().splitlines())
    assert {trial["case"] for trial in trials} == set(QUICK)
    assert not any(head["violations"].values())


@pytest.mark.slow
def test_every_input_with_a_name_that_leads_elsewhere_can_be_written(tmp_path):
    names = [case for case in all_cases(good_dataset(tmp_path)) if case.kind == "path"]
    assert len(names) > 100
    for number, case in enumerate(names):
        place = Place(tmp_path / str(number))
        place.root.mkdir()
        prepare_outside(place)
        case.write(place)
