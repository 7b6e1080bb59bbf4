"""A small corpus with its tokens, and the smallest vocoder that can be trained on it."""

import dataclasses
import os
import signal
import sys
from pathlib import Path
from typing import Any

import soundfile
import torch

from speechtok.cli.main import run
from speechtok.tokenizers.units.jukebox import F0VqVae
from speechtok.training.loop import Watcher
from speechtok.training.settings import LoopSettings
from speechtok.training.unit_vocoder import run as trainer
from speechtok.training.unit_vocoder.settings import DataSettings, NetworkSettings, UnitVocoderSettings
from tests.goldens import recipe
from tests.tokenizers.units.folder import CARD, fill, make_folder, save
from tests.training.recordings import recordings_of

SETTINGS = UnitVocoderSettings(
    loop=LoopSettings(steps=4, batch_size=2, log_every=2, validate_every=2, save_every=2),
    data=DataSettings(segment_samples=3840, validation_seconds=1.0),
    network=NetworkSettings(
        channels=32,
        embedding=16,
        block_kernels=(3,),
        periods=(2, 3),
        period_channels=(4, 4, 8),
        scale_channels=(16,) * 7,
    ),
)
UNITS = 8


def make_corpus(folder: Path) -> Path:
    """Eight recordings of two speakers, with a manifest that names splits."""
    lines = ["audio\tsplit\tspeaker"]
    for number in range(8):
        samples = 1900 if number == 2 else 9000 + 1111 * number  # one shorter than a segment
        soundfile.write(
            folder / f"s{number % 2}_{number}.wav", 0.4 * recipe.speechlike(samples, seed=number), 16000
        )
        lines.append(f"s{number % 2}_{number}.wav\t{'dev' if number > 5 else 'train'}\ts{number % 2}")
    (folder / "manifest.tsv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.tsv"


def make_tokenizer(folder: Path) -> Path:
    """Log-mel units and a pitch quantizer, without a vocoder."""
    make_folder(folder, speaker=None, features="logmel", units=UNITS)
    save(folder, "f0", "g_00000001", {"generator": fill(F0VqVae(), gain=2.0)})
    save(folder, "f0", "f0_stats.pth", {"f0_mean": 142.0, "f0_std": 20.0})
    (folder / "tokenizer.yaml").write_text(CARD.format(units=UNITS, rate=100, hop=160, features="logmel"))
    return folder


def make_tokens(folder: Path) -> tuple[Path, Path]:
    """Return a token dataset of the corpus, and its tokenizer."""
    (folder / "corpus").mkdir(parents=True)
    manifest, tokenizer = make_corpus(folder / "corpus"), make_tokenizer(folder / "units")
    words = ["tokenize", str(manifest), str(folder / "tokens"), "--tokenizer", str(tokenizer)]
    assert run([*words, "--workers", "1"]) == 0
    return folder / "tokens", tokenizer


def train_unit_vocoder(source: str | Path, *arguments: Any, **options: Any) -> Any:
    """Train on a dataset and the recordings it was made from, or on a list and those that it names."""
    if Path(source).is_dir():
        options.setdefault("corpus_root", recordings_of(source))
    return trainer.train_unit_vocoder(source, *arguments, **options)


def changed(section: str, **values: object) -> UnitVocoderSettings:
    """The small settings with other values in one section."""
    part = dataclasses.replace(getattr(SETTINGS, section), **values)
    return dataclasses.replace(SETTINGS, **{section: part})


def train_in_parts(folder: Path, tokens: str, tokenizer: str, accumulation: str) -> None:
    """Train some steps, whose batches go through the networks in parts."""
    loop = dataclasses.replace(SETTINGS.loop, batch_size=4, accumulation=int(accumulation))
    train_unit_vocoder(tokens, folder, dataclasses.replace(SETTINGS, loop=loop), tokenizer=tokenizer)


def main() -> None:
    """Train in this process and die by SIGKILL after a step, without any chance to clean up."""
    tokens, tokenizer, folder, last = sys.argv[1:]

    def stepped(step: int, metrics: object) -> None:
        if step == int(last):
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    train_unit_vocoder(tokens, Path(folder), SETTINGS, tokenizer=tokenizer, watcher=Watcher(stepped=stepped))


if __name__ == "__main__":
    main()
