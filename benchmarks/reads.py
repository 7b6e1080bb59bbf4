"""How many bytes do the readers of an epoch read, all ranks and workers together, over the bytes of the data?

A dataset of FACodec's shape with 600 row groups is read once by each layout of ranks and workers, one reader after the
other in this process, in batches under a token budget. Bytes are those that the process asked the disk for
(`rchar` in `/proc/self/io`): to open the dataset in each rank, with the lengths of all rows, which happens once in a training
(one rank does it here, and is counted as all), and while the workers read the epoch. Row groups are counted beside it.

    python benchmarks/reads.py --json benchmarks/results/reads.json
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import readers
from machine import describe_machine, write_figures

import speechtok
from speechtok.shards import stream as stream_module
from speechtok.shards import writer

LAYOUTS = ((1, 1), (8, 4), (64, 8))
"""Ranks, and workers of each."""
GROUPS, FILES = 600, 12


def write_groups(folder: Path, rows: int) -> int:
    """Write row groups of so many rows, the same ones in each file; return the bytes of all."""
    count = GROUPS // FILES * rows
    lengths = np.random.default_rng(0).gamma(3.0, 4 / 3, count).clip(0.5, 30)
    readers.SHARDS, writer.ROW_GROUP_ROWS = 1, rows
    readers.write_dataset(folder, (lengths * 16000).astype(np.int64))
    first = folder / "data" / "train-00000-of-00001.parquet"
    for number in range(FILES):
        os.link(first, first.with_name(f"train-{number:05d}-of-{FILES:05d}.parquet"))
    size = first.stat().st_size
    first.unlink()
    return size * FILES


def bytes_read() -> int:
    """Return the bytes that this process has read so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def measure(folder: Path, size: int, ranks: int, workers: int, max_tokens: int) -> dict[str, Any]:
    """Read an epoch as so many readers; return what they read, and how even their shares are."""
    before = bytes_read()
    dataset = speechtok.TokenDataset(folder)
    stream = dataset.stream(max_tokens=max_tokens, rank=0, world_size=ranks)
    opened, before = bytes_read() - before, bytes_read()
    read_group, groups = dataset.read_group, list[int]()

    def counted(group: int, columns: Any = None) -> Any:
        groups.append(group)
        return read_group(group, columns)

    dataset.read_group = counted  # type: ignore[method-assign]
    rows, batches, own = 0, [0] * ranks, []
    for rank in range(ranks):
        for worker in range(workers):
            info, seen = SimpleNamespace(id=worker, num_workers=workers), len(groups)
            stream_module.get_worker_info = lambda info=info: info  # type: ignore[attr-defined]
            reader = copy.copy(stream)  # as a process that is forked: with the files that are open
            reader.rank = rank
            for batch in reader:
                rows += len(batch)
                batches[rank] += 1
            own.append(len(groups) - seen)
    return {
        "ranks": ranks,
        "workers": workers,
        "read_over_data": (bytes_read() - before) / size,
        "opened_over_data": ranks * opened / size,
        "row_groups_read": len(groups),
        "row_groups_of_a_worker": [min(own), max(own)],
        "batches_of_a_rank": [min(batches), max(batches)],
        "rows": rows,
        "padding": stream.padding(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200, help="rows of a row group")
    parser.add_argument("--max-tokens", type=int, default=8000, help="frames per batch, padding included")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        size = write_groups(Path(place), arguments.rows)
        result: dict[str, Any] = {
            "machine": describe_machine(),
            "load": os.getloadavg()[0],
            "row_groups": GROUPS,
            "rows": GROUPS * arguments.rows,
            "files": FILES,
            "megabytes": size / 1e6,
            "max_tokens": arguments.max_tokens,
            "layouts": [],
        }
        speechtok.TokenDataset(place).stream()  # reads torch itself
        for ranks, workers in LAYOUTS:
            found = measure(Path(place), size, ranks, workers, arguments.max_tokens)
            if found["rows"] != result["rows"]:
                raise SystemExit(f"{ranks} ranks with {workers} workers read {found['rows']} rows.")
            result["layouts"].append(found)
    print(json.dumps(result, indent=1))
    write_figures(result, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
