"""The loop: a run that was killed goes on as if it had not been; parts of a batch add up; what goes wrong is said."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from speechtok.errors import CardError, CheckpointError, DatasetError, JobError
from speechtok.training.batches import Batches
from speechtok.training.loop import Watcher, train
from speechtok.training.settings import LoopSettings, read_training_recipe
from tests.training.processes import float64, in_two_processes
from tests.training.states import state
from tests.training.toy import SETTINGS, Lines, Toy, run


def same_state(first, second, step):
    (tensors, told), (others, other) = state(first, step), state(second, step)
    assert tensors.keys() == others.keys()
    assert len(tensors) == 6 + 6 * 3  # six parameters, each with two moments and a count
    for name, value in tensors.items():
        assert torch.equal(value, others[name]), name
    assert told == other


def killed(folder, step):
    """Train in a process of its own that is killed after a step."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.toy", str(folder), str(step)], capture_output=True, timeout=300
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    train(Toy(straight), straight, SETTINGS)
    broken.mkdir()
    killed(broken, 5)  # after step 5; the last state is that of step 4
    assert sorted(path.name for path in (broken / "checkpoints").iterdir()) == [
        "step-00000002",
        "step-00000004",
    ]
    (broken / "checkpoints" / ".step-00000006.killed").mkdir()  # as a writer leaves it that was killed
    history = train(Toy(broken), broken, SETTINGS)
    same_state(straight, broken, 8)
    assert [(point["step"], point["split"]) for point in history] == [
        (3, "training"),
        (4, "validation"),
        (6, "training"),
        (8, "validation"),
    ]
    assert not (broken / "checkpoints" / ".step-00000006.killed").exists()
    assert (straight / "exported").read_text() == (broken / "exported").read_text()


def test_a_finished_run_with_more_steps_goes_on(tmp_path):
    seen = []
    train(Toy(tmp_path), tmp_path, replace(SETTINGS, steps=5))
    watcher = Watcher(
        started=lambda step: seen.append(f"from {step}"), stepped=lambda step, _: seen.append(step)
    )
    train(Toy(tmp_path), tmp_path, SETTINGS, watcher=watcher)
    assert seen == ["from 5", 6, 7, 8]
    train(Toy(tmp_path), tmp_path, SETTINGS, watcher=watcher)
    assert seen[4:] == ["from 8"]
    other = tmp_path / "other"
    other.mkdir()
    train(Toy(other), other, SETTINGS)
    assert torch.equal(state(tmp_path, 8)[0]["generator.0.weight"], state(other, 8)[0]["generator.0.weight"])


