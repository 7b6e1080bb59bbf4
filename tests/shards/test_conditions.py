"""Conditions on rows: they hold of what SQL says, and of one row at a time."""

import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechtok.errors import DatasetError
from speechtok.shards.conditions import Condition

ROWS = pa.table(
    {
        "id": ["a", "b", "c"],
        "duration": [1.0, 2.0, None],
        "text": ["one", None, "three's"],
        "the place": [1, 2, 3],
        "phones": [["AH"], ["B", "AH"], None],
    }
)
TYPES = dict(zip(ROWS.schema.names, ROWS.schema.types, strict=True))


@pytest.mark.parametrize(
    ("text", "wanted", "columns"),
    [
        ("duration < 20 and text is not null", "a", ["duration", "text"]),
        ("duration >= 1", "ab", ["duration"]),
        ("not duration >= 2", "a", ["duration"]),
        ("duration + duration - 1 >= 3", "b", ["duration"]),
        ("duration is null or Duration == 2", "bc", ["duration"]),
        ("text like 't%'", "c", ["text"]),
        ("text = 'three''s'", "c", ["text"]),
        ("len(phones) > 1 or list_contains(phones, 'X')", "b", ["phones"]),
        ("id in ('a', 'c')", "ac", ["id"]),
        ('"the place" between 2 and 3', "bc", ["the place"]),
        ("duration < 9 -- and more", "ab", ["duration"]),
        ("true", "abc", []),
    ],
)
def test_holds(text, wanted, columns):
    condition = Condition(text, TYPES, "SET")
    assert condition.columns == columns
    assert ROWS["id"].filter(pa.array(condition(ROWS))).to_pylist() == list(wanted)
    assert condition(ROWS.slice(0, 0)).tolist() == []


@given(
    st.lists(st.one_of(st.none(), st.integers(-5, 5)), min_size=1, max_size=40),
    st.integers(-5, 5),
    st.integers(1, 7),
)
def test_rows_are_looked_at_alone_and_in_order(values, bound, cut):
    table = pa.table({"x": pa.array(values, pa.int64())})
    condition = Condition(f"x > {bound}", {"x": pa.int64()}, "SET")
    wanted = [value is not None and value > bound for value in values]
    assert condition(table).tolist() == wanted
    parts = [condition(table.slice(start, cut)) for start in range(0, len(values), cut)]
    assert np.concatenate(parts).tolist() == wanted


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", ValueError, "neither true nor false|is no condition"),
        ("null", ValueError, "is null of each row"),
        ("duration <", ValueError, "is no condition .syntax error"),
        ("duration", ValueError, "is double of each row, and neither true nor false; write one such as"),
        ("duration < 1; select 1", ValueError, "is no condition"),
        ("duration < 1 from t", ValueError, "is no condition"),
        ("pitch > 1", DatasetError, "SET has no column pitch to compare; it has: duration, id, phones"),
        ("text = anna", DatasetError, "a text stands in single quotes: 'anna'"),
        ("text > 3", ValueError, "cannot be computed of the rows of SET: Binder Error"),
        ("duration > avg(duration)", ValueError, r"calls avg\(\), which makes other rows of rows"),
        ("unnest(phones) = 'B'", ValueError, r"calls unnest\(\), which makes other rows of rows"),
        ("row_number() over () > 1", ValueError, "holds a window, but a condition speaks of one row"),
        ("(select 1) = 1", ValueError, "holds a subquery"),
        ("* = 1", ValueError, "holds a star"),
        ("$1 = 1", ValueError, "holds a parameter"),
        ("random() < 0.5", ValueError, "gives another result each time, so no run could be repeated"),
        ("now() > date '2020-01-01'", ValueError, "gives another result each time"),
    ],
)
def test_what_is_no_condition(text, error, message):
    with pytest.raises(error, match=message):
        Condition(text, TYPES, "SET")


def test_a_cell_that_cannot_be_computed_is_named():
    condition = Condition("text::int > 3", TYPES, "SET")
    with pytest.raises(ValueError, match=r"cannot be computed of the rows of SET: .*'one'"):
        condition(ROWS)


def test_no_file_is_read():
    for text in (
        "exists(select * from read_text('/etc/hostname'))",
        "read_text('/etc/hostname') is not null",
    ):
        with pytest.raises(ValueError, match=r"subquery|cannot be computed"):
            Condition(text, TYPES, "SET")


def test_a_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(DatasetError, match=r"need the package duckdb: pip install 'speechtok\[filter\]'"):
        Condition("true", TYPES, "SET")
