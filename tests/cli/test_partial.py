"""Commands on a dataset that lacks a shard: an error that says how much, and what there is when asked for it."""

import json

import pytest

from speechtok.commands.tokenize import tokenize_corpus
from speechtok.engine.settings import JobSettings, RunSettings


@pytest.fixture
def unfinished(tmp_path, clips):
    """A dataset of two shards that has lost the second one."""
    settings = JobSettings(shard_seconds=0.9, file_mb=1e-6)
    tokenize_corpus(clips[0].parent, tmp_path / "out", settings=settings, run=RunSettings(workers=1))
    lost = tmp_path / "out/data/train-00001-of-00002.parquet"
    lost.unlink()
    return tmp_path / "out"


def test_stats_and_decode(unfinished, tmp_path, speechtok):
    for words in (("stats", unfinished), ("decode", unfinished, tmp_path / "wav")):
        code, _, err = speechtok(*words)
        assert code == 1
        assert (
            "is unfinished or has lost files: 1 of 2 are missing, the first is data/train-00001-of-00002.parquet."
            in err
        )
        assert "--allow-partial" in err
    code, out, err = speechtok("stats", unfinished, "--allow-partial", "--html", tmp_path / "page.html")
    assert code == 0, err
    assert out.startswith("rows        1 (train 1)")
    assert "Recordings are opened only below a folder that you name" in (tmp_path / "page.html").read_text()
    code, out, err = speechtok("decode", unfinished, tmp_path / "wav", "--allow-partial")
    assert code == 0, err
    assert [path.name for path in (tmp_path / "wav").iterdir()] == ["a.wav.wav"]
    code, _, err = speechtok("verify", unfinished)
    assert code == 1
    assert "data/train-00001-of-00002.parquet is missing." in err


def test_evaluate(unfinished, clips, speechtok):
    words = ("evaluate", unfinished, "--corpus", clips[0].parent, "--measure", "mel_distance", "--json")
    code, _, err = speechtok(*words)
    assert code == 1
    assert "1 of 2 are missing, the first is data/train-00001-of-00002" in err
    code, out, err = speechtok(*words, "--allow-partial")
    assert code == 0, err
    assert [row["id"] for row in json.loads(out)["rows"]] == ["a.wav"]
    code, _, err = speechtok("evaluate", "--pairs", clips[0], "--allow-partial")
    assert code == 2
    assert "--allow-partial belongs to a token dataset, not to --pairs" in err