def test_parts_of_a_batch_add_up(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder, accumulation in ((whole, 1), (parts, 2)):
        folder.mkdir()
        train(Toy(folder, dropout=0.0), folder, replace(SETTINGS, accumulation=accumulation))
    tensors, others = state(whole, 8)[0], state(parts, 8)[0]
    for name, value in tensors.items():
        torch.testing.assert_close(value, others[name], rtol=1e-4, atol=1e-6)


def test_processes_share_a_batch():
    whole = Batches(Lines(), size=4, seed=1)
    first, second = (Batches(Lines(), size=4, seed=1, rank=rank, world_size=2) for rank in range(2))
    (batch,), _ = whole[5]
    (left,), _ = first[5]
    (right,), _ = second[5]
    assert torch.equal(batch["x"], torch.cat([left["x"], right["x"]]))
    assert whole.epoch_steps == 3
    assert len({name for step in range(3) for name in whole.names(step)}) == 12
    assert whole.names(0) != whole.names(3)


def test_workers_prepare_the_same_batches():
    batches = Batches(Lines(), size=4, seed=1)
    for ours, theirs in zip(batches.load(1, 4, 0), batches.load(1, 4, 2), strict=True):
        assert torch.equal(ours[0]["x"], theirs[0]["x"])


def test_gradients_are_scaled_down(tmp_path):
    norms = []
    watcher = Watcher(stepped=lambda _, metrics: norms.append(metrics["gradient norm, generator"]))
    train(Toy(tmp_path), tmp_path, replace(SETTINGS, steps=2, max_gradient_norm=0.01), watcher=watcher)
    assert min(norms) > 0.01  # before scaling


def test_each_group_of_a_turn_is_scaled_down_by_itself(tmp_path):
    class Grouped(Toy):
        def __init__(self, folder):
            super().__init__(folder)
            first, _, last = self.networks["generator"]
            groups = [
                {"params": part.parameters(), "name": name} for name, part in (("in", first), ("out", last))
            ]
            self.optimizers["generator"] = torch.optim.SGD(groups, lr=1.0)
            self.schedules = {}
            self.turns = (replace(self.turns[1], max_gradient_norm=0.01),)

    task = Grouped(tmp_path)
    before = [parameter.detach().clone() for parameter in task.networks["generator"].parameters()]
    seen = {}
    watcher = Watcher(stepped=lambda _, metrics: seen.update(metrics))
    train(task, tmp_path, replace(SETTINGS, steps=1, max_gradient_norm=5.0), watcher=watcher)
    moved = [now - then for now, then in zip(task.networks["generator"].parameters(), before, strict=True)]
    for name, part in (("in", moved[:2]), ("out", moved[2:])):
        assert seen[f"gradient norm, {name}"] > 0.01
        assert float(torch.nn.utils.get_total_norm(part)) == pytest.approx(0.01, rel=1e-3)


def test_the_page_has_curves_usage_and_sounds(tmp_path):
    train(Toy(tmp_path), tmp_path, SETTINGS)
    page = (tmp_path / "report.html").read_text()
    assert page.count("<audio") == 3  # recording, after step 4, after step 8
    assert "after step 4" in page
    assert "Made, after step 8" in page
    assert "&lt;tone&gt;" in page
    assert "50.0 % of 4 codes" in page
    assert "gradient norm, generator" in page
    assert "<script" not in page
    assert sorted(path.name for path in (tmp_path / "examples").iterdir()) == [
        "step-00000004",
        "step-00000008",
    ]
    assert list((tmp_path / "tensorboard").iterdir())


def test_not_finite(tmp_path):
    sentence = r"stopped at step 3: not finite is generator.*, for the batch line-\d+, .* step 2 is what the next run"
    with pytest.raises(JobError, match=sentence):
        train(Toy(tmp_path, poison=3), tmp_path, SETTINGS)
    (failed,) = (tmp_path / "failed").iterdir()
    told = json.loads((failed / "state.json").read_text())
    assert told["batch"] == Batches(Lines(), size=4, seed=SETTINGS.seed).names(2)
    assert told["metrics"]["generator"] == "nan"
    assert torch.isfinite(load_file(failed / "networks.safetensors")["generator.0.weight"]).all()
    train(Toy(tmp_path), tmp_path, SETTINGS)
    other = tmp_path / "other"
    other.mkdir()
    train(Toy(other), other, SETTINGS)
    same_state(tmp_path, other, 8)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_its_step(tmp_path, number):
    def stepped(step, metrics):
        if step == 3:
            os.kill(os.getpid(), number)

    before = signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(SystemExit(143)))
    try:
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(Toy(tmp_path), tmp_path, SETTINGS, watcher=Watcher(stepped=stepped))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert state(tmp_path, 3)[1]["step"] == 3
    train(Toy(tmp_path), tmp_path, SETTINGS)
    other = tmp_path / "other"
    other.mkdir()
    train(Toy(other), other, SETTINGS)
    same_state(tmp_path, other, 8)


@pytest.mark.parametrize(
    "place", ["speechtok.training.checkpoint.save_file", "speechtok.training.loop.RunLog.add_validation"]
)
def test_a_full_disk(tmp_path, monkeypatch, place):
    calls = []

    def full(*_, **__):
        calls.append(1)
        raise OSError(28, "No space left on device")

    def stepped(step, metrics):
        if step == 3:
            monkeypatch.setattr(place, full)

    sentence = "After step 4 the (state|report) could not be written to .*: No space left on device. The state of step 2 is kept"
    with pytest.raises(JobError, match=sentence):
        train(Toy(tmp_path), tmp_path, SETTINGS, watcher=Watcher(stepped=stepped))
    assert calls
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000002"]


