"""The long campaign: many randomised trials in a row, with a log.

python tests/faults/campaign.py --trials 36 --log benchmarks/results/faults-2026-11-29.jsonl
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.machine import describe_machine
from tests.faults import annotating
from tests.faults.arena import KINDS, Arena


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=36)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument(
        "--annotating", action="store_true", help="break `annotate` and `filter` instead of `tokenize`"
    )
    arguments = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as folder, closing(Arena(Path(folder) / "arena")) as arena:
        trial = annotating.Annotating(arena).trial if arguments.annotating else arena.trial
        kinds = (
            list(annotating.KINDS)
            if arguments.annotating
            else [kind for kind in KINDS if kind != "fill disk" or arena.disk is not None]
        )
        arguments.log.parent.mkdir(parents=True, exist_ok=True)
        with arguments.log.open("w") as log:
            command = (
                f"python tests/faults/campaign.py --trials {arguments.trials}"
                + " --annotating" * arguments.annotating
            )
            log.write(json.dumps({"command": command, **describe_machine()}) + "\n")
            for number in range(arguments.trials):
                kind, seed = kinds[number % len(kinds)], arguments.first_seed + number // len(kinds)
                begun = time.monotonic()
                try:
                    told = trial(kind, seed) | {"outcome": "identical"}
                except Exception as error:
                    failed += 1
                    told = {"kind": kind, "seed": seed, "outcome": "failed", "error": repr(error)}
                    told["seconds"] = round(time.monotonic() - begun, 1)
                line = json.dumps(told)
                log.write(line + "\n")
                log.flush()
                sys.stdout.write(line + "\n")
    sys.stdout.write(
        f"{arguments.trials - failed} of {arguments.trials} trials ended with the undisturbed dataset\n"
    )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
