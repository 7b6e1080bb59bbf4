"""Speed of FACodec on this machine: `python benchmarks/facodec.py [--checkpoint DIR] [--codes N]`.

Prints encode and decode of ten seconds, batch 1, float32, one thread, in CPU seconds and in yardsticks of the
same run (`yardstick.py`), with the C kernel and with plain torch; and how many codes of `--dtype` (float32 or
bfloat16) differ from float64 over at least `--codes` codes. Without `--checkpoint` the weights are made by the recipe of the
tests, which changes no speed.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from exactness import describe_differences  # noqa: E402
from yardstick import best, yardstick  # noqa: E402

from speechtok import load_tokenizer  # noqa: E402
from speechtok.nets import anti_aliased  # noqa: E402
from speechtok.tokenizers.facodec.convert import HEADS  # noqa: E402
from tests.goldens import recipe  # noqa: E402
from tests.goldens.facodec.weights import INVENTORY, published_weights  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, help="folder with the published files")
    parser.add_argument(
        "--codes", type=int, default=100_000, help="codes compared between --dtype and float64"
    )
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--name", default="facodec", choices=["facodec", "facodec_v2"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = arguments.checkpoint or recipe_checkpoint(Path(folder), arguments.name)
        speed(arguments.name, checkpoint)
        quick, exact = (
            load_tokenizer(arguments.name, checkpoint=checkpoint, dtype=getattr(torch, dtype))
            for dtype in (arguments.dtype, "float64")
        )
        print(describe_differences(quick, exact, arguments.codes))


def recipe_checkpoint(folder: Path, name: str) -> Path:
    """Write the published files of one tokenizer with recipe weights."""
    for model in INVENTORY:
        if model.endswith("_v2") == (name == "facodec_v2"):
            weights = {k: v for k, v in published_weights(model).items() if not k.startswith(HEADS)}
            torch.save(weights, folder / f"ns3_facodec_{model}.bin")
    return folder


def speed(name: str, checkpoint: Path) -> None:
    tokenizer = load_tokenizer(name, checkpoint=checkpoint)
    waveform = torch.from_numpy(recipe.speechlike(160_000, seed=6)).float()
    tokens = tokenizer.encode(waveform)
    kernel = anti_aliased._kernel
    for form in ("C kernel", "plain torch"):
        if form == "plain torch":
            anti_aliased._kernel = lambda: None
        elif kernel() is None:
            continue
        unit = yardstick()
        encode, decode = (
            best(lambda: tokenizer.encode(waveform), 4),
            best(lambda: tokenizer.decode(tokens), 2),
        )
        unit = min(unit, yardstick())
        print(f"{name}, 10 s, {form}: yardstick {unit:.3f} s")
        print(f"  encode {encode:6.3f} s  {encode / unit:5.1f} yardsticks  {10 / encode:5.1f} × real time")
        print(
            f"  decode {decode:6.3f} s  {decode / unit:5.1f} yardsticks  {10 / decode:5.1f} × real time",
            flush=True,
        )
    anti_aliased._kernel = kernel


if __name__ == "__main__":
    main()
