"""Runs of the redecoder's training: from the tokens of a codec to that codec, speaking in any voice."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

import speechtok
from speechtok.cards import find_recipe
from speechtok.cli.main import run
from speechtok.errors import CardError, CheckpointError, DatasetError, JobError, TokensError
from speechtok.tokenizers.facodec_24k.tokenizer import Facodec24kTokenizer
from speechtok.training.facodec_24k.settings import ClipSettings, RedecoderSettings, RedecoderSizes
from speechtok.training.loop import Watcher
from speechtok.training.settings import LoopSettings, read_training_recipe
from tests.training.facodec_24k.small import REDECODER, SETTINGS, train_facodec_redecoder, write_codec
from tests.training.recordings import recordings_of

KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from speechtok.training.loop import Watcher
from tests.training.facodec_24k.small import REDECODER, train_facodec_redecoder

def stepped(step, metrics):
    if step == 3:
        os.kill(os.getpid(), signal.SIGKILL)

torch.set_num_threads(1)
train_facodec_redecoder(sys.argv[1], Path(sys.argv[2]), REDECODER, tokenizer=sys.argv[3], watcher=Watcher(stepped=stepped))
"""


def changed(section, **values):
    """The small settings with other values in one section."""
    part = dataclasses.replace(getattr(REDECODER, section), **values)
    return dataclasses.replace(REDECODER, **{section: part})


@pytest.fixture(scope="module")
def trained(tokens, tmp_path_factory):
    """A finished run, and the points of its curves."""
    folder = tmp_path_factory.mktemp("trained")
    return folder, train_facodec_redecoder(tokens[0], folder, REDECODER, tokenizer=tokens[1])


def test_the_result_speaks_in_any_voice(manifest, tokens, trained, tmp_path) -> None:
    folder, history = trained
    assert [(point["step"], point["split"]) for point in history] == [
        (2, "training"),
        (2, "validation"),
        (4, "training"),
        (4, "validation"),
    ]
    codec, model = speechtok.load_tokenizer(tokens[1]), speechtok.load_tokenizer(folder / "model")
    assert isinstance(model, Facodec24kTokenizer)
    assert model.fingerprint == codec.fingerprint
    one, other = (model.encode(manifest.parent / name, resample=True) for name in ("s0_6.wav", "s1_7.wav"))
    assert torch.equal(codec.encode(manifest.parent / "s0_6.wav", resample=True)["content"], one["content"])
    assert torch.equal(codec.decode(one), model.decode(one))
    made = model.convert_voice(one, other, method="redecoder")
    assert made.shape == (1, int(one.num_samples[0]))
    (dataset,) = (speechtok.TokenDataset(tokens[0], split="dev"),)
    assert torch.equal(made, model.convert_voice(dataset.tokens(0), other, method="redecoder"))
    words = ["convert-voice", str(manifest.parent / "s0_6.wav"), str(manifest.parent / "s1_7.wav")]
    words += [str(tmp_path / "other.wav"), "--method", "redecoder", "--tokenizer", str(folder / "model")]
    assert run(words) == 0
    assert len(soundfile.read(tmp_path / "other.wav")[0]) == int(one.num_samples[0])
    page = (folder / "report.html").read_text()
    assert page.count("<audio") == 10  # two recordings, in two voices, after steps 2 and 4
    assert "in another voice, after step 4" in page
    with pytest.raises(CheckpointError, match="was loaded without the redecoder"):
        codec.convert_voice(one, other, method="redecoder")


