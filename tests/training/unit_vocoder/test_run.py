"""Runs of the unit vocoder: they go on bit for bit, give a tokenizer, and say what is wrong with data."""

import dataclasses
import math
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
from speechtok.commands.evaluate import EvaluationSettings, evaluate_dataset
from speechtok.errors import CardError, CheckpointError, DatasetError, JobError, TokensError
from speechtok.tokenizers.units.tokenizer import UnitTokenizer
from speechtok.tokenizers.units.xvector import XVector
from speechtok.training.loop import Watcher
from speechtok.training.settings import LoopSettings, read_training_recipe
from speechtok.training.unit_vocoder.settings import UnitVocoderSettings
from tests.tokenizers.units.folder import fill, save
from tests.training.recordings import recordings_of
from tests.training.states import same_state, state
from tests.training.unit_vocoder.small import SETTINGS, changed, make_tokens, train_unit_vocoder


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    """A finished run, and the points of its curves."""
    tokens, tokenizer = made
    folder = tmp_path_factory.mktemp("trained")
    return folder, train_unit_vocoder(str(tokens), folder, SETTINGS, tokenizer=tokenizer)


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(made, trained, tmp_path) -> None:
    tokens, tokenizer = made
    words = ["-m", "tests.training.unit_vocoder.small", str(tokens), str(tokenizer), str(tmp_path), "3"]
    done = subprocess.run([sys.executable, *words], capture_output=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000002"]
    train_unit_vocoder(str(tokens), tmp_path, SETTINGS, tokenizer=tokenizer)
    same_state(trained[0], tmp_path, 4)
    one, other = (load_file(folder / "model" / "model.safetensors") for folder in (trained[0], tmp_path))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_result_is_a_tokenizer(made, trained, tmp_path) -> None:
    tokens, tokenizer = made
    folder, history = trained
    assert [(point["step"], point["split"]) for point in history] == [
        (2, "training"),
        (2, "validation"),
        (4, "training"),
        (4, "validation"),
    ]
    assert history[-1]["mel distance"] < history[1]["mel distance"]
    model = speechtok.load_tokenizer(folder / "model")
    assert model.fingerprint == speechtok.load_tokenizer(tokenizer).fingerprint
    assert model.voices == ("s0", "s1")
    rows = speechtok.TokenDataset(tokens)
    found = {}
    for options in ((), ("--speaker", "s1")):
        out = tmp_path / "_".join(("out", *options))
        words = ["decode", str(tokens), str(out), "--tokenizer", str(folder / "model")]
        assert run([*words, *options]) == 0
        for index in range(len(rows)):
            samples, rate = soundfile.read(out / f"{rows[index]['id']}.wav")
            assert (len(samples), rate) == (rows[index]["num_samples"], 16000)
            found[options, rows[index]["id"]] = samples
    own, asked = (), ("--speaker", "s1")
    assert np.array_equal(found[own, "s1_7.wav"], found[asked, "s1_7.wav"])
    assert not np.array_equal(found[own, "s0_6.wav"], found[asked, "s0_6.wav"])
    source = tokens.parent / "corpus" / "s0_0.wav"
    words = ["convert-voice", str(source), str(tmp_path / "other.wav"), "--speaker", "s1", "--tokenizer"]
    assert run([*words, str(folder / "model")]) == 0
    assert len(soundfile.read(tmp_path / "other.wav")[0]) == 9000
    page = (folder / "report.html").read_text()
    assert "mel distance" in page
    assert page.count("<audio") == 6  # two recordings, after step 2, after step 4
    assert "of 8 codes" in page  # units
    assert "of 20 codes" in page  # pitch


def test_rows_are_evaluated_in_their_own_voices(made, trained, monkeypatch) -> None:
    tokens, _ = made
    settings = EvaluationSettings(measures=("mel_distance",))
    options = {
        "tokenizer": str(trained[0] / "model"),
        "settings": settings,
        "split": "dev",
        "corpus_root": recordings_of(tokens),
    }
    found = evaluate_dataset(tokens, **options)
    assert all(math.isfinite(row.scores.values["mel_distance"]) for row in found.rows)
    monkeypatch.setattr(UnitTokenizer, "voices", ("s0", "other"))
    found = evaluate_dataset(tokens, **options)
    assert [row.scores.failures for row in found.rows] == [
        {},
        {
            "mel_distance": "The table of 'test_units' has no voice for the row's speaker 's1'; "
            "--speaker chooses one for all."
        },
    ]
    found = evaluate_dataset(tokens, **options, speaker="s0")
    assert [row.scores.failures for row in found.rows] == [{}, {}]
    with pytest.raises(ValueError, match="'test_units' has no voice 's1'; it has: s0, other; rows 0 to"):
        evaluate_dataset(tokens, **options, speaker="s1")


def test_a_vocoder_is_compared(made, trained, tmp_path, capsys) -> None:
    """Where the corpus names no speakers, a voice of the table is chosen, for figures and sounds."""
    model, (tokens, _) = str(trained[0] / "model"), made
    audio = recordings_of(tokens)
    words = [
        "compare",
        "dmel_16k",
        model,
        "--corpus",
        str(audio),
        "--limit",
        "2",
        "--measure",
        "mel_distance",
    ]
    words += ["--output", str(tmp_path / "out"), "--examples", "1"]
    assert run(words) == 1
    assert "has no voice for the row's speaker: none is named; --speaker chooses" in capsys.readouterr().err
    assert run([*words, "--speaker", f"{model}=s1"]) == 0
    assert (tmp_path / "out" / "index.html").read_text().count("<audio") == 3
    assert run([*words, "--speaker", "facodec=s1"]) == 2
    words[words.index("--output") + 1] = str(tmp_path / "none")
    assert run([*words, "--speaker", f"{model}=s7"]) == 2
    assert "'test_units' has no voice 's7'; it has: s0, s1; rows 0 to" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    assert run([*words, "--speaker", "s1"]) == 2
    assert "'s1' must be NAME=VOICE, such as run/model=anna" in capsys.readouterr().err


def test_the_vocoder_speaks_as_in_training(made, trained) -> None:
    tokens, _ = made
    model = speechtok.load_tokenizer(trained[0] / "model")
    networks = state(trained[0], 4)[0]
    for name, value in load_file(trained[0] / "model" / "model.safetensors").items():
        if name.startswith("vocoder."):
            assert torch.equal(value, networks[f"vocoder.{name}"]), name
    rows = speechtok.TokenDataset(tokens, split="dev")
    waveform = model.decode(rows.tokens(0), speaker="s0")
    assert waveform.abs().max() > 0


def test_warm_starts(made, trained, tmp_path) -> None:
    tokens, tokenizer = made
    none = changed("loop", steps=1, validate_every=1)
    found = {}
    networks = state(trained[0], 4)[0]
    published = tmp_path / "published"
    published.mkdir()
    of_vocoder = {
        name.removeprefix("vocoder.vocoder."): value
        for name, value in networks.items()
        if name.startswith("vocoder.vocoder.")
    }
    torch.save({"generator": of_vocoder}, published / "g_00000004")
    judges: dict[str, dict[str, torch.Tensor]] = {"mpd": {}, "msd": {}}
    for name, value in networks.items():
        if name.startswith("discriminators.m"):
            _, group, key = name.split(".", 2)
            judges[group][key] = value
    torch.save({**judges, "steps": 4}, published / "do_00000004")
    for name, start in (
        ("run", trained[0]),
        ("published", published / "g_00000004"),
        ("model", trained[0] / "model"),
    ):
        folder = tmp_path / name
        (point,) = train_unit_vocoder(str(tokens), folder, none, tokenizer=tokenizer, start=start)
        found[name] = state(folder, 1)[0]
        assert point["mel distance"] < trained[1][-1]["mel distance"]
    for name, value in found["run"].items():
        assert torch.equal(value, found["published"][name]), name
    assert any(not torch.equal(value, found["model"][name]) for name, value in found["run"].items())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal(made, tmp_path, number) -> None:
    tokens, tokenizer = made
    before = signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(SystemExit(143)))

    def stepped(step, metrics):
        if step == 1:
            os.kill(os.getpid(), number)

    try:
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train_unit_vocoder(
                str(tokens), tmp_path, SETTINGS, tokenizer=tokenizer, watcher=Watcher(stepped=stepped)
            )
    finally:
        signal.signal(signal.SIGTERM, before)
    assert state(tmp_path, 1)[1]["step"] == 1


