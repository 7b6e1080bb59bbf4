"""Inputs that hang, explode or kill whoever looks for their segments: one file is lost, and the job ends."""

import os
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import speechtok
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.corpora import read_corpus
from speechtok.engine.looking import Lookers
from speechtok.engine.settings import JobSettings, RunSettings
from speechtok.errors import DatasetError, JobError
from speechtok.shards.reader import TokenDataset

SPEECH = Path(speechtok.__file__).parent / "demo" / "clips" / "en-gb" / "maud-1.flac"
WEBM = b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webm"


@pytest.fixture
def hanging_ffmpeg(tmp_path, monkeypatch):
    """A program ffmpeg from which nothing ever comes."""
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(program.parent), os.environ["PATH"]]))


@pytest.mark.parametrize("way", ["vad", "silence"])
def test_troubled_recordings_are_lost_alone(tmp_path, write_corpus, poison, hanging_ffmpeg, way):
    names = ["a.wav", "b hang.wav", "c.wav", "d explode.wav", "e segfault.wav", "f once.wav", "i thrice.wav"]
    corpus = write_corpus(
        tmp_path / "c", {**dict.fromkeys(names, 1.5), "g.webm": WEBM, "h.flac": SPEECH.read_bytes()}
    )
    settings = JobSettings(segment=way, max_segment_seconds=1.0)
    run = RunSettings(timeout_seconds=3.0, memory_mb=1024, workers=1)
    report = tokenize_corpus(corpus, tmp_path / "out", settings=settings, run=run)
    rows = pq.read_table(tmp_path / "out" / "quarantine" / "train.parquet").to_pylist()
    found = {row["id"]: row["message"] for row in rows}
    assert list(found) == ["b hang.wav", "d explode.wav", "e segfault.wav", "g.webm"]
    assert report.quarantined == 4
    assert "took longer than 3 s; allow more with --timeout-seconds" in found["b hang.wav"]
    assert found["d explode.wav"].startswith("Cannot segment 'd explode.wav': ")
    assert "ended the process twice (SIGSEGV)" in found["e segfault.wav"]
    good = {row["id"].rpartition(".")[0] for row in TokenDataset(tmp_path / "out")}
    assert "h" in good
    if way == "silence":  # which loses nothing
        assert good == {
            "a",
            "c",
            "f once",
            "h",
            "i thrice",
        }  # killed from outside, which is no fault of theirs


def test_slices_are_looked_at_in_order_and_counted(tmp_path, write_corpus):
    corpus = read_corpus(
        write_corpus(tmp_path, {f"{n:02d}.wav": 0.1 + 0.01 * n for n in range(20)} | {"x.md": b""})
    )
    source, told = corpus.source, Counter()
    with Lookers(RunSettings(), count=2) as lookers:
        tables = list(
            lookers.rows(
                corpus,
                lambda: source.slices(source.files(), 0.3),
                JobSettings(),
                on_probe=lambda: told.update(probed=1),
            )
        )
    rows = [row for table in tables for row in table.to_pylist()]
    assert [row["id"] for row in rows] == [f"{n:02d}.wav" for n in range(20)]
    assert [round(row["seconds"], 2) for row in rows] == [round(0.1 + 0.01 * n, 2) for n in range(20)]
    assert (told["probed"], corpus.ignored) == (20, {".md": 1})


def test_what_is_wrong_with_a_corpus_is_told_as_here(tmp_path, write_corpus):
    write_corpus(tmp_path, {"a.wav": 0.1})
    (tmp_path / "list.csv").write_text("audio,id\na.wav,1\n,2\n")
    corpus = read_corpus(tmp_path / "list.csv")
    with Lookers(count=1) as lookers:
        parts = lambda: corpus.source.slices(corpus.source.files(), 1.0)  # noqa: E731
        with pytest.raises(DatasetError, match=r"list\.csv line 3: `audio` must be a path"):
            list(lookers.rows(corpus, parts, JobSettings()))


def test_a_first_try(tmp_path, write_corpus):
    corpus = write_corpus(tmp_path / "c", {f"{n:02d}.wav": 0.1 for n in range(30)})
    ids = {}
    for name, how in {"limit": {"limit": 3}, "half": {"sample": 0.5}, "less": {"sample": 0.25}}.items():
        settings = JobSettings(**how)
        tokenize_corpus(corpus, tmp_path / name, settings=settings, run=RunSettings(workers=1))
        ids[name] = [row["id"] for row in TokenDataset(tmp_path / name)]
    assert ids["limit"] == ["00.wav", "01.wav", "02.wav"]
    assert 5 < len(ids["half"]) < 25
    assert 0 < len(ids["less"]) < len(ids["half"])
    assert set(ids["less"]) < set(ids["half"])
    with pytest.raises(JobError, match="was begun with limit=3, not None"):
        tokenize_corpus(corpus, tmp_path / "limit", run=RunSettings(workers=1))
    with pytest.raises(
        DatasetError, match=r"No utterance of .* is in a sample of 1e-09; take a larger share"
    ):
        tokenize_corpus(
            corpus, tmp_path / "none", settings=JobSettings(sample=1e-9), run=RunSettings(workers=1)
        )
