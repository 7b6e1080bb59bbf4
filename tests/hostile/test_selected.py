"""A few hostile inputs of each kind; `make hostile` gives speechtok all of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.cases import QUICK

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
