"""Speed and memory of FAcodec at 24 kHz: `python benchmarks/facodec_24k.py [--checkpoint DIR] [--codes N] [--minutes M]`.

Prints encode, decode and conversion of ten seconds, batch 1, float32, one thread, in CPU seconds and in yardsticks
of the same run (`yardstick.py`; wall seconds on a GPU); how many float32 codes differ from float64 over at least
`--codes` codes; what loading for encode takes above torch; and with `--minutes` the peak memory of encoding a file of
that length. Without `--checkpoint` the weights are made by the recipe of the tests, which changes no speed.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from exactness import describe_differences  # noqa: E402
from machine import peak_megabytes  # noqa: E402
from yardstick import best, yardstick  # noqa: E402

from speechtok import load_tokenizer  # noqa: E402
from speechtok.tokenizers.base import SpeechTokenizer  # noqa: E402
from tests.goldens import recipe  # noqa: E402
from tests.goldens.facodec_24k.weights import write_published  # noqa: E402

NAME, RATE = "facodec_24k", 24_000
BLOCK_SECONDS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, help="folder with FAcodec/ and FAcodec-redecoder/")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--codes", type=int, default=20_000, help="codes compared between float32 and float64"
    )
    parser.add_argument("--minutes", type=float, default=0, help="length of a file to encode for its memory")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = arguments.checkpoint
        if checkpoint is None:
            checkpoint = Path(folder) / "checkpoint"
            for model in ("facodec", "redecoder"):
                write_published(checkpoint, model)
        elif arguments.device == "cpu":  # else making the weights has taken more than loading does
            before = peak_megabytes()
            tokenizer = load_tokenizer(NAME, checkpoint=checkpoint)
            print(f"Loading for encode takes {peak_megabytes() - before:.0f} MB above torch at its peak")
            if arguments.minutes:
                memory(tokenizer, arguments.minutes, Path(folder))
            del tokenizer
        speed(checkpoint, arguments.device)
        quick, exact = (
            load_tokenizer(NAME, checkpoint=checkpoint, device=arguments.device, dtype=dtype)
            for dtype in (torch.float32, torch.float64)
        )
        print(describe_differences(quick, exact, arguments.codes))


def memory(tokenizer: SpeechTokenizer, minutes: float, folder: Path) -> None:
    """Encode a long file piece by piece."""
    path, block = folder / "long.wav", recipe.speechlike(BLOCK_SECONDS * RATE, RATE, seed=1)
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        for _ in range(round(minutes * 60 / BLOCK_SECONDS)):
            file.write(block.astype(np.float32))
    start = time.perf_counter()
    tokens = tokenizer.encode(path, chunk_seconds=BLOCK_SECONDS)
    seconds = time.perf_counter() - start
    print(
        f"{minutes:g} minutes: {tokens.codes.shape[2]} frames in {seconds:.0f} s of wall time, "
        f"peak resident memory {peak_megabytes():.0f} MB",
        flush=True,
    )


def speed(checkpoint: Path, device: str) -> None:
    tokenizer = load_tokenizer(NAME, checkpoint=checkpoint, device=device)
    waveform = torch.from_numpy(recipe.speechlike(10 * RATE, RATE, seed=6)).float()
    tokens = tokenizer.encode(waveform)
    runs = {
        "encode": lambda: tokenizer.encode(waveform),
        "decode": lambda: tokenizer.decode(tokens),
        "redecoder": lambda: tokenizer.convert_voice(tokens, tokens, method="redecoder"),
    }
    unit, least = float("inf"), dict.fromkeys(runs, float("inf"))
    for _ in range(3):  # interleaved, since other work on the machine comes and goes
        unit = min(unit, yardstick(2))
        for name, run in runs.items():
            least[name] = min(least[name], best(run, 1, device))
    print(f"{NAME} on {device}, 10 s: yardstick {unit:.3f} s")
    for name, seconds in least.items():
        print(
            f"  {name:9} {seconds:6.3f} s  {seconds / unit:5.1f} yardsticks  {10 / seconds:5.1f} × real time",
            flush=True,
        )


if __name__ == "__main__":
    main()