def test_a_full_disk(made, tmp_path, monkeypatch) -> None:
    tokens, tokenizer = made

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    def stepped(step, metrics):
        if step == 3:
            monkeypatch.setattr("speechtok.tokenizers.writing.save_file", full)

    sentence = r"After step 4 the model could not be written to .*: No space left on device. The state of step 2 is kept"
    with pytest.raises(JobError, match=sentence):
        train_unit_vocoder(
            str(tokens), tmp_path, SETTINGS, tokenizer=tokenizer, watcher=Watcher(stepped=stepped)
        )
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "model.safetensors",
        "tokenizer.yaml",
    ]
    speechtok.load_tokenizer(tmp_path / "model")


@pytest.fixture
def spoilt(tmp_path):
    """A token dataset whose recordings may be damaged."""
    return make_tokens(tmp_path / "spoilt")


def silent(path):
    soundfile.write(path, np.zeros(soundfile.info(path).frames), 16000)


def cut(path):
    samples, rate = soundfile.read(path)
    soundfile.write(path, samples[:5000], rate)


def slow(path):
    samples, _ = soundfile.read(path)
    soundfile.write(path, samples, 32000)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (silent, "1 utterance cannot be trained on: The recording of 's0_0.wav' is silent"),
        (os.remove, "1 utterance cannot be trained on: The original recording is not where it was"),
        (cut, "'s0_0.wav' has 5,000 samples at 16 kHz, but its units are of 9,000; it is another recording"),
        (slow, "'s0_0.wav' has 4,500 samples at 16 kHz, but .*, or its sample rate is stated wrongly"),
    ],
)
def test_damaged_recordings(spoilt, tmp_path, damage, sentence) -> None:
    tokens, tokenizer = spoilt
    damage(tokens.parent / "corpus" / "s0_0.wav")
    with pytest.raises(DatasetError, match=sentence):
        train_unit_vocoder(str(tokens), tmp_path / "run", SETTINGS, tokenizer=tokenizer)


