import re

import pytest

from speechtok.cli.main import run


@pytest.mark.parametrize(("seconds", "lines"), [(0.0, True), (3600.0, False)])
def test_a_job_writes_lines_where_there_is_no_terminal(
    tmp_path, write_corpus, monkeypatch, capsys, seconds, lines
):
    """A log has something to show for a long night, and no line for what takes a moment."""
    monkeypatch.setattr("speechtok.cli.progress.LINE_SECONDS", seconds)
    corpus = write_corpus(tmp_path / "c", {"a.wav": 0.5, "b.wav": 0.5})
    assert run(["tokenize", str(corpus), str(tmp_path / "out"), "--workers", "1"]) == 0
    told = capsys.readouterr().err
    assert ("Looking at recordings: 2 of 2." in told) is lines
    found = re.search(
        r"Tokenizing: 0\.00 h, \d+ × real time, 0 quarantined; 0\.00 h in all, about \d+\.\d s left\.", told
    )
    assert (found is not None) is lines
