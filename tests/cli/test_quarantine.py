"""`speechtok quarantine`: what failed, counted and listed."""

import json

import pytest

from speechtok.cli.main import run
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.engine.settings import RunSettings


@pytest.fixture(scope="module")
def output(tmp_path_factory, write_corpus):
    folder = tmp_path_factory.mktemp("quarantine")
    recordings = {"a.wav": 0.3, "b\tc.wav": b"no audio", "d.wav": b"", "e.wav": 0.3}
    corpus = write_corpus(folder / "c", recordings)
    tokenize_corpus(corpus, folder / "out", run=RunSettings(workers=1))
    return folder / "out"


def test_counted_by_reason(output, capsys):
    assert run(["quarantine", str(output)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{output}: 2 inputs in quarantine."
    assert second.split(maxsplit=3)[:3] == ["2", "AudioError", "(read),"]
    assert "Cannot read" in second
    assert run(["quarantine", str(output), "--json"]) == 0
    (reason,) = json.loads(capsys.readouterr().out)
    assert (reason["count"], reason["stage"], reason["error"]) == (2, "read", "AudioError")


def test_listed(output, capsys):
    """A tab in a name does not become a column."""
    assert run(["quarantine", str(output), "--list"]) == 0
    names, *lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert names == ["id", "audio", "stage", "error", "message"]
    assert [line[0] for line in lines] == ["b\\tc.wav", "d.wav"]
    assert {len(line) for line in lines} == {5}
    assert run(["quarantine", str(output), "--list", "--json"]) == 0
    assert [item["id"] for item in json.loads(capsys.readouterr().out)] == ["b\tc.wav", "d.wav"]


def test_no_dataset(tmp_path, capsys):
    assert run(["quarantine", str(tmp_path)]) == 1
    assert "is no token dataset" in capsys.readouterr().err
