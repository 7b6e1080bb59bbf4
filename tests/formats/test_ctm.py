import pytest

from speechtok.errors import DatasetError
from speechtok.formats.ctm import parse_ctm, read_ctm
from speechtok.formats.intervals import Interval

TEXT = """\ufeff;; made by hand
a 1 0.10 0.20 hello 0.9 lex
b A 0.00 0.50 hi

a 1 0.30 0.25 world NA lex NA
"""


def test_lines_become_intervals(tmp_path):
    path = tmp_path / "a.ctm"
    path.write_text(TEXT, encoding="utf-8")
    found = read_ctm(path)
    assert found["a"] == [
        Interval(start=0.1, end=0.1 + 0.2, label="hello"),
        Interval(start=0.3, end=0.55, label="world"),
    ]
    assert found["b"] == [Interval(start=0.0, end=0.5, label="hi")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            b"a 1 0.1 0.2",
            r"x line 1 must be 'utterance channel start duration label' with times in seconds, got 'a 1 0\.1 0\.2'",
        ),
        (b"\na 1 now 0.2 b", r"x line 2 must be .* got 'a 1 now 0\.2 b'"),
        (b"a 1 nan 0.2 b", r"x line 1 must be"),
        (b"a 1 0.2 -1 b", r"x line 1 must be"),
        (
            b"a 1 0 1 b\na 2 0 1 b",
            r"x line 2 is of channel 2 of 'a', which has channel 1 too; give a file for each",
        ),
        (b"\xff", r"x is not UTF-8 \(.* at byte 0\); save it as UTF-8"),
    ],
)
def test_damage_is_named(content, says):
    with pytest.raises(DatasetError, match=says):
        parse_ctm(content, "x")
