"""Give speechtok hundreds of hostile inputs, and look at what each command does with each.

No code of an input may run, nothing be written outside the output, no secret be told, no control character reach
the terminal, no command end in a trace or by a signal, take more than 20 s or, in any process, more than 2 GB.

python tests/hostile/campaign.py --log benchmarks/results/hostile-2026-11-30.jsonl
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import soundfile

from benchmarks.machine import describe_machine
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.engine.settings import RunSettings
from tests.hostile.cases import QUICK, Case, all_cases, prepare_outside
from tests.hostile.judge import VIOLATIONS, Place, Trial, arguments_of, attempt, prepare


def good_dataset(folder: Path) -> Path:
    """Make the token dataset whose copies are then damaged: three rows, and one input in quarantine."""
    (folder / "good").mkdir()
    for number in range(3):
        soundfile.write(folder / f"good/{number}.wav", 0.3 * np.sin(np.arange(8000) / (9 + number)), 16000)
    (folder / "good/bad.wav").write_text("this is not audio")
    tokenize_corpus(folder / "good", folder / "tokens", run=RunSettings(workers=1))
    return folder / "tokens"


def trials(cases: Iterable[Case], folder: Path) -> Iterator[Trial]:
    """Run every command of every case, each case in a folder of its own that is removed behind it."""
    for number, case in enumerate(cases):
        place = Place(folder / f"case{number}")
        place.root.mkdir()
        prepare_outside(place)
        _write(case, place)
        for command in case.commands:
            arguments = arguments_of(command, place, case.corpus, case.tokenizer)
            yield attempt(case.name, case.kind, command, place, arguments)
        shutil.rmtree(place.root, ignore_errors=True)


def _write(case: Case, place: Place) -> None:
    """Write an input in a process of its own, so that the memory it takes is not inherited by those of the trials."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            case.write(place)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status == 0, f"{case.name} could not be written"


def summary(done: list[Trial], seconds: float) -> dict[str, object]:
    """Return the counts; those of violations must all be 0."""
    found = Counter(violation for trial in done for violation in trial.violations)
    return {
        "cases": len({trial.case for trial in done}),
        "trials": len(done),
        "by_kind": dict(Counter(trial.kind for trial in done)),
        "by_exit": {str(code): count for code, count in Counter(trial.exit for trial in done).items()},
        "seconds": round(seconds, 1),
        "slowest_seconds": max(trial.seconds for trial in done),
        "largest_mb": max(trial.peak_mb for trial in done),
        "unforeseen": sum("unforeseen" in trial.said for trial in done),
        "violations": {name: found[name] for name in VIOLATIONS},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--quick", action="store_true", help="only a few cases of each kind")
    parser.add_argument("--part", default="1/1", help="such as 2/3: the second of three parts of the cases")
    parser.add_argument("--log", type=Path, required=True)
    arguments = parser.parse_args()
    prepare()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        part, parts = map(int, arguments.part.split("/"))
        cases = [case for case in all_cases(good_dataset(folder)) if arguments.only in case.name]
        cases = (
            [case for case in cases if case.name in QUICK] if arguments.quick else cases[part - 1 :: parts]
        )
        done = []
        for trial in trials(cases, folder):
            done.append(trial)
            if trial.violations or "unforeseen" in trial.said:
                sys.stdout.write(
                    f"{trial.case} {trial.command} {trial.exit} {trial.seconds} s {trial.peak_mb} MB {trial.violations} {trial.said}\n"
                )
                sys.stdout.flush()
    found = summary(done, time.monotonic() - begun)
    head = {"command": "python tests/hostile/campaign.py", **describe_machine(), **found}
    arguments.log.parent.mkdir(parents=True, exist_ok=True)
    lines = [head, *map(asdict, done)]
    arguments.log.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    sys.exit(any(found["violations"].values()))  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
