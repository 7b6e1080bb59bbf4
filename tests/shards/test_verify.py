"""Each kind of damage is named. Datasets are made by hand, so that a shard may lie with a right hash."""

import re
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from speechtok.shards.layout import Layout
from speechtok.shards.plan import (
    PLAN_COLUMNS,
    Failure,
    Plan,
    ShardRecord,
    is_done,
    read_plan,
    read_record,
    write_record,
)
from speechtok.shards.schema import token_schema
from speechtok.shards.verify import quarantine_table, verify
from speechtok.shards.writer import ShardWriter, write_table
from speechtok.storage import file_sha256

CARD = {"name": "toy"}
SHARD = "data/train-00000-of-00002.parquet"


@pytest.fixture
def dataset(tmp_path, toy_info, toy_row):
    """Two shards of two rows; `b` is in quarantine. `make` writes the first shard anew."""
    layout = Layout(tmp_path / "out")
    names = ["a", "b", "c", "d", "e"]
    values = {
        "id": names,
        "audio": [f"{name}.wav" for name in names],
        "start": [0.0] * 5,
        "split": ["train"] * 5,
        "seconds": [0.2, None, 0.2, 0.2, 0.2],
        "shard": [0, 0, 0, 1, 1],
    }
    rows = pa.table({name: pa.array(values.get(name, [None] * 5), type=kind) for name, kind in PLAN_COLUMNS})
    settings = {"tokenizer": toy_info.to_dict(), "card": CARD}
    Plan.of_tables(settings, rows.schema, [rows]).write(layout)
    plan = read_plan(layout)
    failure = Failure(id="b", audio="b.wav", stage="read", error="AudioError", message="cut")

    def make(index, content, /, info=toy_info, schema=None, **changes):
        path = layout.shard("train", index, 2)
        with (
            layout.replacing(path) as temporary,
            ShardWriter(temporary, schema or token_schema(info, CARD, {}), info) as writer,
        ):
            for row in content:
                writer.add(row)
        record = ShardRecord(
            split="train",
            index=index,
            file=layout.relative(path),
            sha256=file_sha256(path),
            bytes=path.stat().st_size,
            rows=len(content),
            seconds=sum(row["duration"] for row in content),
            quarantined=(failure,) if index == 0 else (),
        )
        write_record(layout, replace(record, **changes))

    make(0, [toy_row("a", 3200), toy_row("c", 3200, 1)])
    make(1, [toy_row("d", 3200), toy_row("e", 3200)])
    with layout.replacing(layout.quarantine("train")) as path:
        write_table(quarantine_table(layout, plan, "train"), path)
    layout.readme.write_text("x")
    return layout, make, plan


def test_all_is_well(dataset):
    layout, _, _ = dataset
    seen = []
    found = verify(layout, on_shard=lambda task: seen.append(task.name))
    assert found.problems == ()
    assert (found.shards, found.rows, found.quarantined) == (2, 4, 1)
    assert found.seconds == pytest.approx(0.8)
    assert found.bytes == sum(path.stat().st_size for path in layout.data.iterdir())
    assert seen == ["train-00000-of-00002", "train-00001-of-00002"]


def test_records_come_back(dataset):
    layout, _, plan = dataset
    record = read_record(layout, "train", 0)
    assert record.quarantined[0].id == "b"
    assert read_record(layout, "train", 7) is None
    assert all(is_done(layout, task) for task in plan.tasks)
    layout.record("train", 1).write_text('{"quarantined": [1]}')
    assert read_record(layout, "train", 1) is None
    assert [is_done(layout, task) for task in plan.tasks] == [True, False]


@pytest.mark.parametrize("position", [0, 5, 200, -1, -20])
def test_any_flipped_byte(dataset, position):
    layout, _, plan = dataset
    path = layout.shard("train", 0, 2)
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    found = verify(layout)
    assert found.problems == (f"{SHARD} is damaged: its sha256 differs from the commit record.",)
    assert (found.rows, found.seconds) == (2, pytest.approx(0.4))
    assert not is_done(layout, plan.tasks[0])


def test_missing_files(dataset):
    layout, _, _ = dataset
    layout.shard("train", 0, 2).unlink()
    layout.record("train", 1).unlink()
    layout.readme.unlink()
    layout.quarantine("train").unlink()
    assert verify(layout).problems == (
        f"{SHARD} is missing.",
        "data/train-00001-of-00002.parquet has no commit record: the job is not finished, run it again.",
        "quarantine/train.parquet is missing or does not list the recorded failures; run the job again.",
        "README.md is missing; run the job again.",
    )


