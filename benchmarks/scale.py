"""Planning and commit log at scale: peak memory and time against the number of utterances or files.

    python benchmarks/scale.py [--utterances 10000 1000000 5000000] [--files 1000000] [--json FILE]

Each size runs in a process of its own. Of utterances, a manifest whose lengths are stated is planned, frozen, read
back and compared with the corpus as a rerun does; then a commit record for every shard is written and read. Of files, a
folder is listed and cut into slices, and these are written as a table, to know how large it is.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
from machine import describe_machine, peak_megabytes, write_figures

from speechtok.cards import find_card
from speechtok.corpora import read_corpus
from speechtok.engine.looking import SLICE_SECONDS, Lookers
from speechtok.engine.planning import Listed, check_same, make_plan, source_of
from speechtok.engine.settings import JobSettings
from speechtok.shards.layout import Layout, write_json
from speechtok.shards.ledger import Ledger
from speechtok.shards.parts import PartRecord, SplitRecord
from speechtok.shards.plan import read_plan
from speechtok.shards.writer import write_table
from speechtok.utterances import Utterance


class Synthetic:
    """Utterances of 2 to 16 s in no order, made anew each time."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[Utterance]:
        draw = random.Random(0)
        for number in range(self.count):
            speaker = f"s{draw.randrange(20_000):05d}"
            name = f"{speaker}/{number:09d}"
            yield Utterance(
                id=name,
                audio=f"{name}.flac",
                seconds=2.0 + 14.0 * draw.random(),
                text="what was said in about a dozen words or so",
                speaker=speaker,
                language="en",
            )


def measure(count: int) -> dict[str, float]:
    card = find_card("dmel_16k")[0]
    info, settings = card.info("f00d"), JobSettings()
    found: dict[str, float] = {"utterances": count}
    with tempfile.TemporaryDirectory() as folder:
        layout, manifest = Layout(Path(folder) / "out"), Path(folder) / "synthetic.jsonl"
        with manifest.open("w") as file:
            for item in Synthetic(count):
                row = {"id": item.id, "audio": item.audio, "duration": item.seconds, "text": item.text}
                file.write(json.dumps({**row, "speaker": item.speaker, "language": item.language}) + "\n")
        corpus = read_corpus(manifest)

        def step(name: str, begun: float) -> float:
            found[f"{name}_seconds"] = round(time.perf_counter() - begun, 2)
            return time.perf_counter()

        begun = time.perf_counter()
        with Lookers() as lookers:
            make_plan(corpus, info, card.to_dict(), settings, lookers).write(layout)
        begun = step("plan", begun)
        plan = read_plan(layout)
        tasks = plan.tasks
        begun = step("read", begun)
        check_same(plan, corpus, info, card.to_dict(), settings, folder)
        begun = step("compare", begun)
        for task in tasks:
            contents = SplitRecord(split=task.split, rows=task.num_rows, seconds=task.seconds)
            record = PartRecord(number=task.number, sha256="0" * 64, bytes=1, splits=(contents,))
            write_json(layout, layout.part_record(task.number), asdict(record))
        begun = step("commit", begun)
        assert len(Ledger.read(layout, plan).parts) == len(tasks)
        step("log", begun)
        found |= {
            "shards": len(tasks),
            "hours": round(plan.seconds / 3600),
            "plan_bytes": layout.plan_rows.stat().st_size,
        }
    found["peak_mb"] = round(peak_megabytes())
    return found


def measure_files(count: int) -> dict[str, float]:
    """Return what it takes to cut a folder of files, which hold nothing, into slices."""
    with tempfile.TemporaryDirectory() as place:
        folder, table = Path(place) / "corpus", Path(place) / "slices.parquet"
        for number in range(count):
            file = folder / f"s{number // 500:05d}" / f"utterance-{number % 500:05d}.wav"
            if number % 500 == 0:
                file.parent.mkdir(parents=True)
            file.touch()
            os.truncate(file, 256_000)
        source, listed = source_of(read_corpus(folder)), Listed()
        begun, spent = time.perf_counter(), time.process_time()
        rows = [asdict(part) for part in source.slices(listed.noting(source.files()), SLICE_SECONDS)]
        found = {
            "files": count,
            "slices_seconds": round(time.perf_counter() - begun, 2),
            "slices_cpu_seconds": round(time.process_time() - spent, 2),
            "peak_mb": round(peak_megabytes()),
        }
        assert (sum(len(row["names"]) for row in rows), listed.files) == (count, count)
        write_table(pa.Table.from_pylist(rows), table)
        return {**found, "slices": len(rows), "table_bytes": table.stat().st_size}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--utterances", type=int, nargs="*", default=[10_000, 1_000_000, 5_000_000])
    parser.add_argument("--files", type=int, nargs="*", default=[])
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        kind, number = arguments.one
        print(json.dumps({"utterances": measure, "files": measure_files}[kind](int(number))))
        return
    rows = []
    asked = [("utterances", count) for count in arguments.utterances]
    asked += [("files", count) for count in arguments.files]
    for kind, count in asked:
        command = [sys.executable, __file__, "--one", kind, str(count)]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        print(rows[-1], flush=True)
    write_figures({**describe_machine(), "rows": rows}, arguments.json)


if __name__ == "__main__":
    main()
