"""Does a job over HuBERT units cost more than the script that a user would write?

The script reads one recording after the other, runs transformers' `HubertModel` and takes the nearest of 100 centres: with all
twelve layers, as it comes, and cut to the six that are needed. The job plans, reads in a process of its own, encodes, writes
and commits. Weights are random, of the published sizes; time does not depend on their values. CPU seconds of all processes,
without those in which packages are imported and weights loaded; units that differ are counted.

    python benchmarks/hubert_job.py CORPUS --seconds 180 --json benchmarks/results/hubert_job.json
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe_machine, write_figures
from overhead import CpuMeter
from transformers import HubertConfig, HubertModel

from speechtok import TokenDataset
from speechtok.audio.io import read_waveform
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.corpora import read_corpus
from speechtok.engine.observer import Observer
from speechtok.engine.settings import RunSettings

LAYER, UNITS = 6, 100


def write_checkpoint(folder: Path) -> None:
    """Write a model of transformers and centres that lie among its features."""
    torch.manual_seed(0)
    model = HubertModel(HubertConfig()).eval()
    model.save_pretrained(folder / "features", safe_serialization=False)
    (folder / "kmeans").mkdir()
    with torch.inference_mode():
        noise = torch.randn(1, 16_000 * 4)
        features = model(noise, output_hidden_states=True).hidden_states[LAYER][0]
    np.save(folder / "kmeans" / "km.npy", features[:: len(features) // UNITS][:UNITS].numpy())


def script(files: list[Path], checkpoint: Path, layers: int) -> tuple[dict[str, np.ndarray[Any, Any]], float]:
    """Return the units of each file by name, and CPU seconds."""
    model = HubertModel.from_pretrained(checkpoint / "features").eval()
    del model.encoder.layers[layers:]
    centers = torch.from_numpy(np.load(checkpoint / "kmeans" / "km.npy"))
    found, begun = {}, time.process_time()
    with torch.inference_mode():
        for file in files:
            samples = torch.from_numpy(read_waveform(file, sample_rate=16_000).samples)[None]
            features = model(samples, output_hidden_states=True).hidden_states[LAYER][0]
            found[file.name] = torch.cdist(features, centers).argmin(1).numpy()
    return found, time.process_time() - begun


def job(corpus: Path, checkpoint: Path, output: Path) -> tuple[dict[str, np.ndarray[Any, Any]], float]:
    with CpuMeter() as meter:
        tokenize_corpus(
            corpus,
            output,
            tokenizer="hubert_base_l6_km100",
            checkpoint=str(checkpoint),
            run=RunSettings(workers=1),
            observer=Observer(ready=meter.begin),
        )
        seconds = sum(meter.seconds().values())
    return {Path(row["id"]).name: row["content"][0] for row in TokenDataset(output)}, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument(
        "--seconds", type=float, default=180.0, help="of audio, from the beginning of the corpus"
    )
    parser.add_argument("--rounds", type=int, default=2, help="of which the least counts")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {"machine": describe_machine()}
    with tempfile.TemporaryDirectory() as temporary:
        few, checkpoint = Path(temporary) / "corpus", Path(temporary) / "checkpoint"
        few.mkdir()
        total = 0.0
        found = read_corpus(arguments.corpus)
        for item in found.utterances:
            if total >= arguments.seconds:
                break
            source = Path(str(found.root / item.audio))
            total += read_waveform(source).duration
            (few / source.name).symlink_to(source.resolve())
        write_checkpoint(checkpoint)
        files = sorted(few.iterdir())
        rounds: list[dict[str, float]] = []
        for number in range(arguments.rounds):
            ours, seconds = job(few, checkpoint, Path(temporary) / f"out{number}")
            cut, cut_seconds = script(files, checkpoint, LAYER)
            whole, whole_seconds = script(files, checkpoint, 12)
            rounds.append({"job": seconds, "script": whole_seconds, "script_cut": cut_seconds})
            print(rounds[-1], flush=True)
        units = sum(len(value) for value in ours.values())
        differ = {
            name: sum(
                int((ours[key][: len(value)] != value[: len(ours[key])]).sum())
                for key, value in other.items()
            )
            for name, other in (("script", whole), ("script_cut", cut))
        }
    result |= {
        "audio_seconds": total,
        "files": len(files),
        "rounds": rounds,
        "least": {name: min(item[name] for item in rounds) for name in rounds[0]},
        "units": units,
        "units_that_differ": differ,
    }
    print({name: result[name] for name in ("audio_seconds", "least", "units", "units_that_differ")})
    write_figures(result, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
