import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from speechtok.shards.writer import evenly


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(1, 6))
def test_tables_of_equal_length(lengths, rows):
    tables, start = [], 0
    for length in lengths:
        tables.append(pa.table({"n": pa.array(range(start, start + length), pa.int64())}))
        start += length
    found = list(evenly(tables, rows))
    assert [n for table in found for n in table["n"].to_pylist()] == list(range(start))
    assert all(len(table) == rows for table in found[:-1])
    assert not found or 0 < len(found[-1]) <= rows
