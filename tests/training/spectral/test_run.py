"""Runs of the spectral codec: they go on bit for bit, give a tokenizer, and say what is wrong."""

import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

import speechtok
from speechtok.cli.main import run
from speechtok.errors import CardError, CheckpointError
from speechtok.laws import assert_laws
from speechtok.training.settings import read_training_recipe
from speechtok.training.spectral.run import train_spectral
from speechtok.training.spectral.settings import DataSettings, LossSettings, SpectralSettings
from speechtok.training.spectral.task import learning_rate_factor
from tests.training.spectral.small import SETTINGS, make_corpus
from tests.training.states import same_state


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """A finished run, and the points of its curves."""
    folder = tmp_path_factory.mktemp("trained")
    return folder, train_spectral(corpus, folder, SETTINGS)


@pytest.mark.slow
@pytest.mark.parametrize("last", [3, 5])
def test_a_killed_run_goes_on_bit_for_bit(corpus, trained, last, tmp_path):
    words = ["-m", "tests.training.spectral.small", str(corpus), str(tmp_path), str(last)]
    done = subprocess.run([sys.executable, *words], capture_output=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    train_spectral(corpus, tmp_path, SETTINGS)
    same_state(trained[0], tmp_path, 6)
    one, other = (load_file(folder / "model" / "model.safetensors") for folder in (trained[0], tmp_path))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_result_is_a_tokenizer(trained):
    folder, history = trained
    kinds = [(point["step"], point["split"]) for point in history]
    assert kinds == [(2, "training"), (3, "validation"), (4, "training"), (6, "training"), (6, "validation")]
    assert history[-1]["spectral distance, 4 codebooks"] < history[1]["spectral distance, 4 codebooks"]
    assert "discriminators" in history[-2]
    model = speechtok.load_tokenizer(folder / "model", dtype=torch.float64)
    assert model.name == "small"
    assert_laws(model)


def test_the_command(corpus, tmp_path, capsys):
    words = [
        f"--set=codec.{name}={value}" for name, value in vars(SETTINGS.codec).items() if "channels" in name
    ]
    words += ["--set", "loop.steps=1", "--set", "loop.batch_size=2", "--set", "data.segment_frames=32"]
    assert run(["train", "spectral", str(corpus), str(tmp_path / "run"), "--recipe", "spectral", *words]) == 0
    assert "which --tokenizer takes" in capsys.readouterr().out
    assert speechtok.load_tokenizer(tmp_path / "run" / "model").name == "spectral_16k"


def test_a_run_starts_with_another_model(corpus, trained, tmp_path):
    model = trained[0] / "model"
    settings = replace(SETTINGS, loop=replace(SETTINGS.loop, steps=1, validate_every=1))
    history = train_spectral(corpus, tmp_path / "run", settings, start=model)
    assert history[-1]["spectral distance, 4 codebooks"] < trained[1][1]["spectral distance, 4 codebooks"]
    with pytest.raises(CardError, match="has other sizes than the recipe"):
        train_spectral(
            corpus,
            tmp_path / "other",
            replace(settings, codec=replace(settings.codec, num_codebooks=3)),
            start=model,
        )
    with pytest.raises(CardError, match="is no spectral codec"):
        train_spectral(corpus, tmp_path / "other", settings, start="dmel_16k")


def test_other_settings_do_not_go_on(corpus, trained):
    other = replace(SETTINGS, losses=replace(SETTINGS.losses, noise=0.5))
    with pytest.raises(CheckpointError, match="noise"):
        train_spectral(corpus, trained[0], other)


def test_the_learning_rate_rises_stays_and_falls():
    losses = LossSettings(warmup_steps=10, final_rate=0.1)
    factors = [learning_rate_factor(step, 100, losses) for step in range(101)]
    assert factors[0] == 0.1
    assert factors[9:51] == [1.0] * 42
    assert factors[75] == pytest.approx(0.5)
    assert factors[100] == 0.1
    assert sorted(factors[50:], reverse=True) == factors[50:]


@pytest.mark.parametrize(
    ("kind", "values", "sentence"),
    [
        (DataSettings, {"held_out": 1.0}, "`held_out` must be between 0 and 1"),
        (DataSettings, {"segment_frames": 31}, "`segment_frames` must be at least 32"),
        (DataSettings, {"speed": (1.2, 0.8)}, "`speed` must be two numbers from 0.25, the lower one first"),
        (LossSettings, {"codebooks_from": 0}, "`codebooks_from` must be at least 1"),
        (LossSettings, {"main_codebooks": 0}, "`main_codebooks` must be at least 1"),
    ],
)
def test_settings_that_are_refused(kind, values, sentence):
    with pytest.raises(ValueError, match=sentence):
        kind(**values)


def test_the_recipe():
    settings = read_training_recipe(SpectralSettings, "spectral")
    assert settings.codec.num_codebooks == 12
    assert settings.loop.steps == 60_000
