"""Speed of FunCodec on this machine: `python benchmarks/funcodec.py [MODEL ...] [--device cuda] [--codes N]`.

Prints encode and decode of ten seconds, batch 1, float32, one thread, in CPU seconds and in yardsticks of the
same run (`yardstick.py`); the speed per second of audio of a batch of 16 mixed lengths against one by one;
and the share of float32 codes that differ from float64 over at least `--codes` codes. On a GPU the figures
are wall seconds. The weights are made by the recipe of the tests, which changes no speed.
"""

import argparse
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from yardstick import best, yardstick  # noqa: E402

from speechtok.tokenizers.funcodec.codec import Codec  # noqa: E402
from tests.tokenizers.funcodec.published import GOLDEN_OF, build, signal  # noqa: E402

MODELS = ("encodec_nq32ds640", "encodec_nq32ds320", "freqcodec_magphase_nq32ds320")
RATE = 16_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL", help=", ".join(GOLDEN_OF))
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--codes", type=int, default=30_000, help="codes compared between float32 and float64"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for model in arguments.models:
        codec = build(model, torch.float32).to(arguments.device)
        one_utterance(model, codec, arguments.device)
        mixed_batch(codec, arguments.device)
        differing(codec, build(model, torch.float64).to(arguments.device), arguments.codes, arguments.device)


def one_utterance(model: str, codec: Codec, device: str) -> None:
    x, length = signal(10 * RATE, 6).float()[None].to(device), torch.tensor([10 * RATE])
    encoded = codec.encode(x, length)
    unit = encode = decode = float("inf")
    for _ in range(5):  # interleaved, since other work on the machine comes and goes
        unit = min(unit, yardstick(2))
        encode = min(encode, best(lambda: codec.encode(x, length), 2, device))
        decode = min(
            decode, best(lambda: codec.decode(encoded.codes, encoded.num_frames, encoded.scale), 2, device)
        )
    print(f"{model} on {device}, 10 s: yardstick {unit:.3f} s")
    for name, seconds in (("encode", encode), ("decode", decode)):
        times = 10 / seconds
        print(
            f"  {name} {seconds:6.3f} s  {seconds / unit:5.2f} yardsticks  {times:6.1f} × real time",
            flush=True,
        )


def mixed_batch(codec: Codec, device: str) -> None:
    lengths = [RATE + index * RATE * 4 // 15 for index in range(16)]
    items = [signal(length, index).float() for index, length in enumerate(lengths)]
    batch = torch.nn.utils.rnn.pad_sequence(items, batch_first=True).to(device)

    def alone() -> None:
        for index, length in enumerate(lengths):
            codec.encode(batch[index : index + 1, :length], torch.tensor([length]))

    together = codec.encode(batch, torch.tensor(lengths)).codes
    differ = total = 0
    for index, length in enumerate(lengths):
        codes = codec.encode(batch[index : index + 1, :length], torch.tensor([length])).codes[0]
        differ += int((codes != together[index, :, : codes.shape[1]]).sum())
        total += codes.numel()
    single = best(alone, 3, device)
    batched = best(lambda: codec.encode(batch, torch.tensor(lengths)), 3, device)
    print(f"  16 of 1 to 5 s: {sum(lengths) / RATE / batched:.1f} × real time in a batch,", end=" ")
    print(
        f"{single / batched:.2f} times the speed of one by one; {differ} of {total} codes differ", flush=True
    )


def differing(quick: Codec, exact: Codec, codes: int, device: str) -> None:
    wrong = first = total = frames = 0
    seed = 100
    while total < codes:
        x, length = signal(5 * RATE, seed)[None].to(device), torch.tensor([5 * RATE])
        mine, theirs = quick.encode(x.float(), length).codes, exact.encode(x, length).codes
        differ = mine != theirs
        wrong, total = wrong + int(differ.sum()), total + differ.numel()
        first, frames = first + int(differ.any(dim=1).sum()), frames + differ.shape[2]
        seed += 1
    print(
        f"  float32 against float64: {wrong} of {total} codes differ, in {first} of {frames} frames",
        flush=True,
    )


if __name__ == "__main__":
    main()
