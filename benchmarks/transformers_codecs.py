"""Codes that differ between an utterance alone and in a padded batch: transformers as it is, and speechtok.

Each codec is small, with weights that hold nothing (`tests/tokenizers/transformers_codecs/folders.py`), or with `--speed` of its
published size, with weights as transformers draws them. The share is that of the codes of all utterances that are shorter than
the longest of their batch. `--speed` compares the CPU seconds that encoding takes in one thread: 16 utterances of mixed
lengths here, as many of one length in one batch of plain transformers, and the mixed ones there one by one.
"""

from __future__ import annotations

import argparse
import inspect
import math
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

import speechtok
from speechtok.tokenizers.base import SpeechTokenizer
from tests.tokenizers.transformers_codecs.folders import SMALL, random_model, write_folder

FULL: dict[str, tuple[str, dict[str, Any]]] = {
    "mimi": ("mimi", {}),
    "encodec_24khz": ("encodec", {}),
    "dac_16khz": (
        "dac",
        {"downsampling_ratios": [2, 4, 5, 8], "upsampling_ratios": [8, 5, 4, 2], "n_codebooks": 12, "hop_length": 320},
    ),
}  # fmt: skip
"""Card → kind and what its published configuration has instead of the defaults, for `--speed`."""


def signal(samples: int, seed: int) -> torch.Tensor:
    random = np.random.default_rng(seed)
    swell = 1 + np.sin(np.arange(samples) / 900 + seed)
    return torch.from_numpy(0.1 * random.standard_normal(samples) * swell)


def plain(kind: str, model: Any, rows: list[torch.Tensor], hop: int) -> torch.Tensor:
    """Return the codes `(batch, codebooks, frames)` of rows padded together, with the masks that the model takes."""
    tail = {"dac": 0, "xcodec": 0, "xcodec2": 1, "neucodec": 1}.get(kind)
    if tail is not None:  # these extractors fill the last frame
        rows = [torch.nn.functional.pad(x, (0, tail + -(len(x) + tail) % hop)) for x in rows]
    values = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)[:, None]
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(x) for x in rows], batch_first=True)[:, None]
    takes = inspect.signature(model.encode).parameters
    options: dict[str, Any] = {}
    if kind in ("xcodec2", "neucodec"):
        margin = hop // 2 if kind == "xcodec2" else 0
        extract = transformers.SeamlessM4TFeatureExtractor()
        padded = [torch.nn.functional.pad(x, (margin, margin)).double().numpy() for x in rows]
        found = extract(padded, sampling_rate=16000, return_tensors="pt", padding=True)
        options = {
            "input_features": found["input_features"].to(values),
            "input_features_mask": found["attention_mask"],
        }
    if "padding_mask" in takes:
        options["padding_mask"] = mask.bool() if kind in ("encodec", "mimi") else mask.long()
    if "bandwidth" in takes:
        options["bandwidth"] = model.config.target_bandwidths[-1]
    codes: torch.Tensor = model.encode(values, **options).audio_codes
    return codes[0] if codes.ndim == 4 else codes


def differing(kind: str, dtype: torch.dtype, batches: int, folder: Path) -> tuple[int, int, int]:
    """Return the codes of shorter utterances, and how many differ in plain transformers and here."""
    card = write_folder(folder, kind)
    tokenizer = speechtok.load_tokenizer(card, dtype=dtype)
    model = random_model(kind).to(dtype)
    random = np.random.default_rng(0)
    hop, rate = tokenizer.streams[0].hop_length, tokenizer.sample_rate
    total = theirs = ours = 0
    for batch in range(batches):
        sizes = random.integers(hop, rate, 3).tolist()
        rows = [signal(size, 10 * batch + i).to(dtype) for i, size in enumerate(sizes)]
        with torch.no_grad():
            together = plain(kind, model, rows, hop)
            alone = [plain(kind, model, [row], hop)[0] for row in rows]
        mine = tokenizer.encode(rows)
        for i, row in enumerate(rows):
            if len(row) == max(sizes):
                continue
            frames = tokenizer.num_frames(len(row), "acoustic")
            total += alone[i][:, :frames].numel()
            theirs += int((together[i][:, :frames] != alone[i][:, :frames]).sum())
            ours += int((mine["acoustic"][i, :, :frames] != alone[i][:, :frames]).sum())
    return total, theirs, ours


def full_size(name: str, folder: Path) -> tuple[SpeechTokenizer, Any, str]:
    kind, changes = FULL[name]
    config = getattr(transformers, f"{SMALL[kind][0]}Config")(**changes)
    torch.manual_seed(0)
    model = getattr(transformers, f"{SMALL[kind][0]}Model")(config).eval()
    model.save_pretrained(folder)
    return speechtok.load_tokenizer(name, checkpoint=folder), model, kind


def seconds(*works: Callable[[], Any]) -> list[float]:
    """Return the fewest CPU seconds of three runs of each work, in turns, so that a busy machine slows all alike."""
    found = [math.inf] * len(works)
    for _ in range(3):
        for at, work in enumerate(works):
            start = time.process_time()
            with torch.no_grad():
                work()
            found[at] = min(found[at], time.process_time() - start)
    return found


def speed(name: str, folder: Path) -> str:
    tokenizer, model, kind = full_size(name, folder)
    hop, rate = tokenizer.streams[0].hop_length, tokenizer.sample_rate
    lengths = np.linspace(0.5, 2.5, 16) * rate
    rows = [signal(int(n), i).float() for i, n in enumerate(lengths)]
    equal = [signal(int(lengths.mean()), i).float() for i in range(16)]
    tokenizer.encode(rows[:2])
    mine, batch, single = seconds(
        lambda: tokenizer.encode(rows),
        lambda: plain(kind, model, equal, hop),
        lambda: [plain(kind, model, [row], hop) for row in rows],
    )
    return (
        f"| `{name}` | {sum(lengths) / rate / mine:.2f} | {sum(lengths) / rate / batch:.2f} | "
        f"{sum(lengths) / rate / single:.2f} | {batch / mine:.2f} | {single / mine:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--speed", nargs="*", choices=list(FULL), help="codecs of published size to measure")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"transformers {transformers.__version__}, torch {torch.__version__}, {platform.machine()}, one thread\n"
    )
    with tempfile.TemporaryDirectory() as place:
        if arguments.speed is not None:
            print(
                "seconds of audio per CPU second | speechtok | equal lengths | one by one | over equal | over one by one"
            )
            for name in arguments.speed or FULL:
                print(speed(name, Path(place, name)), flush=True)
            return
        print("| codec | codes | transformers, float64 | float32 | speechtok, float64 | float32 |")
        print("|---|---|---|---|---|---|")
        for kind in SMALL:
            columns = []
            for dtype in (torch.float64, torch.float32):
                total, theirs, ours = differing(kind, dtype, arguments.batches, Path(place, kind, str(dtype)))
                columns.append((theirs, ours))
            (theirs64, ours64), (theirs32, ours32) = columns
            print(
                f"| {kind} | {total:,} | {100 * theirs64 / total:.2f} % | {100 * theirs32 / total:.2f} % | {ours64} | {ours32} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
