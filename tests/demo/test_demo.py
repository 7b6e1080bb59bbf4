import csv
import shutil
from pathlib import Path

import pytest

from speechtok.audio.io import probe_audio, read_waveform
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.demo.demonstration import BROKEN, CORPUS, run_demo
from speechtok.demo.make_clips import CLIPS, COLUMNS, SENTENCES, make_clips
from speechtok.engine.settings import RunSettings
from speechtok.errors import AudioError, DatasetError


def test_the_demo_tells_what_it_does_and_can_be_repeated(tmp_path):
    lines = []
    report = run_demo(tmp_path / "out", say=lines.append, run=RunSettings(workers=1))
    story = "\n".join(lines)
    assert report.read_text().startswith("<!doctype html>")
    assert "× real time" in story
    assert f"Set aside: {BROKEN}" in story
    assert "All is well: 12 rows, 1 in quarantine." in story
    assert "16 kbit/s uncompressed" in story
    assert "12 WAV files" in story
    assert str(report) in story
    wavs = sorted(
        path.relative_to(tmp_path / "out/wav").as_posix() for path in (tmp_path / "out/wav").rglob("*.wav")
    )
    assert wavs == sorted(f"{clip.audio}.wav" for clip in SENTENCES if clip.audio != BROKEN)
    before, lines = report.read_bytes(), []
    assert run_demo(tmp_path / "out", say=lines.append, run=RunSettings(workers=1)) == report
    assert any("All is done already" in line for line in lines)
    assert report.read_bytes() == before


def test_a_damaged_dataset_is_not_called_well(tmp_path):
    tokenize_corpus(CORPUS, tmp_path / "tokens", run=RunSettings(workers=1))
    (tmp_path / "tokens/data/stray.parquet").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"1 problem; .*stray.parquet does not belong to the dataset"):
        run_demo(tmp_path, say=lambda line: None, run=RunSettings(workers=1))


def test_an_unknown_executor_is_named(tmp_path):
    with pytest.raises(ValueError, match="`executor` must be 'local' or 'ray', got 'slurm'"):
        run_demo(tmp_path / "out", say=print, run=RunSettings(executor="slurm"))


def test_the_corpus_is_small_varied_and_broken_once():
    files = sorted(CLIPS.rglob("*.flac"))
    assert sorted(path.relative_to(CLIPS).as_posix() for path in files) == sorted(c.audio for c in SENTENCES)
    assert sum(path.stat().st_size for path in CLIPS.rglob("*")) < 1_500_000
    with pytest.raises(AudioError, match="cut or damaged"):
        read_waveform(CLIPS / BROKEN)
    infos = {clip.audio: probe_audio(CLIPS / clip.audio) for clip in SENTENCES if clip.audio != BROKEN}
    assert {info.sample_rate for info in infos.values()} == {16000, 22050, 44100}
    assert [name for name, info in infos.items() if info.num_channels == 2] == ["en-us/finn-1.flac"]
    assert all(2 <= info.duration <= 6 for info in infos.values())
    assert all(info.sample_rate == clip.sample_rate for clip in SENTENCES if (info := infos.get(clip.audio)))


def test_the_manifest_is_that_of_the_script():
    with CORPUS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))
    assert rows[0] == list(COLUMNS)
    assert rows[1:] == [[getattr(clip, column) for column in COLUMNS] for clip in SENTENCES]


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs espeak-ng")
def test_the_script_makes_the_clips(tmp_path):
    make_clips(tmp_path)
    assert (tmp_path / "manifest.tsv").read_bytes() == CORPUS.read_bytes()
    for clip in SENTENCES:
        made, shipped = Path(tmp_path, clip.audio), CLIPS / clip.audio
        assert made.stat().st_size == pytest.approx(shipped.stat().st_size, rel=0.2), clip.audio
