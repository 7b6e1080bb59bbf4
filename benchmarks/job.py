"""How much of the tokenizer's own speed does the whole job keep?

Figures from one run over one corpus, each in seconds of audio per second of wall time:

- `encode`: the tokenizer alone, one thread, waveforms in memory, nothing is read;
- `files`: bare encoding of files: as many processes as the job has workers, each reads, resamples and
  encodes its share in a plain loop and keeps nothing;
- `job_local`: the whole job in one process (plan, read ahead, encode, Parquet, hash, commit);
- `job_ray`: the whole job on Ray, without the time Ray takes to start, which is stated beside it.

    python benchmarks/job.py CORPUS --workers 2 --json benchmarks/results/job.json
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from machine import describe_machine, peak_megabytes, write_figures
from yardstick import yardstick

from speechtok import load_tokenizer
from speechtok.audio.io import read_waveform
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.corpora import read_corpus
from speechtok.engine.settings import JobSettings, RunSettings
from speechtok.errors import AudioError

BATCH_SECONDS = 20.0


def measure_encode(paths: list[Path], name: str, checkpoint: str | None) -> dict[str, float]:
    tokenizer = load_tokenizer(name, checkpoint=checkpoint)
    waveforms = [item.samples for path in paths if (item := _read(path, tokenizer.sample_rate)) is not None]
    seconds = sum(len(item) for item in waveforms) / tokenizer.sample_rate
    tokenizer.encode(waveforms[0])
    wall, cpu, batch = time.perf_counter(), time.process_time(), []
    for waveform in waveforms:
        batch.append(waveform)
        if sum(map(len, batch)) >= BATCH_SECONDS * tokenizer.sample_rate:
            tokenizer.encode(batch)
            batch = []
    if batch:
        tokenizer.encode(batch)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "audio_seconds": seconds,
        "wall_seconds": wall,
        "cpu_seconds": cpu,
        "times_real_time": seconds / wall,
    }


def measure_files(paths: list[Path], name: str, checkpoint: str | None, processes: int) -> dict[str, float]:
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        parts = list(
            pool.map(
                encode_files,
                *zip(*((paths[i::processes], name, checkpoint) for i in range(processes)), strict=True),
            )
        )
    seconds, wall = sum(part[0] for part in parts), max(part[1] for part in parts)
    return {
        "audio_seconds": seconds,
        "wall_seconds": wall,
        "processes": processes,
        "times_real_time": seconds / wall,
    }


def encode_files(paths: list[Path], name: str, checkpoint: str | None) -> tuple[float, float]:
    torch.set_num_threads(1)
    tokenizer = load_tokenizer(name, checkpoint=checkpoint)
    tokenizer.encode(torch.zeros(tokenizer.sample_rate))
    seconds, begun = 0.0, time.perf_counter()
    for path in paths:
        waveform = _read(path, tokenizer.sample_rate)
        if waveform is not None:
            tokenizer.encode(waveform.samples)
            seconds += waveform.duration
    return seconds, time.perf_counter() - begun


def measure_job(
    corpus: Path, name: str, checkpoint: str | None, executor: Any, workers: int | None
) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        report = tokenize_corpus(
            corpus,
            Path(folder) / "out",
            tokenizer=name,
            checkpoint=checkpoint,
            settings=JobSettings(batch_seconds=BATCH_SECONDS),
            run=RunSettings(executor=executor, workers=workers),
        )
        whole = time.perf_counter() - begun
    return {
        "audio_seconds": report.seconds_made,
        "whole_seconds": whole,
        "start_seconds": report.start_seconds,
        "wall_seconds": report.wall_seconds,
        "times_real_time": report.seconds_made / report.wall_seconds,
        "bytes": report.bytes,
        "quarantined": report.quarantined,
    }


def _read(path: Path, sample_rate: int) -> Any:
    try:
        return read_waveform(path, sample_rate=sample_rate)
    except AudioError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--tokenizer", default="dmel_16k")
    parser.add_argument("--checkpoint")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = read_corpus(arguments.corpus)
    paths = [found.root / item.audio for item in found.utterances]
    options = (arguments.tokenizer, arguments.checkpoint)
    result: dict[str, Any] = {
        "machine": describe_machine(),
        "corpus": found.name,
        "tokenizer": arguments.tokenizer,
    }
    result["yardstick_cpu_seconds"] = yardstick()
    result["encode"] = measure_encode(paths, *options)
    result["files"] = measure_files(paths, *options, arguments.workers)
    result["job_local"] = measure_job(arguments.corpus, *options, "local", None)
    result["job_ray"] = measure_job(arguments.corpus, *options, "ray", arguments.workers) | {
        "workers": arguments.workers
    }
    result["peak_megabytes"] = peak_megabytes()
    cpu_per_hour = result["encode"]["cpu_seconds"] / result["encode"]["audio_seconds"] * 3600
    result["encode"]["yardsticks_per_hour"] = cpu_per_hour / result["yardstick_cpu_seconds"]
    for name in ("encode", "files", "job_local", "job_ray"):
        shares = {
            of: result[name]["times_real_time"] / result[of]["times_real_time"] for of in ("encode", "files")
        }
        result[name] |= {f"share_of_{of}": share for of, share in shares.items()}
        listed = ", ".join(f"{100 * share:6.1f} % of {of}" for of, share in shares.items())
        print(f"{name:10} {result[name]['times_real_time']:9.0f} × real time  {listed}")
    write_figures(result, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