def test_strays(dataset):
    layout, _, _ = dataset
    (layout.data / "train-00000-of-00001.parquet").write_bytes(b"")
    assert verify(layout).problems == (
        "data/train-00000-of-00001.parquet does not belong to the plan; remove it.",
    )


def test_another_quarantine(dataset):
    layout, _, plan = dataset
    write_table(quarantine_table(layout, plan, "train").slice(1), layout.quarantine("train"))
    (problem,) = verify(layout).problems
    assert "quarantine/train.parquet is missing or does not list the recorded failures" in problem


def codes(row, value):
    changed = row["content"].copy()
    changed[0, 3] = value
    return {**row, "content": changed}


@pytest.mark.parametrize(
    ("rows", "changes", "sentence"),
    [
        (
            lambda row: [row("a", 3200)],
            {},
            "does not hold exactly the planned utterances that are not in quarantine",
        ),
        (lambda row: [row("c", 3200), row("a", 3200)], {}, "does not hold exactly the planned"),
        (lambda row: [row("a", 3200), row("a", 3200)], {}, "does not hold exactly the planned"),
        (
            lambda row: [row("a", 3200), row("c", 3200)],
            {"quarantined": ()},
            "does not hold exactly the planned",
        ),
        (
            lambda row: [row("a", 3200), row("c", 3200)],
            {"rows": 3},
            r"holds 2 rows and 0\.400 s, but 3 and 0\.400 s are",
        ),
        (lambda row: [row("a", 3200), row("c", 3200)], {"seconds": 9.0}, r"but 2 and 9\.000 s are recorded"),
        (
            lambda row: [row("a", 3200), row("c", 9600)],
            {},
            "has 1 rows shorter or longer than their recording, first c",
        ),
        (
            lambda row: [row("a", 3200), {**row("c", 3200), "num_samples": 3201}],
            {},
            "has a row whose duration is not its num_samples",
        ),
        (
            lambda row: [codes(row("a", 3200), 500), row("c", 3200)],
            {},
            r"has code 500 in stream content, outside \[0, 500\)",
        ),
        (lambda row: [row("a", 3200), row("c", 3200)], {"file": "data/x"}, "is recorded as data/x"),
    ],
)
def test_rows_that_lie(dataset, toy_row, rows, changes, sentence):
    layout, make, plan = dataset
    make(0, rows(toy_row), **changes)
    with layout.replacing(layout.quarantine("train")) as path:
        write_table(quarantine_table(layout, plan, "train"), path)
    (problem,) = verify(layout).problems
    assert problem.startswith(SHARD)
    assert re.search(sentence, problem), problem


def test_foreign_shards(dataset, toy_row, toy_info):
    layout, make, _ = dataset
    rows = [toy_row("a", 3200), toy_row("c", 3200)]
    other = replace(toy_info, fingerprint="beef")
    make(0, rows, info=other)
    assert verify(layout).problems == (
        f"{SHARD} was made by another tokenizer: its metadata differ from the plan's.",
    )
    make(
        0,
        [{**row, "mood": "calm"} for row in rows],
        schema=token_schema(toy_info, CARD, {"mood": pa.string()}),
    )
    assert verify(layout).problems == (f"{SHARD} has other columns than planned.",)


def test_statistics(dataset, toy_info):
    from speechtok import TokenDataset
    from speechtok.shards.statistics import compute_statistics

    layout, _, _ = dataset
    rows = []
    found = compute_statistics(layout.root, on_rows=rows.append)
    assert rows == [1, 2, 3, 4]
    assert (found.rows, found.splits, found.speakers, found.languages) == (4, {"train": 4}, {"s": 4}, {})
    assert found.seconds == pytest.approx(0.8)
    assert found.hours == pytest.approx(0.8 / 3600)
    assert found.durations.tolist() == [0.2] * 4
    assert found.texts == sum(bool(row["text"]) for row in TokenDataset(layout.root))
    content, residual = found.streams
    assert content.num_codes == 40
    assert residual.num_codes == 4 * 3 * 20
    counts = np.zeros((3, 65536), dtype=np.int64)
    for row in TokenDataset(layout.root):
        for book in range(3):
            np.add.at(counts[book], row["residual"][book], 1)
    assert np.array_equal(residual.counts, counts)
    shares = counts[0][counts[0] > 0] / counts[0].sum()
    assert residual.entropy[0] == pytest.approx(-(shares * np.log2(shares)).sum())
    assert residual.used[0] == (counts[0] > 0).sum() / 65536
    assert 0 < content.stored_bytes < found.bytes
    assert content.stored_bits_per_code == 8 * content.stored_bytes / 40
    assert found.stored_bps == pytest.approx(8 * found.bytes / 0.8)
    assert found.to_dict()["streams"]["content"]["bitrate_bps"] == toy_info.streams[0].bitrate_bps
