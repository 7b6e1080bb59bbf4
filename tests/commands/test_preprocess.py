"""Recordings at one rate, trimmed and padded: the tree, bad files, resuming, settings."""

import numpy as np
import pytest
import soundfile

from speechtok.audio.io import read_waveform
from speechtok.audio.trim import pad_to_multiple, trim_silence
from speechtok.cli.main import run
from speechtok.commands.preprocess import PreprocessReport, PreprocessSettings, preprocess
from speechtok.errors import DatasetError, JobError

SETTINGS = PreprocessSettings(trim_db=20.0, pad=1280)


@pytest.fixture
def corpus(tmp_path, write_corpus, speech):
    folder = write_corpus(tmp_path / "in", {"a/one.wav": 0.5, "a/two.wav": 0.4, "bad.wav": b"no audio"})
    stereo = np.pad(speech(0.5, 44100, 3), 20000)
    soundfile.write(folder / "b.flac", np.stack([stereo, stereo], axis=1), 44100)
    soundfile.write(folder / "a" / "one.flac", speech(0.3, 16000, 4), 16000)
    return folder


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.wav"))


def test_every_recording_is_resampled_trimmed_and_padded(corpus, tmp_path):
    said = []
    report = preprocess(corpus, tmp_path / "out", SETTINGS, on_failure=said.append)
    assert files(tmp_path / "out") == ["a/one.flac.wav", "a/one.wav.wav", "a/two.wav", "b.wav"]
    assert (report.written, report.skipped, report.failed) == (4, 0, 1)
    assert len(said) == 1
    assert "bad.wav" in said[0]
    original = read_waveform(corpus / "b.flac", sample_rate=16000).samples
    want = pad_to_multiple(trim_silence(original), 1280)
    got, rate = soundfile.read(tmp_path / "out" / "b.wav")
    assert rate == 16000
    assert soundfile.info(tmp_path / "out" / "b.wav").subtype == "PCM_16"
    assert len(got) % 1280 == 0
    assert len(got) < len(original) - 8000
    assert np.abs(got - want).max() <= 0.5 / 32768
    made = sum(soundfile.info(tmp_path / "out" / name).duration for name in files(tmp_path / "out"))
    assert report.seconds == pytest.approx(made)


def test_without_options_audio_is_only_brought_to_the_rate(corpus, tmp_path):
    preprocess(corpus, tmp_path / "out", PreprocessSettings(sample_rate=8000))
    assert soundfile.info(tmp_path / "out" / "a" / "two.wav").frames == 3200
    assert soundfile.info(tmp_path / "out" / "b.wav").frames == round(62050 * 8000 / 44100)


def test_only_what_is_missing_is_made_again(corpus, tmp_path):
    out = tmp_path / "out"
    preprocess(corpus, out, SETTINGS)
    before = {name: (out / name).stat().st_mtime_ns for name in files(out)}
    content = (out / "a" / "two.wav").read_bytes()
    (out / "a" / "two.wav").unlink()
    assert preprocess(corpus, out, SETTINGS, workers=1) == PreprocessReport(
        written=1, skipped=3, failed=1, seconds=0.4
    )
    assert (out / "a" / "two.wav").read_bytes() == content
    for name, stamp in before.items():
        assert name == "a/two.wav" or (out / name).stat().st_mtime_ns == stamp


def test_segments_of_a_manifest(corpus, tmp_path):
    (corpus / "all.csv").write_text("id,audio,start,duration\nx/1,a/two.wav,0.1,0.2\nx/2,a/two.wav,0.3,0.1\n")
    preprocess(corpus / "all.csv", tmp_path / "out", PreprocessSettings())
    assert files(tmp_path / "out") == ["x/1.wav", "x/2.wav"]
    assert soundfile.info(tmp_path / "out" / "x" / "1.wav").frames == 3200


def test_command(corpus, tmp_path, capsys):
    words = [
        "preprocess",
        str(corpus),
        str(tmp_path / "out"),
        "--sample-rate",
        "16000",
        "--trim",
        "--pad",
        "1280",
    ]
    assert run(words) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{tmp_path / 'out'}: wrote 4 recordings, ")
    assert printed.out.endswith("; 0 there already, 1 unusable.\n")
    assert printed.err.startswith("speechtok: Cannot read '")
    assert printed.err.count("\n") == 1
    assert run([*words, "--max-errors", "0"]) == 1
    assert "1 recording failed, more than the 0 allowed; the last one: Cannot read" in capsys.readouterr().err
    assert run(words[:-2]) == 1
    assert "out was begun with pad 1280, not None; use another folder" in capsys.readouterr().err


def test_other_mistakes(corpus, tmp_path):
    with pytest.raises(DatasetError, match=r"lies in the corpus .*, whose recordings it would join"):
        preprocess(corpus, corpus / "out", SETTINGS)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(
        DatasetError, match="holds other files already; preprocess into a new or empty folder"
    ):
        preprocess(corpus, tmp_path / "full", SETTINGS)
    with pytest.raises(JobError, match="more than the 0 allowed"):
        preprocess(corpus, tmp_path / "out", SETTINGS, max_errors=0)
    with pytest.raises(ValueError, match=r"`trim_db` must be above 0, got 0\.0"):
        PreprocessSettings(trim_db=0.0)
    with pytest.raises(ValueError, match="`pad` must be at least 1, got 0"):
        PreprocessSettings(pad=0)
