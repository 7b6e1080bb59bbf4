"""A run that takes seconds: `python -m tests.training.spectral.small CORPUS RUN STEP` kills itself after a step."""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from speechtok.tokenizers.spectral.config import SpectralConfig
from speechtok.training.loop import Watcher
from speechtok.training.settings import LoopSettings
from speechtok.training.spectral.run import train_spectral
from speechtok.training.spectral.settings import (
    DataSettings,
    JudgeSettings,
    LossSettings,
    SpectralSettings,
)
from tests.goldens import recipe
from tests.tokenizers.small import SPECTRAL

SETTINGS = SpectralSettings(
    name="small",
    loop=LoopSettings(steps=6, batch_size=4, log_every=2, validate_every=3, save_every=2),
    data=DataSettings(segment_frames=32, validation_seconds=0.5, held_out=0.2),
    codec=SpectralConfig(**SPECTRAL),
    judges=JudgeSettings(windows=(256,), channels=2, seconds=0.2),
    losses=LossSettings(codebooks_from=2, adversarial_from=3, main_codebooks=2, warmup_steps=1),
)


def make_corpus(folder: Path) -> Path:
    """A folder of seven recordings."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(7):
        samples = np.asarray(recipe.speechlike(14_000 + 300 * number, 16000, seed=number))
        soundfile.write(folder / f"{number}.wav", samples, 16000)
    return folder


def run(folder: Path, corpus: str, accumulation: str) -> None:
    """Train some steps, whose batches go through the networks in parts."""
    loop = replace(SETTINGS.loop, accumulation=int(accumulation))
    train_spectral(corpus, folder, replace(SETTINGS, loop=loop))


def main(corpus: str, run: str, last: str) -> None:
    def stepped(step: int, metrics: object) -> None:
        if step == int(last):
            os.kill(os.getpid(), signal.SIGKILL)

    train_spectral(corpus, Path(run), SETTINGS, watcher=Watcher(stepped=stepped))


if __name__ == "__main__":
    main(*sys.argv[1:])
