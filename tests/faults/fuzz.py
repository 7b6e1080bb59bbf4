"""Tokenize many damaged recordings on Ray, and look where each of them ended.

The job must end well, every recording must be in a shard or in quarantine and nowhere twice, what is whole must
be in a shard, and no worker may be lost unless the recording that ended it is in quarantine by name.

python tests/faults/fuzz.py --log benchmarks/results/fuzz-2026-11-29.jsonl --also FOLDER
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import pyarrow.parquet as pq

from benchmarks.machine import describe_machine
from speechtok.engine.job_log import read_events
from speechtok.shards.layout import Layout
from speechtok.shards.verify import verify
from tests.faults.mutations import FORMATS, MUTATIONS, write_mutated

COMMAND = [sys.executable, "-c", "from speechtok.cli.main import main; main()", "tokenize"]
OPTIONS = ["--workers", "2", "--shard-seconds", "20", "--timeout-seconds", "20"]
ERRORS = {"AudioError", "TimeoutError", "MemoryError", "ReaderDied", "WorkerDied"}


def fuzz(
    folder: Path, count: int, also: Path | None = None
) -> tuple[dict[str, object], list[dict[str, object]]]:
    """Write and tokenize `count` damaged recordings and those of a folder.

    Returns:
        A summary, and a line for each recording.

    Raises:
        AssertionError: when something is not as it must be.
    """
    write_mutated(folder / "mutated", count)
    names = sorted(path.relative_to(folder).as_posix() for path in (folder / "mutated").iterdir())
    if also is not None:
        (folder / "also").symlink_to(also.resolve())
        found = [path for path in (folder / "also").rglob("*") if path.is_file()]
        names += sorted(path.relative_to(folder).as_posix() for path in found)
    lines = [json.dumps({"id": name, "audio": name}) for name in names]  # a list, so that none is passed over
    (folder / "list.jsonl").write_text("\n".join(lines))
    out, begun = folder / "out", time.monotonic()
    done = subprocess.run(
        [*COMMAND, str(folder / "list.jsonl"), str(out), *OPTIONS],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    seconds = time.monotonic() - begun
    assert done.returncode == 0, done.stderr
    where = [(row["id"], None) for path in (out / "data").iterdir() for row in _rows(path, ["id"])]
    where += [(row["id"], row) for row in _rows(out / "quarantine" / "train.parquet")]
    assert Counter(name for name, _ in where) == Counter(names)
    assert verify(Layout(out)).problems == ()
    failed = {name: row for name, row in where if row is not None}
    lost = [event for event in read_events(Layout(out)) if event["event"] == "worker lost"]
    named = [name for name, row in failed.items() if row["error"] == "WorkerDied"]
    assert bool(lost) == bool(named), (lost, named)
    assert not [name for name in failed if "-keep-" in name or "-mislabel-" in name]
    for name, row in failed.items():
        assert row["error"] in ERRORS, row
        assert name in row["message"], row
        assert str(folder) not in row["message"], row
    told = [_line(name, failed.get(name)) for name in names]
    return {
        "recordings": len(names),
        "mutated": count,
        "formats": len(FORMATS),
        "mutations": [mutation.__name__ for mutation in MUTATIONS],
        "seconds": round(seconds, 1),
        "exit_code": done.returncode,
        "in_shards": len(names) - len(failed),
        "in_quarantine": len(failed),
        "by_error": dict(Counter(row["error"] for row in failed.values())),
        "workers_lost": len(lost),
    }, told


def _rows(path: Path, columns: list[str] | None = None) -> list[dict[str, str]]:
    return pq.read_table(path, columns=columns).to_pylist()


def _line(name: str, row: dict[str, str] | None) -> dict[str, object]:
    if row is None:
        return {"audio": name, "in": "shard"}
    return {"audio": name, "in": "quarantine", "error": row["error"], "message": row["message"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=2 * len(FORMATS) * len(MUTATIONS))
    parser.add_argument("--also", type=Path, help="a folder with further recordings")
    parser.add_argument("--log", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        summary, lines = fuzz(Path(folder), arguments.count, arguments.also)
    head = {"command": "python tests/faults/fuzz.py", **describe_machine(), **summary}
    arguments.log.parent.mkdir(parents=True, exist_ok=True)
    arguments.log.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in [head, *lines]))
    sys.stdout.write(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
