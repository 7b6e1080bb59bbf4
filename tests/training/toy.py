"""The smallest adversarial trainer: what the loop does to it can be followed by hand."""

import dataclasses
import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from speechtok.errors import AudioError, JobError
from speechtok.report.training import Sound
from speechtok.shards.statistics import StreamStatistics
from speechtok.tokens import StreamInfo
from speechtok.training.loop import Watcher, train
from speechtok.training.settings import LoopSettings
from speechtok.training.task import Turn, Validation

SETTINGS = LoopSettings(steps=8, batch_size=4, log_every=3, validate_every=4, save_every=2)
CONTENT = StreamInfo(name="content", num_codebooks=1, codebook_size=4, frame_rate=50.0, hop_length=320)


class Lines:
    """Points near a line; some utterances can be unusable."""

    def __init__(self, count=12, unusable=()):
        self.count, self.unusable = count, unusable

    def __len__(self):
        return self.count

    def name(self, index):
        return f"line-{index}"

    def draw(self, index, random):
        if index in self.unusable:
            raise AudioError(f"The recording of 'line-{index}' is silent.")
        x = random.standard_normal(3).astype(np.float32)
        return {"x": x, "y": np.float32(index % 3) + x.sum(keepdims=True)}


class Toy:
    """A generator with dropout, a discriminator, and a schedule."""

    def __init__(self, folder, examples=None, *, rate=0.1, dropout=0.5, poison=None):
        torch.manual_seed(0)
        self.folder, self.poison = folder, poison
        generator = nn.Sequential(nn.Linear(3, 4), nn.Dropout(dropout), nn.Linear(4, 1))
        self.networks = {"generator": generator, "discriminator": nn.Linear(1, 1)}
        self.optimizers = {
            name: torch.optim.AdamW(network.parameters(), lr=rate) for name, network in self.networks.items()
        }
        self.schedules = {
            name: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
            for name, optimizer in self.optimizers.items()
        }
        self.schedule_steps = 3
        self.turns = (
            Turn(optimizer="discriminator", loss=self.discriminator),
            Turn(optimizer="generator", loss=self.generator),
        )
        self.examples = examples or Lines()
        self.identity = {"rate": rate}
        self.calls = 0

    def discriminator(self, batch, networks):
        made = networks["generator"](batch["x"]).detach()
        loss = (1 - networks["discriminator"](batch["y"])).square().mean()
        loss = loss + networks["discriminator"](made).square().mean()
        return loss, {"discriminator": loss}

    def generator(self, batch, networks):
        made = networks["generator"](batch["x"])
        loss = (made - batch["y"]).square().mean()
        loss = loss + 0.1 * (1 - networks["discriminator"](made)).square().mean()
        self.calls += 1
        if self.calls == self.poison:
            loss = loss * float("nan")
        return loss, {"generator": loss}

    def validate(self):
        x = torch.ones(1, 3, dtype=next(self.networks["generator"].parameters()).dtype)
        value = float(self.networks["generator"](x))
        tone = np.sin(np.arange(1600) / 10)
        counts = np.array([[3, 1, 0, 0]])
        return Validation(
            metrics={"error": abs(3 - value)},
            sounds=[Sound(id="<tone>", sample_rate=16000, original=tone, made={"made": 0.5 * tone})],
            usage=[StreamStatistics(stream=CONTENT, counts=counts, stored_bytes=0)],
        )

    def export(self):
        (self.folder / "exported").write_text(f"{float(self.networks['discriminator'].bias.detach()):.9g}")


def run(folder, accumulation):
    """Train without dropout."""
    settings = dataclasses.replace(SETTINGS, accumulation=int(accumulation))
    train(Toy(folder, dropout=0.0), folder, settings)


def drift(folder):
    """Train, but let one of the processes change its weights, and keep what is said."""
    toy = Toy(folder)

    def stepped(step, metrics):
        if os.environ["RANK"] == "1":
            weight = toy.networks["generator"][0].weight.data
            weight.copy_(weight.flip(0))  # whose sum stays the same

    try:
        train(toy, folder, SETTINGS, watcher=Watcher(stepped=stepped))
    except JobError as error:
        (folder / f"said-{os.environ['RANK']}").write_text(str(error))


def main():
    """Train in this process and die by SIGKILL after a step, without any chance to clean up."""
    folder, last = Path(sys.argv[1]), int(sys.argv[2])

    def stepped(step, metrics):
        if step == last:
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    train(Toy(folder), folder, dataclasses.replace(SETTINGS), watcher=Watcher(stepped=stepped))


if __name__ == "__main__":
    main()
