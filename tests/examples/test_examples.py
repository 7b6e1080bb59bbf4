"""The examples run, learn something, and keep their promises."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from speechtok.errors import DatasetError

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.slow


def load(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _beside_each_other(monkeypatch):
    """Examples import the models beside them, as scripts do."""
    monkeypatch.syspath_prepend(EXAMPLES)
    yield
    sys.modules.pop("models", None)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def falls(history):
    return sum(history[-3:]) < 0.9 * sum(history[:3])


def test_valle_learns_the_same_from_stored_and_fresh_tokens(tmp_path):
    example = load("valle")
    stored = example.train(tmp_path, on_the_fly=False, steps=9)
    fresh = example.train(tmp_path, on_the_fly=True, steps=9)
    assert stored == fresh
    assert falls(stored)


def test_unit_lm(tmp_path):
    history, units = load("unit_lm").train(tmp_path, steps=12)
    assert falls(history)
    assert units.shape[0] == 1
    assert units.numel() == 0 or 0 <= int(units.min()) <= int(units.max()) < 50


def test_factors_of_dmel(tmp_path):
    assert falls(load("factors").train(tmp_path, steps=12, rows=4))


def test_factors_of_facodec(tmp_path, capsys):
    from tests.goldens.facodec.weights import write_published

    (tmp_path / "weights").mkdir()
    for model in ("encoder", "decoder", "redecoder"):
        write_published(tmp_path / "weights", model)
    example = load("factors")
    header, *lines = example.CORPUS.read_text(encoding="utf-8").splitlines()
    some = [f"{example.CORPUS.parent}/{line}" for line in lines[:2]]
    example.CORPUS = tmp_path / "some.tsv"
    example.CORPUS.write_text("\n".join([header, *some]) + "\n", encoding="utf-8")
    history = example.train(tmp_path, tokenizer="facodec", checkpoint=tmp_path / "weights", steps=12, rows=2)
    assert (
        "stages: prosody 0, content 0, content 1, residual 0, residual 1, residual 2"
        in capsys.readouterr().out
    )
    assert falls(history)


@pytest.fixture
def tokenized(tmp_path):
    """Run a recipe on the miniature of LibriTTS, as a user does; return the dataset."""
    from speechtok.cli import main

    corpus = load("libritts_miniature").write(tmp_path)

    def run(recipe, *words):
        out = tmp_path / recipe
        given = ["--corpus", str(corpus), "--output", str(out), "--workers", "1", *map(str, words)]
        assert main.run(["run", recipe, *given]) == 0
        return out

    return run


def test_valle_on_libritts(tokenized, tmp_path):
    from tests.tokenizers.funcodec.published import write_folder

    weights = write_folder(tmp_path / "weights", "encodec_nq32ds640", 12)
    place = tokenized("libritts_valle", "--checkpoint", weights)
    example = load("libritts_valle")
    loader, vocabulary = example.batches(place, 2000)
    batch = next(iter(loader))
    assert vocabulary.num_codebooks == 8
    assert len(vocabulary.blocks["text"]) == 39
    assert batch["input_ids"].shape[0] == batch["prompt_codes"].shape[0]
    assert batch["text_mask"].sum(dim=1).min() >= 20  # phones, not a missing text
    assert falls(example.train(place, steps=20))


def test_naturalspeech3_on_libritts(tokenized, tmp_path):
    from tests.goldens.facodec.weights import write_published

    (tmp_path / "weights").mkdir()
    for model in ("encoder", "decoder", "redecoder"):
        write_published(tmp_path / "weights", model)
    score = "annotation_settings.alignment.min_score=-60"  # the voices of the clips are made by a machine
    place = tokenized("libritts_naturalspeech3", "--checkpoint", tmp_path / "weights", "--set", score)
    example = load("naturalspeech3")
    stream, collator = example.batches(place, 4000)
    batch = collator(next(iter(stream)))
    silence = collator.vocabulary.text_ids(["SIL"])[0]
    shared = batch["attention_mask"] * (1 - batch["prompt_mask"]) == 1
    assert (batch["frame_text"][shared] != collator.vocabulary.pad_id).all()
    assert 0.01 < (batch["frame_text"][shared] == silence).float().mean() < 0.5
    assert batch["prompt_mask"].sum(dim=1).min() >= 40  # half a second of 80 Hz
    assert batch["input_ids"].shape[1] == 6
    assert falls(example.train(place, steps=20))


def test_a_loop_without_rows_says_so(tokenized):
    words = ["--set", "tokenizer=dmel_16k", "--set", "num_codebooks=6"]
    unheard = "annotation_settings.alignment.min_score=100"
    place = tokenized("libritts_naturalspeech3", *words, "--set", unheard)
    with pytest.raises(DatasetError, match="'phone is not null and duration <= 20' holds of none"):
        load("naturalspeech3").train(place)


def torchrun(output, *arguments):
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words += [str(EXAMPLES / "resume_accelerate.py"), str(output), *arguments]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def steps_of(output, rank):
    return [json.loads(line) for line in (output / f"log-{rank}.jsonl").read_text().splitlines()]


def test_resume_continues_with_the_identical_batches(tmp_path):
    torchrun(tmp_path / "whole", "--steps", "8")
    torchrun(tmp_path / "parts", "--steps", "8", "--stop-after", "4")
    assert len(steps_of(tmp_path / "parts", 0)) == 4
    assert "resumed after step 4" in torchrun(tmp_path / "parts", "--steps", "8")
    for rank in range(2):
        assert steps_of(tmp_path / "whole", rank) == steps_of(tmp_path / "parts", rank)
    first = [
        {name for step in steps_of(tmp_path / "whole", rank) if not step["epoch"] for name in step["ids"]}
        for rank in range(2)
    ]
    assert not first[0] & first[1]
