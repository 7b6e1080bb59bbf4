"""A step of the unit vocoder's training equals the same step written out by hand, in float64."""

import dataclasses

import numpy as np
import pytest
import torch

from speechtok.nets.mel import slaney_filters
from speechtok.training import loop
from speechtok.training.batches import Batches
from speechtok.training.task import Validation
from speechtok.training.unit_vocoder import run as unit_vocoder
from tests.training.unit_vocoder import by_hand
from tests.training.unit_vocoder.small import SETTINGS, train_unit_vocoder


class Doubled:
    """Examples in float64."""

    def __init__(self, examples):
        self.examples = examples

    def __len__(self):
        return len(self.examples)

    def name(self, index):
        return self.examples.name(index)

    def draw(self, index, random):
        drawn = self.examples.draw(index, random)
        return drawn | {"waveform": drawn["waveform"].astype(np.float64)}


@pytest.fixture
def task(made, tmp_path, monkeypatch):
    """The task that a run would train."""
    tokens, tokenizer = made
    caught = []
    monkeypatch.setattr(unit_vocoder, "train", lambda task, *rest, **options: caught.append(task) or [])
    train_unit_vocoder(str(tokens), tmp_path, SETTINGS, tokenizer=tokenizer)
    (task,) = caught
    task.examples = Doubled(task.examples)
    for network in task.networks.values():
        network.double()
    return task


def test_two_steps(task, tmp_path) -> None:
    settings = dataclasses.replace(SETTINGS.loop, steps=2, validate_every=100)
    batches = Batches(task.examples, size=settings.batch_size, seed=settings.seed)
    vocoder, judges = task.networks["vocoder"].vocoder, task.networks["discriminators"]
    filters = slaney_filters(80, fft_length=1024, sample_rate=16000, min_hz=0, max_hz=8000, equal_area=True)
    ours = by_hand.ByHand(vocoder.state_dict(), judges.state_dict(), filters)
    frozen = {name: value.clone() for name, value in vocoder.quantizer.state_dict().items()}
    stated = []
    task.validate = lambda: Validation(metrics={"mel distance": 1.0})
    task.export = lambda: None
    loop.train(
        task, tmp_path, settings, watcher=loop.Watcher(stepped=lambda step, metrics: stated.append(metrics))
    )
    for step in range(2):
        losses = ours.step(batches[step][0][0])
        for name, value in losses.items():
            assert stated[step][name] == pytest.approx(value, rel=1e-9), name
    for network, p in ((vocoder, ours.g), (judges, ours.d)):
        for name, value in network.state_dict().items():
            if not name.startswith("quantizer."):
                torch.testing.assert_close(value, p[name].detach(), rtol=1e-8, atol=1e-10, msg=name)
    for name, value in vocoder.quantizer.state_dict().items():
        assert torch.equal(value, frozen[name])
