from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechtok.errors import DatasetError
from speechtok.formats.intervals import Interval
from speechtok.formats.textgrid import format_textgrid, parse_textgrid, read_textgrid

LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 1.5 ! seconds
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 1.5
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = ""
        intervals [2]:
            xmin = 0.5
            xmax = 1.5
            text = "say ""5 = five"" <now>"
    item [2]:
        class = "TextTier"
        name = "clicks"
        xmin = 0
        xmax = 1.5
        points: size = 1
        points [1]:
            number = 0.7
            mark = "!"
    item [3]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 1.5
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 1.5
            text = "ə"
"""
SHORT = """File type = "ooTextFile short"
"TextGrid"

0
1.5
<exists>
3
"IntervalTier"
"words"
0
1.5
2
0
0.5
""
0.5
1.5
"say ""5 = five"" <now>"
"TextTier"
"clicks"
0
1.5
1
0.7
"!"
"IntervalTier"
"phones"
0
1.5
1
0
1.5
"ə"
"""


@pytest.mark.parametrize("text", [LONG, SHORT, LONG.replace("\n", "\r\n")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_both_forms_and_all_encodings(text, encoding):
    content = ("\ufeff" if encoding == "utf-16-be" else "") + text
    grid = parse_textgrid(content.encode(encoding), "a.TextGrid")
    assert grid.seconds == 1.5
    assert dict(grid.tiers) == {
        "words": (
            Interval(start=0.0, end=0.5, label=""),
            Interval(start=0.5, end=1.5, label='say "5 = five" <now>'),
        ),
        "phones": (Interval(start=0.0, end=1.5, label="ə"),),
    }


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r")), max_size=8))
def test_what_is_written_is_read_back(labels):
    tier = [Interval(start=k / 7, end=(k + 1) / 7, label=label) for k, label in enumerate(labels)]
    end = len(labels) / 7 + 0.25
    grid = parse_textgrid(format_textgrid({"phones": tier, 'a "b"': []}, end).encode(), "x")
    assert grid.seconds == end
    assert list(grid.tiers[0][1]) == [*tier, Interval(start=len(labels) / 7, end=end, label="")]
    assert grid.tiers[1] == ('a "b"', (Interval(start=0.0, end=end, label=""),))


def test_praatio_reads_what_is_written_and_writes_what_is_read(tmp_path):
    from praatio import textgrid

    path = tmp_path / "a.TextGrid"
    tier = [Interval(start=0.25, end=0.5, label='quo"te'), Interval(start=0.5, end=0.875, label="ŋ")]
    path.write_text(format_textgrid({"phones": tier}, 1.0), encoding="utf-8")
    theirs = textgrid.openTextgrid(str(path), includeEmptyIntervals=True)
    assert [tuple(item) for item in theirs.getTier("phones").entries][1:3] == [
        (0.25, 0.5, 'quo"te'),
        (0.5, 0.875, "ŋ"),
    ]
    for form in ("short_textgrid", "long_textgrid"):
        theirs.save(str(path), form, includeBlankSpaces=True)
        (name, found), *_ = read_textgrid(path).tiers
        assert name == "phones"
        assert [item for item in found if item.label] == tier


def test_times_count_from_the_beginning():
    shifted = (
        SHORT.replace("\n0\n", "\n10\n").replace("0.5", "10.5").replace("1.5", "11.5").replace("0.7", "10.7")
    )
    grid = parse_textgrid(shifted.encode(), "x")
    assert grid.seconds == 1.5
    assert grid.tiers[0][1][1].start == 0.5


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", r"x line 1 is the last that can be read, but a text in quotes should follow"),
        (b'"ooTextFile"\n"Sound"', r"x is no TextGrid: it begins with 'ooTextFile' and 'Sound'"),
        (
            SHORT[:-10].encode(),
            r"x line \d+ is the last that can be read, but .* should follow; write it again",
        ),
        (SHORT.replace("0.7", '"q"').encode(), r"""x line 24 has '"q"' instead of a number"""),
        (SHORT.replace("0.7", "0.7.1").encode(), r"x line 24 has '0\.7\.1' instead of a number"),
        (
            SHORT.replace("TextTier", "Tier").encode(),
            r"x line 19 has a tier of the kind 'Tier', not IntervalTier or TextTier",
        ),
        (SHORT.replace("<exists>\n3", "<exists>\n3.5").encode(), r"has 3\.5 instead of a count"),
        (SHORT.replace("<exists>\n3", "<exists>\n-1").encode(), r"has -1 instead of a count"),
        (SHORT.replace("<exists>\n3", "<exists>\n9").encode(), r"but a text in quotes should follow"),
        (b"\xe9" + SHORT.encode(), r"x is neither UTF-8 nor UTF-16 \(.* at byte 0\); save it as UTF-8\."),
    ],
)
def test_damage_is_named(content, says):
    with pytest.raises(DatasetError, match=says):
        parse_textgrid(content, "x")


@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: (SHORT[:60] + text).encode(errors="replace"))
)
def test_anything_is_read_or_refused(content):
    with suppress(DatasetError):
        assert parse_textgrid(content, "x").seconds == parse_textgrid(content, "x").seconds


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"There is no TextGrid '.*a\.TextGrid'\."):
        read_textgrid(tmp_path / "a.TextGrid")
