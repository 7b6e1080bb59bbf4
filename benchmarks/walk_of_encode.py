"""How much code does a waveform pass on its way to codes? `python benchmarks/walk_of_encode.py [NAME …] [--json FILE]`.

Counts the files of speechtok, and the functions in them, that one `encode` of a second of speech enters: what a reader opens to
follow it. It is the second call: what is loaded or cached by the first is not counted, nor is anything of torch. Weights are made by the
recipe of the tests, which changes no walk. With `--verbose`, the functions are named.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from facodec import recipe_checkpoint  # noqa: E402
from machine import describe_machine, write_figures  # noqa: E402

import speechtok  # noqa: E402
from speechtok.tokenizers.base import SpeechTokenizer  # noqa: E402
from tests.goldens import recipe  # noqa: E402
from tests.goldens.facodec_24k.weights import write_published  # noqa: E402
from tests.tokenizers.funcodec.published import write_small_folder  # noqa: E402
from tests.tokenizers.units.folder import make_folder  # noqa: E402

PACKAGE = Path(speechtok.__file__).parent
Walk = dict[str, set[str]]
"""File → functions that were entered."""


def facodec(folder: Path) -> SpeechTokenizer:
    return speechtok.load_tokenizer("facodec", checkpoint=recipe_checkpoint(folder, "facodec"))


def facodec_24k(folder: Path) -> SpeechTokenizer:
    write_published(folder, "facodec")
    return speechtok.load_tokenizer("facodec_24k", checkpoint=folder)


def funcodec(folder: Path) -> SpeechTokenizer:
    return speechtok.load_tokenizer(write_small_folder(folder, "time"))


def freqcodec(folder: Path) -> SpeechTokenizer:
    return speechtok.load_tokenizer(write_small_folder(folder, "freq"))


def hubert_units(folder: Path) -> SpeechTokenizer:
    make_folder(folder, speaker=None)
    return speechtok.load_tokenizer(folder / "tokenizer.yaml", checkpoint=folder)


def dmel(folder: Path) -> SpeechTokenizer:
    return speechtok.load_tokenizer("dmel_16k")


TOKENIZERS: dict[str, Callable[[Path], SpeechTokenizer]] = {
    item.__name__: item for item in (facodec, facodec_24k, funcodec, freqcodec, hubert_units, dmel)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(TOKENIZERS)}; all when left out"
    )
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--verbose", action="store_true", help="name the functions")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in TOKENIZERS]:
        parser.error(f"no tokenizer '{unknown[0]}'; there are {', '.join(TOKENIZERS)}")
    figures: dict[str, Any] = describe_machine()
    for name in arguments.names or TOKENIZERS:
        with tempfile.TemporaryDirectory() as folder:
            walk = walk_of(TOKENIZERS[name](Path(folder)))
        functions = sum(map(len, walk.values()))
        figures[name] = {
            "files": len(walk),
            "functions": functions,
            "walk": {k: len(v) for k, v in walk.items()},
        }
        print(f"{name}: {len(walk)} files, {functions} functions")
        for file, entered in walk.items():
            print(f"    {file}: {', '.join(sorted(entered)) if arguments.verbose else len(entered)}")
    write_figures(figures, arguments.json)


def walk_of(tokenizer: SpeechTokenizer) -> Walk:
    """Return what `encode` enters, in the order of the files' first call."""
    waveform = torch.from_numpy(recipe.speechlike(tokenizer.sample_rate, seed=6)).float()
    tokenizer.encode(waveform)
    with entered_functions() as walk:
        tokenizer.encode(waveform)
    return walk


@contextmanager
def entered_functions() -> Iterator[Walk]:
    """Collect the functions of speechtok that are entered inside the block, in this thread."""
    walk: Walk = {}

    def note(frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            # comprehensions and lambdas belong to the function that holds them
            name = frame.f_code.co_qualname.split(".<locals>")[0]
            walk.setdefault(path.relative_to(PACKAGE).as_posix(), set()).add(name)

    sys.setprofile(note)
    try:
        yield walk
    finally:
        sys.setprofile(None)


if __name__ == "__main__":
    main()
