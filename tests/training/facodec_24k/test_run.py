"""Runs of FAcodec's training: they go on bit for bit, give a tokenizer, and say what is wrong with data."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file

import speechtok
from speechtok.cards import find_recipe
from speechtok.cli.main import run
from speechtok.errors import CardError, CheckpointError, DatasetError, HubError, JobError
from speechtok.nets.vector_quantizer import ResidualQuantizer
from speechtok.training.facodec_24k.codes import CodeUse
from speechtok.training.facodec_24k.networks import TrainedCodec
from speechtok.training.facodec_24k.run import train_facodec
from speechtok.training.facodec_24k.settings import FacodecSettings, TargetSettings
from speechtok.training.loop import Watcher
from speechtok.training.settings import LoopSettings, read_training_recipe
from tests.training.facodec_24k.small import REPLACING, SETTINGS, changed, make_corpus


def state(folder, step):
    path = folder / "checkpoints" / f"step-{step:08d}"
    tensors = load_file(path / "networks.safetensors") | load_file(path / "optimizers.safetensors")
    return tensors, json.loads((path / "state.json").read_text())


@pytest.fixture(scope="module")
def trained(manifest, tmp_path_factory):
    """A finished run, and the points of its curves."""
    folder = tmp_path_factory.mktemp("trained")
    return folder, train_facodec(str(manifest), folder, REPLACING)


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(manifest, trained, tmp_path) -> None:
    words = ["-m", "tests.training.facodec_24k.small", str(manifest), str(tmp_path), "3"]
    done = subprocess.run([sys.executable, *words], capture_output=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000002"]
    train_facodec(str(manifest), tmp_path, REPLACING)
    (tensors, told), (others, other) = state(trained[0], 4), state(tmp_path, 4)
    assert tensors.keys() == others.keys()
    for name, value in tensors.items():
        assert torch.equal(value, others[name]), name
    assert told == other
    one, other = (load_file(folder / "model" / "model.safetensors") for folder in (trained[0], tmp_path))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_result_is_a_tokenizer(manifest, trained, tmp_path) -> None:
    folder, history = trained
    assert [(point["step"], point["split"]) for point in history] == [
        (2, "training"),
        (2, "validation"),
        (4, "training"),
        (4, "validation"),
    ]
    assert 0 < history[-1]["share of codes in use, content 2"] <= 1
    model = speechtok.load_tokenizer(folder / "model")
    assert [(stream.name, stream.num_codebooks, stream.codebook_size) for stream in model.streams] == [
        ("prosody", 1, 16),
        ("content", 2, 16),
        ("residual", 3, 16),
    ]
    source = manifest.parent / "s0_6.wav"
    tokens = model.encode(source, resample=True)
    assert tokens.speaker_embedding.shape == (1, 32)
    assert model.decode(tokens).shape == (1, int(tokens.num_samples[0]))
    words = ["convert-voice", str(source), str(manifest.parent / "s1_7.wav"), str(tmp_path / "other.wav")]
    assert run([*words, "--tokenizer", str(folder / "model")]) == 0
    assert len(soundfile.read(tmp_path / "other.wav")[0]) == int(tokens.num_samples[0])
    words = ["tokenize", str(manifest), str(tmp_path / "tokens"), "--tokenizer", str(folder / "model")]
    assert run([*words, "--workers", "1"]) == 0
    stored = {row["id"]: row for row in speechtok.TokenDataset(tmp_path / "tokens")}
    assert np.array_equal(stored["s0_6.wav"]["content"], tokens["content"][0].numpy())
    page = (folder / "report.html").read_text()
    assert page.count("<audio") == 6  # two recordings, after step 2, after step 4
    assert "of 16 codes" in page


def test_targets_are_kept(manifest, trained, tmp_path, monkeypatch) -> None:
    folder = trained[0] / "targets"
    tensors = load_arrays(folder / "00000.safetensors")
    frames = tensors["0.f0"].shape
    assert frames == tensors["0.energy"].shape == tensors["0.content"].shape == (7000 * 3 // 2 // 300,)
    assert tensors["0.content"].max() < 6
    shutil.copytree(folder, tmp_path / "targets")
    monkeypatch.setattr(
        "speechtok.training.facodec_24k.labels.make_helpers", lambda *_: pytest.fail("made anew")
    )
    train_facodec(str(manifest), tmp_path, changed("loop", steps=1, validate_every=9, save_every=9))
    with pytest.raises(
        CheckpointError, match="were made with num_units=6, not 7; repeat the first command, or use another"
    ):
        train_facodec(str(manifest), tmp_path, changed("targets", num_units=7))
    (tmp_path / "more").mkdir()
    other = make_corpus(tmp_path / "more")
    other.write_text("\n".join(other.read_text().splitlines()[:-1]).replace("dev", "train"))
    with pytest.raises(CheckpointError, match=r"were made with other utterances; repeat the first command"):
        train_facodec(str(other), tmp_path, SETTINGS)


def test_labels_and_named_units(manifest, trained, tmp_path, monkeypatch) -> None:
    tasks = []
    monkeypatch.setattr(
        "speechtok.training.facodec_24k.run.train", lambda task, *rest, **options: tasks.append(task) or []
    )
    units = trained[0] / "targets" / "units"
    settings = changed("targets", speaker="labels", content_from=str(units))
    train_facodec(str(manifest), tmp_path, settings)
    assert tasks[0].examples.targets.speaker.tolist() == [0, 1, 0, 1, 0, 1]
    fitted = load_arrays(trained[0] / "targets" / "00000.safetensors")
    for number, content in enumerate(tasks[0].examples.targets.content):
        assert np.array_equal(content, fitted[f"{number}.content"])
    nameless = manifest.parent / "nameless.tsv"
    nameless.write_text(manifest.read_text().replace("speaker", "nobody"))
    with pytest.raises(
        DatasetError, match=r"6 utterances have no speaker, such as '.*'; set targets.speaker"
    ):
        train_facodec(str(nameless), tmp_path / "two", changed("targets", speaker="labels"))
    with pytest.raises(CardError, match="'dmel_16k' is no tokenizer of units, so it cannot say"):
        train_facodec(str(manifest), tmp_path / "three", changed("targets", content_from="dmel_16k"))


def silent(path):
    soundfile.write(path, np.zeros(7000), 16000)


def broken(path):
    path.write_bytes(b"RIFF of nothing")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (silent, r"2 utterances of 6 cannot be trained on: The recording of 's0_0\.wav' is silent\."),
        (os.remove, r"2 utterances of 6 cannot be trained on: .*s0_0\.wav"),
        (broken, r"2 utterances of 6 cannot be trained on: .*s0_0\.wav"),
    ],
)
def test_bad_speech(tmp_path, damage, sentence) -> None:
    manifest = make_corpus(tmp_path)
    damage(tmp_path / "s0_0.wav")
    damage(tmp_path / "s1_1.wav")
    with pytest.raises(DatasetError, match=sentence):
        train_facodec(str(manifest), tmp_path / "run", SETTINGS)


def test_damaged_recordings_for_validation(tmp_path) -> None:
    """They are named before the first step, and left out; where all are, nothing begins."""
    manifest, told = make_corpus(tmp_path), []
    silent(tmp_path / "s0_6.wav")
    settings = changed("loop", steps=1, validate_every=1)
    history = train_facodec(str(manifest), tmp_path / "run", settings, watcher=Watcher(unusable=told.append))
    assert told == ["The recording of 's0_6.wav' is silent."]
    assert history[-1]["split"] == "validation"
    soundfile.write(tmp_path / "s1_7.wav", 0.1 * np.ones(2000), 16000)
    with pytest.raises(
        DatasetError,
        match=r"No utterance for validation can be used: The recording of 's1_7\.wav' has 10 frames, fewer than",
    ):
        train_facodec(str(manifest), tmp_path / "run", settings)


def test_short_speech(tmp_path, manifest) -> None:
    with pytest.raises(
        DatasetError,
        match="None of the 6 utterances is as long as a clip of 900 frames; use longer recordings",
    ):
        train_facodec(str(manifest), tmp_path, changed("data", clip_frames=900))


def test_what_does_not_fit(manifest, trained, tmp_path) -> None:
    with pytest.raises(
        CheckpointError, match=r"was begun with learning_rate=0\.0001, not 0\.1; repeat the first"
    ):
        train_facodec(
            str(manifest), trained[0], dataclasses.replace(
                REPLACING, losses=dataclasses.replace(REPLACING.losses, learning_rate=0.1)
            ),
        )  # fmt: skip
    with pytest.raises(DatasetError, match="has no split 'test'; it has: dev, train"):
        train_facodec(str(manifest), tmp_path, changed("data", dev_split="test"))
    with pytest.raises(DatasetError, match="has nothing to train on in its split 'all'"):
        train_facodec(str(manifest), tmp_path, changed("data", train_split="all"))
    with pytest.raises(HubError, match=r"The model '.*' cannot be loaded: "):
        train_facodec(
            str(manifest), tmp_path / "a", changed("targets", content="phones", content_from=str(tmp_path))
        )
    with pytest.raises(CheckpointError):
        train_facodec(
            str(manifest), tmp_path / "b", changed("targets", f0="network", f0_from=str(tmp_path / "bst.t7"))
        )


@pytest.mark.parametrize(
    ("section", "values", "sentence"),
    [
        ("targets", {"content": "words"}, "`content` must be one of units, phones, got 'words'"),
        ("targets", {"f0": "network"}, "`f0` 'network' needs its file; name bst.t7 of Plachta/JDCnet"),
        ("targets", {"speaker": "classifier"}, "`speaker` 'classifier' needs a model; name its folder"),
        ("data", {"held_out": 0.0}, r"`held_out` must be between 0 and 1, got 0\.0"),
        ("data", {"clip_frames": 0}, "`clip_frames` must be at least 1, got 0"),
        ("losses", {"residual_dropout": 1.5}, r"`residual_dropout` must be from 0 to 1, got 1\.5"),
        ("losses", {"reversal": -0.1}, r"`reversal` must be at least 0, got -0\.1"),
        ("losses", {"warmup_steps": -1}, "`warmup_steps` must be at least 0, got -1"),
    ],
)
def test_settings_that_make_no_sense(section, values, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        changed(section, **values)


def test_not_finite(manifest, trained, tmp_path) -> None:
    shutil.copytree(trained[0] / "targets", tmp_path / "targets")
    with pytest.raises(JobError, match=r"Training stopped at step \d: not finite is .*, for the batch s\d_"):
        train_facodec(str(manifest), tmp_path, changed("losses", learning_rate=1e30))
    assert (tmp_path / "failed").is_dir()


def test_the_codec_learns_alone_at_first(manifest, trained, tmp_path) -> None:
    shutil.copytree(trained[0] / "targets", tmp_path / "targets")
    seen = []
    settings = dataclasses.replace(
        changed("losses", adversarial_from=2), loop=dataclasses.replace(SETTINGS.loop, validate_every=4)
    )
    watcher = Watcher(stepped=lambda step, metrics: seen.append("discriminators" in metrics))
    train_facodec(str(manifest), tmp_path, settings, watcher=watcher)
    assert seen == [False, False, True, True]


def test_codes_without_use_are_replaced(trained) -> None:
    tensors, _ = state(trained[0], 4)
    assert int(tensors["codec.code_use.count"]) == 4
    counted = {name: tensors[f"codec.code_use.{name}"] for name in ("prosody", "content", "residual")}
    assert {name: value.shape for name, value in counted.items()} == {
        "prosody": (1, 16),
        "content": (2, 16),
        "residual": (3, 16),
    }
    assert all(int(value.sum(dim=1)[0]) == 2 * 2 * 16 for value in counted.values())  # since the third step


def test_what_is_quantized_begins_standardised() -> None:
    torch.manual_seed(0)
    codec = TrainedCodec(SETTINGS.codec, replace_codes_every=2).train()
    waveform = 0.1 * torch.randn(2, 300 * 40)
    codec(waveform, waveform, torch.tensor([12000, 12000]))
    quantizer = codec.part("quantizer")
    prosody = quantizer.prosody_features(quantizer.to_mel(waveform))
    for features in (codec.part("encoder")(waveform), prosody):
        torch.testing.assert_close(features.mean(dim=(0, 1)), torch.zeros(32), atol=1e-3, rtol=0)
        torch.testing.assert_close(features.std(dim=(0, 1)), torch.ones(32), atol=1e-3, rtol=0)


def test_projections_begin_standardised() -> None:
    """Before the first batch, and then no more: what is looked up has mean 0 and deviation 1 in each channel."""
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(2, 8, 16, 4, convolutional=True)
    use = CodeUse({"content": quantizer}, every=1)
    features = 3 + torch.randn(2, 50, 8) * torch.arange(1, 9)
    use.replace("content", quantizer, features)
    left = features
    for stage in quantizer.stages:
        projected = stage.in_proj(left).flatten(0, 1)
        torch.testing.assert_close(projected.mean(dim=0), torch.zeros(4), atol=1e-5, rtol=0)
        torch.testing.assert_close(projected.std(dim=0), torch.ones(4))
        for row in stage.rows:  # every code is what some frame projects to
            assert (projected - row).abs().amax(dim=1).min() < 1e-6
        left = left - stage(left).features
    use.observe({"content": quantizer(features).codes})
    before = {name: value.clone() for name, value in quantizer.state_dict().items() if "in_proj" in name}
    use.replace("content", quantizer, 5 * features)
    assert all(torch.equal(value, quantizer.state_dict()[name]) for name, value in before.items())


@pytest.mark.parametrize("name", ["facodec", "facodec_small"])
def test_shipped_recipes(name) -> None:
    settings = read_training_recipe(FacodecSettings, name)
    first = find_recipe(name, "training").read_text().partition("\n")[0]
    assert first == f"# speechtok train facodec CORPUS RUN --recipe {name}"
    if name == "facodec":
        published = FacodecSettings(
            loop=LoopSettings(batch_size=4, workers=settings.loop.workers, steps=settings.loop.steps),
            targets=TargetSettings(content="phones", speaker="labels"),
        )
        assert settings == published


def test_command(manifest, tmp_path, capsys) -> None:
    settings = {
        "loop.steps": 1, "loop.batch_size": 2, "data.clip_frames": 16, "data.validation_utterances": 1,
        "codec.encoder_channels": 2, "codec.decoder_channels": 32, "targets.num_units": 6,
        "targets.num_speakers": 2, "codec.prosody_channels": 8, "codec.timbre_channels": 8,
    }  # fmt: skip
    words = ["train", "facodec", str(manifest), str(tmp_path / "run"), "--recipe", "facodec_small"]
    for name, value in settings.items():
        words += ["--set", f"{name}={value}"]
    assert run(words) == 0
    out, err = capsys.readouterr()
    assert "mel distance: " in out
    assert "share of codes in use, prosody 1" in out
    assert f"Wrote {tmp_path / 'run' / 'model'}, which --tokenizer takes" in out
    assert "Step 1: mel distance" in err
    assert run([*words[:-1], "codec.chanels=3"]) == 2