def test_damaged_recordings_for_validation(spoilt, tmp_path) -> None:
    tokens, tokenizer = spoilt
    told: list[str] = []
    settings = changed("loop", steps=2)
    silent(tokens.parent / "corpus" / "s0_6.wav")
    train_unit_vocoder(
        str(tokens), tmp_path / "run", settings, tokenizer=tokenizer, watcher=Watcher(unusable=told.append)
    )
    assert told == ["The recording of 's0_6.wav' is silent."]
    (tokens.parent / "corpus" / "s1_7.wav").unlink()
    with pytest.raises(
        DatasetError, match=r"No utterance for validation can be used: The original recording is not"
    ):
        train_unit_vocoder(str(tokens), tmp_path / "none", settings, tokenizer=tokenizer)


def write_list(folder, rows):
    lines = [
        repr(
            {
                "audio": row["audio"],
                "hubert": " ".join(map(str, row["content"][0])),
                "duration": 1.0,
            }
        )
        for row in rows
    ]
    path = folder / "train.txt"
    path.write_text("\n".join(lines))
    return path


def test_lists(made, trained, tmp_path) -> None:
    tokens, tokenizer = made
    listed = write_list(tmp_path, speechtok.TokenDataset(tokens))
    settings = changed("data", voices_by="underscore", held_out=0.2)
    root = tokens.parent / "corpus"
    with pytest.raises(DatasetError, match="does not say what made its units; name the tokenizer"):
        train_unit_vocoder(listed, tmp_path / "run", settings)
    history = train_unit_vocoder(listed, tmp_path / "run", settings, tokenizer=tokenizer, corpus_root=root)
    assert history[-1]["mel distance"] < history[1]["mel distance"]
    assert speechtok.load_tokenizer(tmp_path / "run" / "model").voices == ("s0", "s1")
    both = train_unit_vocoder(
        listed, tmp_path / "two", changed("data", voices_by="single"), tokenizer=tokenizer, corpus_root=root,
        dev_list=listed,
    )  # fmt: skip
    assert len(both) == 4
    with pytest.raises(
        DatasetError, match=r"8 utterances have no speaker, such as 's0_6\.wav'; set data.voices_by"
    ):
        train_unit_vocoder(
            listed, tmp_path / "three", SETTINGS, tokenizer=tokenizer, corpus_root=root, dev_list=listed
        )
    odd = write_list(tmp_path, [{"audio": "s0_0.wav", "content": [[8, 1]]}])
    with pytest.raises(DatasetError, match=r"'s0_0\.wav' has the unit 8, but 'test_units' has 8"):
        train_unit_vocoder(
            odd, tmp_path / "four", settings, tokenizer=tokenizer, corpus_root=root, dev_list=listed
        )
    lines = "".join(
        f"{{'audio': 's{n % 2}_{n}.wav', 'hubert': '{'1 ' * 500}', 'duration': 1}}\n" for n in (0, 1)
    )
    odd.write_text(lines)
    with pytest.raises(DatasetError, match=r"has [\d,]+ samples at 16 kHz, but its units are of 80,000"):
        train_unit_vocoder(
            odd, tmp_path / "five", settings, tokenizer=tokenizer, corpus_root=root, dev_list=listed
        )


