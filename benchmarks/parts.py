"""What a job of very many parts costs beside the audio: bookkeeping, joining, reading back, and the end of it in a slow store.

    python benchmarks/parts.py [--tasks 1000 10000 100000] [--parts 20000] [--stored 10000] [--latency 30] [--seconds 1] [--json FILE]

`tasks`: the driver's ledger, log and progress are driven as a job drives them, with records instead of parts, in CPU seconds; then a
restart reads all records. `parts`: parts of two utterances of so many seconds on a disk become files of 16 MiB, and every row is read back. `stored`: the same in
the memory of this process, where each request waits so many milliseconds; the end of a job is all that comes after its last part.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from machine import describe_machine, peak_megabytes, write_figures

from speechtok.cards import find_card
from speechtok.commands.tokenize import finish
from speechtok.engine.executor import InThisProcess
from speechtok.engine.job_log import JobLog, check_errors
from speechtok.engine.settings import JobSettings
from speechtok.shards.layout import Layout, json_bytes
from speechtok.shards.ledger import Ledger
from speechtok.shards.parts import PartRecord, SplitRecord, commit, part_record
from speechtok.shards.plan import PLAN_COLUMNS, Plan, ShardTask, read_plan
from speechtok.shards.reader import TokenDataset
from speechtok.shards.schema import token_schema
from speechtok.shards.writer import ShardWriter
from speechtok.storage import StorePath, as_path
from speechtok.storage.stores import Store, store_of
from speechtok.version import __version__

ROWS = 2
"""Utterances of a part."""
FILE_MB = 16.0
"""Size of a file."""
PAGE = 1000
"""Names or objects of one request."""


def plan_of(layout: Layout, parts: int, seconds: float) -> Plan:
    """Freeze a plan of so many parts, of utterances of so many seconds."""
    card = find_card("dmel_16k")[0]
    settings = {
        "tokenizer": card.info("f00d").to_dict(),
        "card": card.to_dict(),
        "job": JobSettings(file_mb=FILE_MB).to_dict(),
        "corpus": {"kind": "synthetic", "name": "synthetic"},
        "speechtok_version": __version__,
    }
    schema = pa.schema(PLAN_COLUMNS)

    def tables() -> Iterator[pa.Table]:
        for start in range(0, parts, 10_000):
            yield pa.Table.from_pylist(
                [
                    {
                        "id": f"{part:06d}-{row}",
                        "audio": f"{part:06d}-{row}.flac",
                        "start": 0.0,
                        "split": "train",
                        "seconds": seconds,
                        "shard": part,
                    }
                    for part in range(start, min(parts, start + 10_000))
                    for row in range(ROWS)
                ],
                schema=schema,
            )

    Plan.of_tables(settings, schema, tables()).write(layout)
    return read_plan(layout)


class Clock:
    """Wall and CPU seconds of what is done between two looks at it."""

    def __init__(self) -> None:
        self._begun = time.perf_counter(), time.process_time()

    def lap(self) -> dict[str, float]:
        """Return both since the last look, and begin anew."""
        now = time.perf_counter(), time.process_time()
        wall, cpu = (after - before for after, before in zip(now, self._begun, strict=True))
        self._begun = now
        return {"wall_seconds": round(wall, 2), "cpu_seconds": round(cpu, 2)}


def bookkeeping(count: int, folder: Path) -> dict[str, Any]:
    """Drive what a driver keeps of its tasks; then read it as a restart does."""
    layout = Layout(folder / f"tasks{count}")
    plan, found = plan_of(layout, count, 1.0), dict[str, Any](tasks=count)
    layout.parts.mkdir()  # type: ignore[union-attr]

    def made(task: ShardTask) -> PartRecord:
        contents = SplitRecord(split=task.split, rows=task.num_rows, seconds=task.seconds)
        return PartRecord(number=task.number, sha256="0" * 64, bytes=1, splits=(contents,))

    clock = Clock()
    tasks = plan.tasks
    ledger = Ledger.read(layout, plan)
    missing = ledger.missing(layout, tasks)
    log = JobLog(layout, {})
    with log.kept(plan, ledger, missing), closing(InThisProcess().map(made, missing, log.observer)) as done:
        for _, record in done:
            assert isinstance(record, PartRecord)
            log.committed(record)
            check_errors(log.ledger, 10)
    found["run"] = clock.lap()
    for number, record in ledger.parts.items():
        layout.part_record(number).write_bytes(json_bytes(asdict(record)))  # type: ignore[union-attr]
    clock.lap()
    assert len(Ledger.read(layout, read_plan(layout)).parts) == count
    return found | {"restart": clock.lap()}


def write_parts(layout: Layout, plan: Plan, seconds: float) -> None:
    """Commit parts of random codes."""
    schema, info = token_schema(plan.info, plan.card, plan.extra_types), plan.info
    (stream,) = info.streams
    random = np.random.default_rng(0)
    samples = int(seconds * info.sample_rate)
    shape = (stream.num_codebooks, int(seconds * stream.frame_rate))
    plain = {"num_samples": samples, "duration": seconds, "source_sample_rate": info.sample_rate}
    for task in plan.tasks:
        with layout.temporary(layout.part(task.number)) as temporary:
            with ShardWriter(temporary, schema, info) as writer:
                for row in task_ids(task):
                    codes = random.integers(0, stream.codebook_size, shape).astype(np.uint16)
                    columns = {"id": row, "audio": f"{row}.flac", stream.name: codes, **plain}
                    writer.add({**dict.fromkeys(schema.names), **columns})
            record = part_record(task.number, temporary, task.split, rows=ROWS, seconds=ROWS * seconds)
            commit(layout, temporary, record)


def task_ids(task: ShardTask) -> list[str]:
    return [f"{task.index:06d}-{row}" for row in range(ROWS)]


def joined(layout: Layout, parts: int, seconds: float) -> dict[str, Any]:
    """Write parts, end the job, and read all rows back."""
    found, clock = dict[str, Any](parts=parts, seconds=seconds), Clock()
    plan = plan_of(layout, parts, seconds)
    write_parts(layout, plan, seconds)
    found["write_parts"] = clock.lap()
    ledger = Ledger.read(layout, plan)
    found["read_records"] = clock.lap()
    assert not ledger.missing(layout, plan.tasks)
    found["check_parts"] = clock.lap()
    finish(layout, plan, ledger)
    found["end"] = clock.lap()
    rows = 0
    for row in TokenDataset(layout.root):
        assert row["id"] == f"{rows // ROWS:06d}-{rows % ROWS}"
        rows += 1
    assert rows == ROWS * parts
    found |= {"read_rows": clock.lap(), "files": len(ledger.files), "bytes": ledger.bytes}
    return found


def slowed(store: Store, seconds: float) -> Counter[str]:
    """Let each request to a store of this process wait; returns how many there are of each kind from now on."""
    counts = Counter[str]()

    def waiting(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def request(*arguments: Any, **options: Any) -> Any:
            counts[name] += 1
            time.sleep(seconds)
            return call(*arguments, **options)

        return request

    def listing(*arguments: Any) -> Iterator[Any]:
        for number, item in enumerate(lists(*arguments)):
            if number % PAGE == 0:
                counts["list"] += 1
                time.sleep(seconds)
            yield item

    lists = store.list
    for name in ("head", "read", "put", "delete", "delete_many"):
        setattr(store, name, waiting(name, getattr(store, name)))
    store.list = listing  # type: ignore[method-assign]
    return counts


def stored(parts: int, seconds: float, latency_ms: float) -> dict[str, Any]:
    """End a job in a store whose every request takes a while."""
    layout, clock = Layout(as_path("memory://bench/out")), Clock()
    plan = plan_of(layout, parts, seconds)
    write_parts(layout, plan, seconds)
    found: dict[str, Any] = {
        "parts": parts,
        "seconds": seconds,
        "latency_ms": latency_ms,
        "write_parts": clock.lap(),
    }
    for task in plan.tasks:
        note = layout.attempts(task.split, task.index)
        assert isinstance(note, StorePath)
        note.put(b"{}")
    clock.lap()
    counts = slowed(store_of("memory", "bench"), latency_ms / 1000)
    ledger = Ledger.read(layout, plan)
    found["restart_read_records"] = clock.lap()
    assert not ledger.missing(layout, plan.tasks)
    found["restart_check_parts"] = clock.lap()
    counts.clear()
    layout.clear_attempts()
    finish(layout, plan, ledger)
    found["end"] = {**clock.lap(), "requests": dict(counts)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    parser.add_argument("--parts", type=int, default=20_000)
    parser.add_argument("--stored", type=int, default=10_000)
    parser.add_argument("--latency", type=float, default=30.0, help="milliseconds of each request")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of each utterance")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    figures = describe_machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures["bookkeeping"] = [bookkeeping(count, folder) for count in arguments.tasks]
        print(figures["bookkeeping"], flush=True)
        if arguments.parts:
            figures["joined"] = joined(Layout(folder / "joined"), arguments.parts, arguments.seconds)
            print(figures["joined"], flush=True)
    if arguments.stored:
        figures["stored"] = stored(arguments.stored, arguments.seconds, arguments.latency)
        print(figures["stored"], flush=True)
    write_figures({**figures, "peak_mb": round(peak_megabytes())}, arguments.json)


if __name__ == "__main__":
    main()