def test_other_settings(tmp_path):
    train(Toy(tmp_path), tmp_path, replace(SETTINGS, steps=2))
    with pytest.raises(CheckpointError, match="was begun with batch_size=4, not 2; repeat the first command"):
        train(Toy(tmp_path), tmp_path, replace(SETTINGS, batch_size=2))
    with pytest.raises(CheckpointError, match=r"was begun with rate=0.1, not 0.2"):
        train(Toy(tmp_path, rate=0.2), tmp_path, SETTINGS)
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    (checkpoint / "state.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"state.json is damaged .*; remove .*step-00000002 to go on"):
        train(Toy(tmp_path), tmp_path, SETTINGS)


def test_two_runs_in_one_folder(tmp_path):
    def stepped(step, metrics):
        with pytest.raises(JobError, match="is in use by another training run"):
            train(Toy(tmp_path), tmp_path, SETTINGS)

    train(Toy(tmp_path), tmp_path, replace(SETTINGS, steps=1), watcher=Watcher(stepped=stepped))


def test_unusable_utterances():
    batches = Batches(Lines(1000, unusable=(3, 4)), size=100, seed=1)
    told = []
    drawn = list(batches.load(0, 20, 0, told.append))
    assert all(parts[0]["x"].shape == (100, 3) for parts in drawn)
    assert sorted(told) == [f"The recording of 'line-{number}' is silent." for number in (3, 4)]
    batches = Batches(Lines(12, unusable=(3,)), size=4, seed=1)
    with pytest.raises(
        DatasetError, match="1 utterance cannot be trained on: The recording of 'line-3' is silent"
    ):
        list(batches.load(0, 3, 0))
    with pytest.raises(DatasetError, match="A batch of 16 needs as many utterances, but there are 12"):
        Batches(Lines(), size=16, seed=1)
    with pytest.raises(ValueError, match="must be a multiple of parts × processes = 3 × 1, got 4"):
        Batches(Lines(), size=4, seed=1, parts=3)


def test_settings(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("steps: 10\nseed: 3\n")
    found = read_training_recipe(LoopSettings, path, ["batch_size=8"])
    assert (found.steps, found.seed, found.batch_size) == (10, 3, 8)
    assert read_training_recipe(LoopSettings, None) == LoopSettings()
    with pytest.raises(CardError, match="unknown field stepz; did you mean 'steps'"):
        read_training_recipe(LoopSettings, path, ["stepz=8"])
    with pytest.raises(ValueError, match="`precision` must be one of float32, bfloat16"):
        LoopSettings(precision="float16")
    with pytest.raises(ValueError, match="`save_every` must be at least 1, got 0"):
        LoopSettings(save_every=0)
    with pytest.raises(ValueError, match="`device` must be 'cpu', or 'cuda'"):
        train(Toy(tmp_path), tmp_path, SETTINGS, device="tpu")


@pytest.mark.slow
@pytest.mark.parametrize("accumulation", ["1", "2"])
def test_two_processes_learn_what_one_does(accumulation, tmp_path):
    alone, both = tmp_path / "alone", tmp_path / "both"
    with float64():
        run(alone, accumulation)
    in_two_processes("tests.training.toy:run", both, accumulation)
    (tensors, told), (others, other) = state(alone, 8), state(both, 8)
    assert tensors.keys() == others.keys()
    for name, value in tensors.items():
        torch.testing.assert_close(others[name], value, rtol=0, atol=1e-6, msg=name)
    for ours, theirs in zip(told["history"], other["history"], strict=True):
        assert theirs == pytest.approx(ours, abs=1e-5)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(tmp_path):
    alone, changed = tmp_path / "alone", tmp_path / "changed"
    with float64():
        run(alone, "1")
        train(Toy(changed, dropout=0.0), changed, replace(SETTINGS, steps=4))
    in_two_processes("tests.training.toy:run", changed, "1")
    (tensors, _), (others, _) = state(alone, 8), state(changed, 8)
    for name, value in tensors.items():
        torch.testing.assert_close(others[name], value, rtol=0, atol=1e-6, msg=name)


@pytest.mark.slow
def test_processes_that_drift_apart_are_stopped(tmp_path):
    in_two_processes("tests.training.toy:drift", tmp_path / "run")
    for rank in range(2):
        said = (tmp_path / "run" / f"said-{rank}").read_text()
        assert said.startswith("After step 2 the processes of the run have different weights")
    assert not list((tmp_path / "run").glob("checkpoints/step-*"))