def test_a_redecoder_is_replaced(manifest, trained, tokens, tmp_path) -> None:
    """A codec that has a redecoder gets another one, of another size."""
    settings = dataclasses.replace(
        REDECODER, redecoder=RedecoderSizes(channels=4, layers=1, decoder_channels=16)
    )
    settings = dataclasses.replace(settings, loop=dataclasses.replace(settings.loop, steps=1, log_every=1))
    train_facodec_redecoder(tokens[0], tmp_path, settings, tokenizer=trained[0] / "model")
    before, after = (load_file(folder / "model" / "model.safetensors") for folder in (trained[0], tmp_path))
    assert {name for name in after if name.startswith("codec.")} == {
        name for name in before if name.startswith("codec.")
    }
    assert all(torch.equal(value, before[name]) for name, value in after.items() if name.startswith("codec."))
    assert after["redecoder.encoder.content_embed.0.weight"].shape == (16, 4)
    model = speechtok.load_tokenizer(tmp_path / "model")
    one = model.encode(manifest.parent / "s0_6.wav", resample=True)
    assert model.convert_voice(one, one, method="redecoder").shape == (1, int(one.num_samples[0]))


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(tokens, trained, tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tokens[0]), str(tmp_path), str(tokens[1])],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=300,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000002"]
    train_facodec_redecoder(tokens[0], tmp_path, REDECODER, tokenizer=tokens[1])
    for name in ("networks", "optimizers"):
        one, other = (
            load_file(folder / "checkpoints" / "step-00000004" / f"{name}.safetensors")
            for folder in (trained[0], tmp_path)
        )
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_examples_are_what_conversion_has(manifest, tokens, tmp_path, monkeypatch) -> None:
    """Codes and timbre are those of whole utterances; the audio is cut at the codes' frames."""
    tasks = []
    monkeypatch.setattr(
        "speechtok.training.facodec_24k.redecoder.train",
        lambda task, *rest, **options: tasks.append(task) or [],
    )
    train_facodec_redecoder(tokens[0], tmp_path, REDECODER, tokenizer=tokens[1])
    (examples, dev) = (tasks[0].examples, tasks[0].dev)
    assert [dev.name(index) for index in range(len(dev))] == ["s0_6.wav", "s1_7.wav"]
    codec = speechtok.load_tokenizer(tokens[1])
    for index in range(len(examples)):
        whole = codec.encode(manifest.parent / examples.name(index), resample=True)
        drawn = examples.draw(index, np.random.default_rng(index))
        assert np.array_equal(drawn["speaker"], whole.speaker_embedding[0].numpy())
        content, audio = whole["content"][0, 0].numpy(), examples.whole(index)
        assert len(audio) == int(whole.num_samples[0])
        places = [
            place
            for place in range(len(content) - 15)
            if np.array_equal(content[place : place + 16], drawn["content"][0])
            and np.array_equal(audio[300 * place : 300 * (place + 16)], drawn["waveform"])
        ]
        assert len(places) == 1


def test_what_does_not_fit(tokens, trained, tmp_path) -> None:
    source, codec = tokens
    with pytest.raises(
        CheckpointError, match=r"was begun with learning_rate=0\.0001, not 0\.1; repeat the first"
    ):
        train_facodec_redecoder(source, trained[0], changed("losses", learning_rate=0.1), tokenizer=codec)
    with pytest.raises(
        DatasetError,
        match=r"None of the 6 utterances of .* is as long as a clip of 900 frames; use longer recordings",
    ):
        train_facodec_redecoder(source, tmp_path, changed("data", clip_frames=900), tokenizer=codec)
    with pytest.raises(ValueError, match=r"`redecoder\.decoder_strides` \[6, 5, 5\] must make 300 samples"):
        train_facodec_redecoder(
            source, tmp_path, changed("redecoder", decoder_strides=(6, 5, 5)), tokenizer=codec
        )
    with pytest.raises(CardError, match="'dmel_16k' is no FAcodec at 24 kHz, so there is no redecoder"):
        train_facodec_redecoder(source, tmp_path, REDECODER, tokenizer="dmel_16k")
    other = dataclasses.replace(SETTINGS.codec, codebook_size=8)
    write_codec(tmp_path / "other", other)
    with pytest.raises(TokensError, match=r"was made by the tokenizer 'codec' .* name the one that made it"):
        train_facodec_redecoder(source, tmp_path, REDECODER, tokenizer=tmp_path / "other")


