"""What a run writes for people: TensorBoard, the examples as sound files, and the page.

Contents: `RunLog`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from speechtok.audio.io import read_waveform, write_wav
from speechtok.report.training import Sound, TrainingRun, write_training_report
from speechtok.training.checkpoint import Checkpoint
from speechtok.training.settings import LoopSettings
from speechtok.training.task import Validation

REPORT = "report.html"
TRAINING, VALIDATION = "training", "validation"
"""Splits of the curves."""


class RunLog:
    """Writes into a run's folder; the curves' points are kept in the run's state, which is saved with it.

    Args:
        folder: of the run.
        state: of the run.
        settings: how it trains.
    """

    def __init__(self, folder: Path, state: Checkpoint, settings: LoopSettings) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.folder, self.state, self.settings = folder, state, settings
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=state.step + 1)

    def add_point(self) -> None:
        """Make a point of the curves of the steps since the last one."""
        pending = self.state.pending
        names = dict.fromkeys(name for metrics in pending for name in metrics)
        means = {
            name: float(np.mean([metrics[name] for metrics in pending if name in metrics])) for name in names
        }
        pending.clear()
        self._add(TRAINING, means)

    def add_validation(self, found: Validation) -> None:
        """Add what a validation gave, and write its examples and the page.

        Raises:
            OSError: when something cannot be written.
        """
        self._add(VALIDATION, found.metrics)
        for sound in found.sounds:
            for samples in sound.made.values():
                self._board.add_audio(sound.id, samples, self.state.step, sound.sample_rate)
        self._board.flush()
        sounds = self._keep_examples(found)
        run = TrainingRun(
            title=f"{self.folder.resolve().parent.name}: {self.folder.resolve().name}",
            step=self.state.step,
            steps=self.settings.steps,
            settings=asdict(self.settings) | dict(self.state.settings),
            history=self.state.history,
            sounds=sounds,
            usage=found.usage,
        )
        write_training_report(run, self.folder / REPORT)

    def close(self) -> None:
        """Let go of TensorBoard's file."""
        with suppress(OSError):  # a disk that is full was reported before
            self._board.close()

    def _add(self, split: str, values: Mapping[str, float]) -> None:
        self.state.history.append({"step": self.state.step, "split": split, **values})
        for name, value in values.items():
            self._board.add_scalar(f"{split}/{name}", value, self.state.step)

    def _keep_examples(self, found: Validation) -> list[Sound]:
        """Write the examples of this step; keep those of the first and of this one, and return both."""
        if not found.sounds:
            return []
        root = self.folder / "examples"
        folder = root / f"step-{self.state.step:08d}"
        folder.mkdir(parents=True, exist_ok=True)
        for number, sound in enumerate(found.sounds):
            for name, samples in {"original": sound.original, **sound.made}.items():
                write_wav(folder / f"{number}-{name}.wav", samples, sound.sample_rate)
        first, *others = sorted(root.glob("step-*"))
        for other in others:
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
        if first == folder:
            return [_renamed(sound, folder) for sound in found.sounds]
        return [
            replace(
                sound,
                made={
                    f"{name}, {_caption(place)}": read_waveform(place / f"{number}-{name}.wav").samples
                    for name in sound.made
                    for place in (first, folder)
                },
            )
            for number, sound in enumerate(found.sounds)
        ]


def _renamed(sound: Sound, folder: Path) -> Sound:
    return replace(sound, made={f"{name}, {_caption(folder)}": it for name, it in sound.made.items()})


def _caption(folder: Path) -> str:
    return f"after step {int(folder.name.removeprefix('step-')):,}"
