"""What does the engine itself cost, and does a second worker help?

- `overhead`: many short clips and a tokenizer that does next to nothing. A plain loop reads, encodes and keeps
  the codes; the job does the same on Ray with one worker, and writes, hashes and commits. The difference per clip and
  core is the engine's cost, as is the same for `--executor local`.
- `scaling`: one tokenizer, one and two workers on Ray, without the time Ray takes to start.

    python benchmarks/overhead.py --clips 20000 --json benchmarks/results/overhead.json
    python benchmarks/overhead.py --corpus CORPUS --tokenizer facodec --checkpoint DIR
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from machine import describe_machine

from speechtok import load_tokenizer
from speechtok.audio.io import read_waveform
from speechtok.cards import find_card
from speechtok.corpora import read_corpus
from speechtok.jobs.run import tokenize_corpus
from speechtok.jobs.settings import JobSettings

RATE = 16000
BATCH_SECONDS = 20.0


def write_clips(folder: Path, clips: int) -> None:
    """Write clips of half a second to four seconds, a hundred different ones again and again."""
    generator = np.random.default_rng(0)
    waves = [generator.uniform(-0.5, 0.5, int(RATE * (0.5 + 3.5 * n / 100))) for n in range(100)]
    for number in range(clips):
        path = folder / f"{number % 100:02d}" / f"{number:06d}.wav"
        path.parent.mkdir(exist_ok=True)
        if number < 100:
            soundfile.write(path, waves[number], RATE)
        else:
            os.link(folder / f"{number % 100:02d}" / f"{number % 100:06d}.wav", path)


def trivial_card(folder: Path) -> None:
    """Write the card of a dMel with as little work as its family can have."""
    card = find_card("dmel_16k")[0]
    replace(card, name="trivial").write(folder / "trivial.yaml")


def cpu_seconds() -> float:
    """Return the CPU time of this process and of the children that have ended."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def plain_loop(corpus: Path, name: str) -> dict[str, float]:
    tokenizer = load_tokenizer(name)
    found = read_corpus(corpus)
    paths = [found.root / item.audio for item in found.utterances]
    tokenizer.encode(torch.zeros(RATE))
    wall, cpu, batch, seconds = time.perf_counter(), cpu_seconds(), list[Any](), 0.0
    for path in paths:
        waveform = read_waveform(path, sample_rate=tokenizer.sample_rate)
        batch.append(waveform.samples)
        seconds += waveform.duration
        if seconds >= BATCH_SECONDS:
            tokenizer.encode(batch)
            batch, seconds = [], 0.0
    if batch:
        tokenizer.encode(batch)
    return {
        "clips": len(paths),
        "wall_seconds": time.perf_counter() - wall,
        "cpu_seconds": cpu_seconds() - cpu,
    }


def job(corpus: Path, name: str, checkpoint: str | None = None, **how: Any) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        settings = JobSettings(batch_seconds=BATCH_SECONDS, shard_seconds=how.pop("shard_seconds", None))
        report = tokenize_corpus(
            corpus, Path(folder) / "out", tokenizer=name, checkpoint=checkpoint, settings=settings, **how
        )
    return {"wall_seconds": report.wall_seconds, "audio_seconds": report.seconds_made}


def measure_overhead(clips: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        corpus, cards = Path(folder) / "corpus", Path(folder) / "cards"
        corpus.mkdir()
        cards.mkdir()
        write_clips(corpus, clips)
        trivial_card(cards)
        os.environ["SPEECHTOK_CARDS"] = str(cards)
        plain = plain_loop(corpus, "trivial")
        result: dict[str, Any] = {"clips": clips, "plain": plain}
        for name, how in (
            ("local", {"executor": "local"}),
            ("ray_1", {"workers": 1}),
            ("ray_2", {"workers": 2}),
        ):
            found = job(corpus, "trivial", **how)
            cores = 2 if name == "ray_2" else 1
            added = 1000 * (found["wall_seconds"] * cores - plain["wall_seconds"]) / clips
            result[name] = found | {"added_ms_per_clip_and_core": added}
    return result


def measure_scaling(corpus: Path, name: str, checkpoint: str | None, shard_seconds: float) -> dict[str, Any]:
    found = {
        workers: job(corpus, name, checkpoint, workers=workers, shard_seconds=shard_seconds)
        for workers in (1, 2)
    }
    return {
        "tokenizer": name,
        "one_worker": found[1],
        "two_workers": found[2],
        "speedup": found[1]["wall_seconds"] / found[2]["wall_seconds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=20000)
    parser.add_argument("--corpus", type=Path, help="measure scaling on this corpus instead of overhead")
    parser.add_argument("--tokenizer", default="dmel_16k")
    parser.add_argument("--checkpoint")
    parser.add_argument("--shard-seconds", type=float, default=60.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {"machine": describe_machine()}
    if arguments.corpus is None:
        result["overhead"] = measure_overhead(arguments.clips)
        for name in ("local", "ray_1", "ray_2"):
            added = result["overhead"][name]["added_ms_per_clip_and_core"]
            print(f"{name:6} adds {added:.3f} ms per clip and core to a plain loop")
    else:
        scaling = measure_scaling(
            arguments.corpus, arguments.tokenizer, arguments.checkpoint, arguments.shard_seconds
        )
        result["scaling"] = scaling
        print(f"two workers are {scaling['speedup']:.2f} times as fast as one")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
