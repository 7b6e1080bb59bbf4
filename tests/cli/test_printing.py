"""What comes from data never reaches the terminal as a command of it."""

import json
from types import SimpleNamespace

import pytest

from speechtok.cli import progress
from speechtok.cli.printing import say, say_json
from speechtok.corpora import read_corpus

ESCAPES = "\x1b]0;owned\x07\x9b31m\r\n\u202e"


def harmless(text):
    return all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("verbose", [[], ["--verbose"]])
def test_errors(speechtok, tmp_path, verbose):
    code, out, err = speechtok("verify", f"{tmp_path}/", *verbose)
    assert code == 1
    folder = tmp_path / ESCAPES
    folder.mkdir()
    code, out, err = speechtok("verify", folder, *verbose)
    assert code == 1
    assert harmless(out + err)
    assert "is no token dataset made by" in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith(f"speechtok: {tmp_path}/\\x1b]0;owned\\x07")


def test_wrong_usage(speechtok):
    code, out, err = speechtok("verify", f"missing{ESCAPES}")
    assert code == 2
    assert harmless(out + err)
    assert err.count("\n") == 1


def test_lines_and_json(capsys):
    say(f"a{ESCAPES}b")
    say_json({"id": ESCAPES})
    printed = capsys.readouterr().out
    assert harmless(printed)
    assert json.loads(printed.partition("\n")[2]) == {"id": ESCAPES}


def test_suffixes_that_are_left_out(monkeypatch, capsys, tmp_path, speech):
    import soundfile
    from rich.console import Console

    soundfile.write(tmp_path / "a.wav", speech(0.5, 16000, 0), 16000)
    (tmp_path / "b.[bold]\x1b[31m[link=x]").write_text("x")
    monkeypatch.setattr(
        progress, "Console", lambda **_: Console(stderr=True, width=200, force_terminal=False)
    )
    corpus = read_corpus(tmp_path)
    assert list(corpus.utterances)
    with progress.job_display() as watcher:
        labels = {"text": 0, "speaker": 0, "language": 0}
        watcher.planned(SimpleNamespace(num_rows=1, labels=labels), 0, corpus)
    printed = capsys.readouterr().err
    assert harmless(printed)
    assert "Left out 1 file: 1 .[bold]\\x1b[31m[link=x]." in printed
