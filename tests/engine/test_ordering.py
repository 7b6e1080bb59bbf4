import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechtok.engine.ordering import Runs

text = st.text(st.characters(codec="utf-8"), max_size=3)


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(["dev", "train"]), text), min_size=1, max_size=7), max_size=12
    ),
    st.integers(1, 20),
    st.integers(1, 5),
    st.integers(2, 4),
)
def test_rows_come_out_in_order_however_they_are_cut(
    tmp_path_factory, batches, run_rows, piece_rows, max_runs
):
    folder = tmp_path_factory.mktemp("runs")
    runs = Runs(["split", "id"], folder, run_rows=run_rows, piece_rows=piece_rows, max_runs=max_runs)
    number = 0
    for batch in batches:
        rows = [
            {"split": split, "id": name, "n": number + place} for place, (split, name) in enumerate(batch)
        ]
        number += len(rows)
        runs.add(pa.Table.from_pylist(rows))
    wanted = sorted(row for batch in batches for row in batch)
    for _ in range(2):
        found = [row for table in runs.sorted() for row in table.to_pylist()]
        assert [(row["split"], row["id"]) for row in found] == wanted
        assert sorted(row["n"] for row in found) == list(range(number))
        assert len(list(folder.iterdir())) <= 1


def test_columns_and_types_are_united(tmp_path):
    runs = Runs(["id"], tmp_path, run_rows=1)
    runs.add(pa.table({"id": ["b"], "n": [1], "only": [None]}))
    runs.add(pa.table({"id": ["a"], "n": [2.5]}))
    runs.add(pa.table({"id": ["c"], "n": [None], "only": ["x"]}))
    table = pa.concat_tables(runs.sorted())
    assert table.to_pydict() == {"id": ["a", "b", "c"], "n": [2.5, 1.0, None], "only": [None, None, "x"]}
    with pytest.raises(pa.ArrowTypeError):
        runs.add(pa.table({"id": ["d"], "n": ["text"]}))
