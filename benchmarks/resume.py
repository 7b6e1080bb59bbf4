"""How long does a stream take to go on from a stored state, early and late in an epoch?

One dataset of FACodec's shape is written and read once in shuffled batches, and the state is kept at several places. For
each place, new streams load its state and give their next batch; the figure is the time from `load_state_dict` to
that batch, beside which the time to open the dataset and to make the stream is the same for all places. Every batch
must be the one that followed in the first reading.

    python benchmarks/resume.py --rows 60000 --json benchmarks/results/resume.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine, write_figures
from readers import write_dataset

import speechtok

PLACES = (0.0, 0.25, 0.5, 0.75, 0.99)
"""Shares of the epoch's batches that were taken before the state was stored."""
SECONDS = 1.5
"""Mean length of a row."""


def measure(folder: Path, repeats: int, settings: dict[str, Any]) -> dict[str, Any]:
    start = time.perf_counter()
    stream = speechtok.TokenDataset(folder).stream(**settings)
    opened = time.perf_counter() - start
    count = stream.count()
    wanted = {int(place * count): place for place in PLACES}
    states, following = {0.0: stream.state_dict()}, {}
    for number, batch in enumerate(stream, start=1):
        if (place := wanted.get(number - 1)) is not None:
            following[place] = batch["id"]
        if (place := wanted.get(number)) is not None:
            states[place] = stream.state_dict()
    seconds: dict[float, list[float]] = {place: [] for place in PLACES}
    for _ in range(repeats):
        for place in PLACES:
            again = speechtok.TokenDataset(folder).stream(**settings)
            start = time.perf_counter()
            again.load_state_dict(states[place])
            batch = next(iter(again))
            seconds[place].append(time.perf_counter() - start)
            if batch["id"] != following[place]:
                raise SystemExit(f"The batch after {place:.0%} of the epoch is another one.")
    return {
        "batches": count,
        "seconds_to_open": opened,
        "state_bytes": len(json.dumps(states[PLACES[-1]])),
        "places": {
            f"{place:.0%}": {"median_seconds": statistics.median(times), "longest_seconds": max(times)}
            for place, times in seconds.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--max-tokens", type=int, default=8000, help="frames per batch, padding included")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    lengths = np.random.default_rng(0).gamma(3.0, SECONDS / 3, arguments.rows).clip(0.3, 30)
    with tempfile.TemporaryDirectory() as place:
        write_dataset(Path(place), (lengths * 16000).astype(np.int64))
        result = {
            "machine": describe_machine(),
            "load": os.getloadavg()[0],
            "rows": arguments.rows,
            "max_tokens": arguments.max_tokens,
            **measure(Path(place), arguments.repeats, {"seed": 1, "max_tokens": arguments.max_tokens}),
        }
    print(json.dumps(result, indent=1))
    write_figures(result, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
