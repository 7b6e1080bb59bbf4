"""A step of the training of FAcodec, and of its redecoder, equals the same step written out by hand, in float64."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from speechtok.nets.mel import slaney_filters
from speechtok.training import loop
from speechtok.training.batches import Batches
from speechtok.training.facodec_24k import redecoder
from speechtok.training.facodec_24k import run as facodec
from speechtok.training.task import Validation
from tests.training.facodec_24k import by_hand
from tests.training.facodec_24k.small import REDECODER, SETTINGS, train_facodec_redecoder

FILTERS = {
    window: slaney_filters(
        bands, fft_length=window, sample_rate=24000, min_hz=0, max_hz=12000, equal_area=True
    )
    for window, bands in by_hand.WINDOWS.items()
}


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
        return {
            name: value.astype(np.float64) if value.dtype == np.float32 else value
            for name, value in drawn.items()
        }


def steps(task, settings, folder):
    """Let the loop take two steps, and return what it says of them."""
    stated = []
    task.validate = lambda: Validation(metrics={"mel distance": 1.0})
    task.export = lambda: None
    loop.train(
        task, folder, settings, watcher=loop.Watcher(stepped=lambda step, metrics: stated.append(metrics))
    )
    return stated


def check(task, ours, others, folder):
    """Two steps of the loop give the losses and the networks that two steps by hand give."""
    settings = dataclasses.replace(SETTINGS.loop, steps=2, validate_every=100)
    batches = Batches(task.examples, size=settings.batch_size, seed=settings.seed)
    stated = steps(task, settings, folder)
    for step in range(2):
        by_hand.seed(settings.seed, step, 0)
        for name, value in ours.step(batches[step][0][0], 1e-4 * 0.999996**step).items():
            assert stated[step][name] == pytest.approx(value, rel=1e-9), name
    for name, network in task.networks.items():
        for entry, value in network.state_dict().items():
            other = others[name].state_dict()[entry]
            torch.testing.assert_close(value, other, rtol=1e-7, atol=1e-9, msg=f"{name}.{entry}")


def caught_task(monkeypatch, module, train, *arguments, **options):
    """The task that a run would train, in float64."""
    caught = []
    monkeypatch.setattr(module, "train", lambda task, *rest, **options: caught.append(task) or [])
    train(*arguments, **options)
    (task,) = caught
    task.examples = Doubled(task.examples)
    for network in task.networks.values():
        network.double().train()
    return task


def test_two_steps_of_the_codec(manifest, tmp_path, monkeypatch) -> None:
    task = caught_task(monkeypatch, facodec, facodec.train_facodec, str(manifest), tmp_path, SETTINGS)
    ours = by_hand.ByHand(*(copy.deepcopy(network) for network in task.networks.values()), FILTERS)
    others = {"codec": ours.codec, "predictors": ours.predictors, "discriminators": ours.judges}
    check(task, ours, others, tmp_path)


def test_two_steps_of_the_redecoder(tokens, tmp_path, monkeypatch) -> None:
    task = caught_task(
        monkeypatch, redecoder, train_facodec_redecoder, tokens[0], tmp_path, REDECODER, tokenizer=tokens[1]
    )
    ours = by_hand.Redecoding(*(copy.deepcopy(network) for network in task.networks.values()), FILTERS)
    before = {name: value.clone() for name, value in task.redecoder.state_dict().items() if "_embed" in name}
    check(task, ours, {"redecoder": ours.redecoder, "discriminators": ours.judges}, tmp_path)
    for name, value in before.items():  # of all tables, only the one that is shown moves
        is_shown = name == "encoder.content_embed.0.weight"
        assert torch.equal(value, task.redecoder.state_dict()[name]) != is_shown
