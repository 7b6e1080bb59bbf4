"""What does the engine itself cost, and does a second worker help?

- `overhead`: many short clips and a tokenizer that does little: 16 log-mel channels at 25 Hz, of which come as many codes as of
  FACodec. A plain loop reads, encodes and forgets the codes; the job also plans, hands over, writes, hashes and commits. The
  difference per clip is the engine's cost, in CPU time of all processes that take part, from the moment when the first worker
  is up, and in wall time per core. Each is the least of some rounds; on a machine that does other things as well, CPU time is the
  figure to trust.
- `scaling`: one tokenizer on Ray, one worker on one core and two on two, without the time Ray takes to start.

    python benchmarks/overhead.py --clips 20000 --json benchmarks/results/overhead.json
    python benchmarks/overhead.py --corpus CORPUS --tokenizer facodec --checkpoint DIR
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import psutil
import soundfile
import torch
from machine import describe_machine, write_figures

from speechtok import load_tokenizer
from speechtok.audio.io import read_waveform
from speechtok.cards import find_card
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.corpora import read_corpus
from speechtok.engine.observer import Observer
from speechtok.engine.settings import JobSettings, RunSettings

RATE = 16000
BATCH_SECONDS = 20.0
HOP, CHANNELS = 640, 16
KINDS = {"reader_process": "reader", "engine.local": "worker", "ray::_RayWorker": "worker"}
"""What a part of a command line says of a process."""
LOOK_SECONDS = 0.1
"""How often processes are looked at: of one that ends, the time since the last look is lost."""


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
    """Write the card of a dMel of few frames and channels: 400 codes a second."""
    card = find_card("dmel_16k")[0]
    (mel,) = card.streams
    replace(
        card,
        name="trivial",
        streams=(replace(mel, num_codebooks=CHANNELS, frame_rate=RATE / HOP, hop_length=HOP),),
        architecture={**card.architecture, "num_channels": CHANNELS, "hop_length": HOP},
    ).write(folder / "trivial.yaml")


class CpuMeter:
    """CPU seconds of this process and all its descendants, by what they are, from a moment on; use as a context manager."""

    def __init__(self) -> None:
        self._last: dict[int, float] = {}
        self._first: dict[int, float] = {}
        self._kinds: dict[int, str] = {}  # which a process that ends no longer shows
        self._own = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self.begin()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def begin(self) -> None:
        """Count from now on."""
        self._look()
        self._first = dict(self._last)

    def seconds(self) -> dict[str, float]:
        """Return the seconds since `begin`."""
        self._look()
        found = dict.fromkeys(("driver", "worker", "reader", "ray"), 0.0)
        for pid, value in self._last.items():
            found[self._kinds.get(pid, "ray")] += value - self._first.get(pid, 0.0)
        return {name: round(value, 2) for name, value in found.items()}

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            self._look()

    def _look(self) -> None:
        begun = time.thread_time()
        me = psutil.Process()
        for process in (me, *me.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                times, line = process.cpu_times(), " ".join(process.cmdline())
                self._last[process.pid] = times.user + times.system
                for mark, kind in KINDS.items():
                    if mark in line:
                        self._kinds[process.pid] = kind
        self._kinds[me.pid] = "driver"
        self._own += time.thread_time() - begun
        self._last[me.pid] -= self._own  # which the job does not take


def plain_loop(corpus: Path, name: str) -> dict[str, float]:
    tokenizer = load_tokenizer(name)
    found = read_corpus(corpus)
    paths = [found.root / item.audio for item in found.utterances]
    tokenizer.encode(torch.zeros(RATE))
    read_waveform(paths[0], sample_rate=tokenizer.sample_rate)
    wall, cpu, batch, seconds = time.perf_counter(), time.process_time(), list[Any](), 0.0
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
        "cpu_seconds": time.process_time() - cpu,
    }


def job(corpus: Path, name: str, checkpoint: str | None = None, **how: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        settings = JobSettings(batch_seconds=BATCH_SECONDS, shard_seconds=how.pop("shard_seconds", None))
        with CpuMeter() as meter:
            report = tokenize_corpus(
                corpus,
                Path(folder) / "out",
                tokenizer=name,
                checkpoint=checkpoint,
                settings=settings,
                observer=Observer(ready=meter.begin),
                **how,
            )
            cpu = meter.seconds()
    return {
        "wall_seconds": report.wall_seconds,
        "audio_seconds": report.seconds_made,
        "cpu_seconds": sum(cpu.values()),
        "cpu_by_kind": cpu,
    }


def measure_overhead(clips: int, rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        corpus, cards = Path(folder) / "corpus", Path(folder) / "cards"
        corpus.mkdir()
        cards.mkdir()
        write_clips(corpus, clips)
        trivial_card(cards)
        os.environ["SPEECHTOK_CARDS"] = str(cards)
        kinds: dict[str, Callable[[], dict[str, Any]]] = {
            "plain": lambda: plain_loop(corpus, "trivial"),
            "local": lambda: job(corpus, "trivial", run=RunSettings(workers=1)),
            "ray_1": lambda: job(corpus, "trivial", run=RunSettings(executor="ray", workers=1)),
            "ray_2": lambda: job(corpus, "trivial", run=RunSettings(executor="ray", workers=2)),
        }
        found = [{name: measure() for name, measure in kinds.items()} for _ in range(rounds)]
    result: dict[str, Any] = {"clips": clips, "rounds": found}
    for measure in ("cpu_seconds", "wall_seconds"):
        least = {name: min(one[name][measure] for one in found) for name in kinds}
        for name in ("local", "ray_1", "ray_2"):
            cores = 2 if name == "ray_2" and measure == "wall_seconds" else 1
            added = 1000 * (least[name] * cores - least["plain"]) / clips
            result.setdefault(name, {})[f"added_{measure.split('_')[0]}_ms_per_clip"] = added
    return result


def measure_scaling(corpus: Path, name: str, checkpoint: str | None, shard_seconds: float) -> dict[str, Any]:
    found, cores = {}, sorted(os.sched_getaffinity(0))
    for workers in (1, 2):
        os.sched_setaffinity(0, cores[:workers])  # a worker is meant for a core, reading included
        found[workers] = job(
            corpus,
            name,
            checkpoint,
            run=RunSettings(executor="ray", workers=workers),
            shard_seconds=shard_seconds,
        )
    return {
        "tokenizer": name,
        "one_worker": found[1],
        "two_workers": found[2],
        "speedup": found[1]["wall_seconds"] / found[2]["wall_seconds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=20000)
    parser.add_argument("--rounds", type=int, default=3, help="of which the least counts")
    parser.add_argument("--corpus", type=Path, help="measure scaling on this corpus instead of overhead")
    parser.add_argument("--tokenizer", default="dmel_16k")
    parser.add_argument("--checkpoint")
    parser.add_argument("--shard-seconds", type=float, default=60.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {"machine": describe_machine()}
    if arguments.corpus is None:
        result["overhead"] = measure_overhead(arguments.clips, arguments.rounds)
        for name in ("local", "ray_1", "ray_2"):
            found = result["overhead"][name]
            print(
                f"{name:6} adds {found['added_cpu_ms_per_clip']:.3f} ms of CPU time a clip, "
                f"{found['added_wall_ms_per_clip']:.3f} ms of wall time a clip and core"
            )
    else:
        scaling = measure_scaling(
            arguments.corpus, arguments.tokenizer, arguments.checkpoint, arguments.shard_seconds
        )
        result["scaling"] = scaling
        print(f"two workers are {scaling['speedup']:.2f} times as fast as one")
    write_figures(result, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
