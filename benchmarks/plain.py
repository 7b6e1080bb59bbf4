"""The plain script that a job is compared with: soundfile, the tokenizer and pyarrow in some processes, and the job itself.

The script has no plan and no resume, quarantines nothing and dies of a recording that crashes its decoder; it is what somebody writes in ten
minutes. Each runs as a command of its own, start included. On a machine that does other things as well, CPU seconds are the figure to trust.

    python benchmarks/plain.py CORPUS --rounds 3 --json benchmarks/results/plain.json
    python benchmarks/plain.py CORPUS --tokenizer facodec --checkpoint DIR
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import describe_machine, write_figures
from overhead import CpuMeter

SUFFIXES = (".flac", ".wav", ".opus", ".ogg", ".mp3")
BATCH_SECONDS = 20.0


def plain_part(files: list[str], output: str, name: str, checkpoint: str | None) -> None:
    """Tokenize files one batch after the other into one Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import soundfile
    import soxr
    import torch

    from speechtok import load_tokenizer

    torch.set_num_threads(1)
    tokenizer = load_tokenizer(name, checkpoint=checkpoint)
    schema, writer = None, None
    batch, seconds = list[tuple[str, Any]](), 0.0
    for place, file in enumerate(files):
        try:
            samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
        except soundfile.SoundFileError:
            continue
        mono = samples.mean(axis=1)
        if rate != tokenizer.sample_rate:
            mono = soxr.resample(mono, rate, tokenizer.sample_rate)
        batch.append((file, mono))
        seconds += len(mono) / tokenizer.sample_rate
        if seconds < BATCH_SECONDS and place < len(files) - 1:
            continue
        tokens = tokenizer.encode([item for _, item in batch])
        for row, (path, _) in enumerate(batch):
            codes = {
                stream.name: [
                    tokens[stream.name][row, :, : int(tokens.num_frames[stream.name][row])].numpy().tolist()
                ]
                for stream in tokenizer.info.streams
            }
            table = pa.table({"id": [path], **codes})
            if writer is None:
                schema = table.schema
                writer = pq.ParquetWriter(output, schema, compression="zstd")
            writer.write_table(table)
        batch, seconds = [], 0.0
    if writer is not None:
        writer.close()


def plain(corpus: Path, output: Path, name: str, checkpoint: str | None, processes: int) -> None:
    """Share the files of a folder among processes."""
    import torch  # noqa: F401 (once, before the processes are forked)

    files = sorted(str(path) for path in corpus.rglob("*") if path.suffix in SUFFIXES)
    output.mkdir()
    parts = [
        (files[number::processes], str(output / f"{number}.parquet"), name, checkpoint)
        for number in range(processes)
    ]
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        pool.starmap(plain_part, parts)


def measured(command: list[str]) -> dict[str, float]:
    """Run a command; return its wall time, and the CPU time of it and all that it started."""
    with CpuMeter() as meter:
        begun = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        wall = time.perf_counter() - begun
        cpu = meter.seconds()
    return {"wall_seconds": round(wall, 2), "cpu_seconds": round(sum(cpu.values()) - cpu["driver"], 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", type=Path, help="a folder of recordings")
    parser.add_argument("--tokenizer", default="dmel_16k")
    parser.add_argument("--checkpoint")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="of which the least counts")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plain-only", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    name, checkpoint, processes = arguments.tokenizer, arguments.checkpoint, arguments.processes
    if arguments.plain_only is not None:
        plain(arguments.corpus, arguments.plain_only, name, checkpoint, processes)
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    files = ["--checkpoint", checkpoint] if checkpoint else []
    job = [
        sys.executable,
        "-c",
        "from speechtok.cli.main import main; main()",
        "tokenize",
        str(arguments.corpus),
    ]
    rounds = []
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            script = [sys.executable, __file__, str(arguments.corpus), "--tokenizer", name, *files]
            script += ["--processes", str(processes), "--plain-only", f"{folder}/plain"]
            options = ["--tokenizer", name, *files, "--workers", str(processes)]
            found = {"plain": measured(script), "job": measured([*job, f"{folder}/job", *options])}
        rounds.append(found)
        print(found, flush=True)
    least = {
        kind: {what: min(one[kind][what] for one in rounds) for what in rounds[0][kind]} for kind in rounds[0]
    }
    for what in ("wall_seconds", "cpu_seconds"):
        print(
            f"the job takes {least['job'][what] / least['plain'][what]:.2f} times the {what.replace('_', ' ')} of the script"
        )
    write_figures(
        {"machine": describe_machine(), "tokenizer": name, "rounds": rounds, "least": least}, arguments.json
    )


if __name__ == "__main__":
    sys.exit(main())