def both_ways(tokens, tokenizer, settings, folder, monkeypatch):
    """Return the utterances trained on from a dataset, and the same from a list of it."""
    tasks = []
    monkeypatch.setattr(
        "speechtok.training.unit_vocoder.run.train", lambda task, *rest, **options: tasks.append(task) or []
    )
    rows = speechtok.TokenDataset(tokens, split="train")
    listed = write_list(folder, rows)
    root = recordings_of(rows.path)
    for source, options in ((str(tokens), {}), (listed, {"corpus_root": root, "dev_list": listed})):
        train_unit_vocoder(source, folder / "caught", settings, tokenizer=tokenizer, **options)
    monkeypatch.undo()
    stored, computed = ({item.id: number for number, item in enumerate(task.examples.rows)} for task in tasks)
    assert stored.keys() == computed.keys()
    return [
        (tasks[0].examples.whole(number), tasks[1].examples.whole(computed[name]))
        for name, number in stored.items()
    ]


def test_pitch_of_a_list_is_that_of_the_tokens(made, tmp_path, monkeypatch) -> None:
    tokens, tokenizer = made
    settings = changed("data", voices_by="underscore")
    for one, other in both_ways(tokens, tokenizer, settings, tmp_path, monkeypatch):
        assert np.array_equal(one.waveform, other.waveform)
        assert np.array_equal(one.units, other.units)
        assert np.array_equal(one.pitch, other.pitch)


@pytest.mark.slow
def test_vectors(made, tmp_path, monkeypatch) -> None:
    """Speakers as x-vectors, stored in the dataset or computed for a list, and no pitch."""
    tokens, tokenizer = made
    shutil.copytree(tokenizer, tmp_path / "units")
    save(tmp_path / "units", "speaker", "embedding_model.ckpt", fill(XVector()))
    manifest = tokens.parent / "corpus" / "manifest.tsv"
    words = ["tokenize", str(manifest), str(tmp_path / "tokens"), "--tokenizer", str(tmp_path / "units")]
    assert run([*words, "--workers", "1"]) == 0
    settings = dataclasses.replace(
        changed("network", speaker="xvector", pitch=False), loop=dataclasses.replace(SETTINGS.loop, steps=2)
    )
    dataset, units = tmp_path / "tokens", tmp_path / "units"
    for one, other in both_ways(dataset, units, settings, tmp_path, monkeypatch):
        np.testing.assert_allclose(one.speaker, other.speaker, rtol=1e-3, atol=1e-4)
        assert one.pitch is other.pitch is None
    train_unit_vocoder(str(dataset), tmp_path / "stored", settings, tokenizer=units)
    model = speechtok.load_tokenizer(tmp_path / "stored" / "model")
    fresh = model.encode(tokens.parent / "corpus" / "s0_0.wav")
    assert model.decode(fresh).shape == (1, 9000)
    with pytest.raises(CheckpointError, match="has no part 'speaker' that makes x-vectors"):
        train_unit_vocoder(str(tokens), tmp_path / "other", settings, tokenizer=tokenizer)