def short(path):
    """Another recording, at the same place."""
    soundfile.write(path, 0.1 * np.ones(3000), 16000)


def silent(path):
    """As long as before."""
    soundfile.write(path, np.zeros(soundfile.info(path).frames), 16000)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (short, r"has 4,500 samples at 24 kHz, but its codes are of 1.*; it is another recording than was"),
        (os.remove, r"is not where it was when the dataset was made: there is no .*s\d_\d\.wav"),
        (silent, r"The recording of 's\d_\d\.wav' is silent\."),
    ],
)
def test_bad_speech(tokens, manifest, tmp_path, damage, sentence) -> None:
    shutil.copytree(manifest.parent, tmp_path / "corpus")
    for path in (tmp_path / "corpus").glob("s*_[0-5].wav"):
        damage(path)
    with pytest.raises(DatasetError, match=sentence):
        train_facodec_redecoder(
            tokens[0], tmp_path / "run", REDECODER, tokenizer=tokens[1], corpus_root=tmp_path / "corpus"
        )


def test_damaged_recordings_for_validation(tokens, manifest, tmp_path) -> None:
    shutil.copytree(manifest.parent, tmp_path / "corpus")
    silent(tmp_path / "corpus" / "s0_6.wav")
    told, settings = [], changed("loop", steps=1, validate_every=1)
    options = {"tokenizer": tokens[1], "corpus_root": tmp_path / "corpus"}
    watcher = Watcher(unusable=told.append)
    train_facodec_redecoder(tokens[0], tmp_path / "run", settings, **options, watcher=watcher)
    assert told == ["The recording of 's0_6.wav' is silent."]
    short(tmp_path / "corpus" / "s1_7.wav")
    with pytest.raises(
        DatasetError, match=r"No utterance for validation can be used: The recording of 's1_7\.wav' has 4,500"
    ):
        train_facodec_redecoder(tokens[0], tmp_path / "run", settings, **options)


def test_full_disk(tokens, trained, tmp_path, monkeypatch) -> None:
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("speechtok.tokenizers.writing.save_file", full)
    with pytest.raises(JobError, match=r"After step 2 the model could not be written to .*: No space left"):
        train_facodec_redecoder(tokens[0], tmp_path, REDECODER, tokenizer=tokens[1])


@pytest.mark.parametrize("name", ["facodec_redecoder", "facodec_redecoder_small"])
def test_shipped_recipes(name) -> None:
    settings = read_training_recipe(RedecoderSettings, name)
    first = find_recipe(name, "training").read_text().partition("\n")[0]
    assert first == f"# speechtok train facodec-redecoder TOKENS RUN --recipe {name}"
    if name == "facodec_redecoder":
        assert settings == RedecoderSettings(
            loop=LoopSettings(batch_size=4, workers=settings.loop.workers, steps=settings.loop.steps)
        )
        assert settings.data == ClipSettings()


def test_command(tokens, tmp_path, capsys) -> None:
    settings = {
        "loop.steps": 1, "loop.batch_size": 2, "data.clip_frames": 16, "data.validation_utterances": 1,
        "redecoder.decoder_channels": 32, "redecoder.channels": 8,
    }  # fmt: skip
    words = ["train", "facodec-redecoder", str(tokens[0]), str(tmp_path / "run")]
    words += ["--recipe", "facodec_redecoder_small", "--tokenizer", str(tokens[1])]
    words += ["--corpus-root", str(recordings_of(tokens[0]))]
    for name, value in settings.items():
        words += ["--set", f"{name}={value}"]
    assert run(words) == 0
    out, err = capsys.readouterr()
    assert "mel distance: " in out
    assert f"Wrote {tmp_path / 'run' / 'model'}, which --tokenizer takes" in out
    assert "Step 1: mel distance" in err