def test_what_does_not_fit(made, trained, tmp_path) -> None:
    tokens, tokenizer = made

    def attempt(settings=SETTINGS, source=tokens, tokenizer=tokenizer, **options):
        train_unit_vocoder(str(source), tmp_path / "run", settings, tokenizer=tokenizer, **options)

    with pytest.raises(
        CheckpointError,
        match=r"another shape for entries .*'conv_pre.weight_g' \(has \(32, 1, 1\), needs \(64, 1, 1\)\)",
    ):
        attempt(changed("network", channels=64), start=trained[0])
    with pytest.raises(CheckpointError, match="holds neither a training run nor a vocoder to start from"):
        attempt(start=tokenizer)
    with pytest.raises(CheckpointError, match="holds no UnitVocoder to start from"):
        attempt(start=next((tokenizer / "f0").glob("g_*")))
    with pytest.raises(ValueError, match=r"`data\.segment_samples` must be a multiple of 1280, got 4000"):
        attempt(changed("data", segment_samples=4000))
    with pytest.raises(ValueError, match=r"`network.rates` must have the product 160, .*, got \[5, 2\]"):
        attempt(changed("network", rates=(5, 2)))
    with pytest.raises(CardError, match="'dmel_16k' is no tokenizer of units"):
        attempt(tokenizer="dmel_16k")
    shutil.copytree(tokenizer, tmp_path / "others")
    save(tmp_path / "others", "f0", "f0_stats.pth", {"f0_mean": 99.0, "f0_std": 20.0})
    with pytest.raises(
        TokensError, match=r"was made by the tokenizer 'test_units' with fingerprint .*; name the one"
    ):
        attempt(tokenizer=tmp_path / "others")
    shutil.rmtree(tmp_path / "others" / "f0")
    listed = write_list(tmp_path, speechtok.TokenDataset(tokens))
    with pytest.raises(CheckpointError, match="has no pitch quantizer; train one"):
        attempt(changed("data", voices_by="underscore"), listed, tmp_path / "others", dev_list=listed)
    with pytest.raises(DatasetError, match="has no split 'test'; it has: dev, train"):
        attempt(changed("data", dev_split="test"))
    with pytest.raises(CheckpointError, match="was begun with channels=32, not 64; repeat the first command"):
        train_unit_vocoder(str(tokens), trained[0], changed("network", channels=64), tokenizer=tokenizer)
    with pytest.raises(ValueError, match="`voices_by` must be one of column"):
        changed("data", voices_by="name")
    with pytest.raises(ValueError, match="`speaker` must be one of table, xvector, or null"):
        changed("network", speaker="name")
    with pytest.raises(
        ValueError, match="`channels` is halved 5 times, so it must be a multiple of 32, got 48"
    ):
        changed("network", channels=48)


def test_voices_that_are_not_trained_on(made, tmp_path) -> None:
    _, tokenizer = made
    listed = write_list(tmp_path, [{"audio": "a_1.wav", "content": [[1] * 50]}] * 2)
    known = tmp_path / "known.txt"
    shutil.move(listed, known)
    unknown = write_list(tmp_path, [{"audio": "b_1.wav", "content": [[1] * 50]}])
    with pytest.raises(
        DatasetError, match="No voice of the utterances for validation is among the 1 of training"
    ):
        train_unit_vocoder(
            known,
            tmp_path / "run",
            changed("data", voices_by="underscore"),
            tokenizer=tokenizer,
            dev_list=unknown,
        )


def test_the_vocoder_learns_alone_at_first(made, tmp_path) -> None:
    tokens, tokenizer = made
    seen = []
    settings = dataclasses.replace(
        changed("losses", adversarial_from=2), loop=dataclasses.replace(SETTINGS.loop, validate_every=4)
    )
    watcher = Watcher(stepped=lambda step, metrics: seen.append("discriminators" in metrics))
    train_unit_vocoder(str(tokens), tmp_path, settings, tokenizer=tokenizer, watcher=watcher)
    assert seen == [False, False, True, True]


@pytest.mark.parametrize("name", ["unit_vocoder", "unit_vocoder_small"])
def test_shipped_recipes(name) -> None:
    settings = read_training_recipe(UnitVocoderSettings, name)
    first = find_recipe(name, "training").read_text().partition("\n")[0]
    assert first == f"# speechtok train unit-vocoder TOKENS RUN --recipe {name}"
    if name == "unit_vocoder":
        published = dataclasses.replace(
            UnitVocoderSettings(),
            loop=LoopSettings(workers=settings.loop.workers),
        )
        assert settings == published


def test_command(made, tmp_path, capsys) -> None:
    tokens, tokenizer = made
    settings = {
        "loop.steps": 2, "loop.batch_size": 2, "loop.validate_every": 1, "data.segment_samples": 3840,
        "network.channels": 32, "network.block_kernels": "[3]", "data.validation_utterances": 1,
    }  # fmt: skip
    words = ["train", "unit-vocoder", str(tokens), str(tmp_path / "run"), "--tokenizer", str(tokenizer)]
    words += ["--recipe", "unit_vocoder_small"]
    assert run(words) == 1
    assert "Recordings are opened only below a folder that you name" in capsys.readouterr().err
    words += ["--corpus-root", str(recordings_of(tokens))]
    for name, value in settings.items():
        words += ["--set", f"{name}={value}"]
    assert run(words) == 0
    out, err = capsys.readouterr()
    assert "mel distance: " in out
    assert f"Wrote {tmp_path / 'run' / 'model'}, which --tokenizer takes" in out
    assert "Step 1: mel distance" in err
    assert run([*words[:-1], "network.chanels=3"]) == 2
    assert "unknown field chanels; did you mean 'channels'" in capsys.readouterr().err
