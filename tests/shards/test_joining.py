"""Parts become files: whatever their sizes, however often it is interrupted, the same rows in the same bytes."""

import hashlib
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechtok import TokenDataset
from speechtok.errors import DatasetError
from speechtok.shards import joining
from speechtok.shards.joining import MIB, clear, join, planned_files, restore_parts
from speechtok.shards.layout import Layout
from speechtok.shards.ledger import Ledger
from speechtok.shards.manifest import read_manifest
from speechtok.shards.parts import Failure, PartRecord, SplitRecord, commit, part_record
from speechtok.shards.plan import PLAN_COLUMNS, Plan, read_plan
from speechtok.shards.schema import token_schema
from speechtok.shards.writer import ShardWriter

SMALL = 9_000 / MIB
"""A file of about two parts."""


@pytest.fixture(scope="session")
def make_parts(toy_info, toy_row):
    """Return a function that writes a plan and its parts: `shape` has the split and the lengths of each; 0 failed."""

    def make(folder, shape):
        layout, rows, counts = Layout(Path(folder)), [], {}
        for number, (split, lengths) in enumerate(shape):
            shard = counts[split] = counts.get(split, -1) + 1
            rows += [
                {"id": f"{number}-{n}", "audio": "x.wav", "start": 0.0, "split": split, "shard": shard}
                for n, _ in enumerate(lengths)
            ]
        schema = pa.schema(PLAN_COLUMNS)
        job = {"tokenizer": toy_info.to_dict(), "card": {"name": "toy"}}
        Plan.of_tables(job, schema, [pa.Table.from_pylist(rows, schema=schema)]).write(layout)
        plan = read_plan(layout)
        for task, (split, lengths) in zip(plan.tasks, shape, strict=True):
            with layout.temporary(layout.part(task.number)) as temporary:
                with ShardWriter(temporary, token_schema(toy_info, {"name": "toy"}, {}), toy_info) as writer:
                    for n, samples in enumerate(lengths):
                        if samples:
                            writer.add(
                                toy_row(f"{task.number}-{n}", samples, n, text=f"{n}" if n % 2 else None)
                            )
                failed = tuple(
                    Failure(id=f"{task.number}-{n}", audio="x.wav", stage="read", error="E", message="cut")
                    for n, samples in enumerate(lengths)
                    if not samples
                )
                record = part_record(
                    task.number,
                    temporary,
                    split,
                    rows=len(lengths) - len(failed),
                    seconds=sum(lengths) / 16000,
                    quarantined=failed,
                )
                commit(layout, temporary, record)
        return layout, plan

    return make


def files(layout):
    """Hashes of all files of a dataset."""
    return {
        path.relative_to(layout.root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in layout.root.rglob("*")
        if path.is_file()
    }


def finish(layout, plan, file_mb=SMALL):
    """What a run does once all parts are made."""
    ledger = Ledger.read(layout, plan)
    assert ledger.missing(layout, plan.tasks) == []
    join(layout, plan, ledger, file_mb=file_mb)
    clear(layout)


SHAPE = [("train", [3200] * 3)] * 5 + [("dev", [0]), ("dev", [1600, 0])]


@pytest.fixture
def unfinished(tmp_path, make_parts):
    return make_parts(tmp_path / "out", SHAPE)


@pytest.fixture(scope="session")
def reference(tmp_path_factory, make_parts):
    layout, plan = make_parts(tmp_path_factory.mktemp("reference") / "out", SHAPE)
    finish(layout, plan)
    return files(layout)


# --- laws ---


@settings(max_examples=25)
@given(
    shape=st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]), st.lists(st.sampled_from([0, 160, 3200]), min_size=1, max_size=4)
        ),
        min_size=1,
        max_size=7,
    ),
    size=st.sampled_from([1, 8_000, 20_000, 10**9]),
)
def test_files_are_the_parts_in_order(tmp_path_factory, make_parts, shape, size):
    """Every row once, in plan order; and taken apart again, the parts have the bytes that they had."""
    shape = sorted(shape, key=lambda item: item[0])
    layout, plan = make_parts(tmp_path_factory.mktemp("law") / "out", shape)
    before = files(layout)
    finish(layout, plan, size / MIB)
    after = files(layout)
    assert not [name for name in after if name.startswith((".speechtok/parts/", ".speechtok/files/"))]
    for split in {split for split, _ in shape}:
        expected = [
            f"{number}-{n}"
            for number, (own, lengths) in enumerate(shape)
            if own == split
            for n, samples in enumerate(lengths)
            if samples
        ]
        dataset = TokenDataset(layout.root, split=split)
        assert [row["id"] for row in dataset] == expected
        assert len(dataset.files) == 1 or size < 10**9
    for file in read_manifest(layout):
        footer = pq.ParquetFile(layout.root / file.file).metadata
        assert [group.rows for group in file.groups] == [
            footer.row_group(n).num_rows for n in range(footer.num_row_groups)
        ]
    ledger = Ledger.read(layout, plan)
    restore_parts(layout, plan, ledger, list(ledger.files.values()))
    again = files(layout)
    for number, part in ledger.parts.items():
        if part.rows:
            name = f".speechtok/parts/{number:07d}.parquet"
            assert again[name] == before[name]
    finish(layout, plan, size / MIB)
    assert files(layout) == after


@given(
    sizes=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 9)), max_size=30),
    file_bytes=st.integers(1, 20),
)
def test_planned_files(sizes, file_bytes):
    """Each part's rows of a split are in one file, in order; a file ends with the part that fills it."""
    parts = [
        PartRecord(
            number=number,
            sha256="0",
            bytes=size,
            splits=tuple(
                SplitRecord(split=split, rows=rows, seconds=0.0)
                for split, rows in zip("ab", found, strict=True)
            ),
        )
        for number, (*found, size) in enumerate(sizes)
    ]
    tasks = planned_files(parts, ["a", "b"], file_bytes) if parts else []
    for place, split in enumerate("ab"):
        own = [task for task in tasks if task.split == split]
        assert [part.number for task in own for part in task.parts] == list(range(len(parts)))
        assert [(task.index, task.count) for task in own] == [(n, len(own)) for n in range(len(own))]
        for task in own:
            filled = [
                part.bytes * part.splits[place].rows / part.rows if part.rows else 0.0 for part in task.parts
            ]
            last = max((n for n, item in enumerate(filled) if item), default=0)
            assert sum(filled[:last]) < file_bytes
            assert task is own[-1] or sum(filled) >= file_bytes


def test_several_splits_in_a_part(tmp_path, toy_info, toy_row, make_parts):
    """Rows of several splits follow each other in a part, and are shared among the files."""
    layout, plan = make_parts(tmp_path / "out", [("a", [160] * 3), ("b", [160] * 3)])
    schema, records = token_schema(toy_info, {"name": "toy"}, {}), []
    for number in (0, 1):
        with layout.temporary(layout.part(number)) as temporary:
            with ShardWriter(temporary, schema, toy_info) as writer:
                for name in ("a0", "a1", "b0"):
                    writer.add(toy_row(f"{number}-{name}", 1600))
            whole = part_record(number, temporary, "a", rows=3, seconds=0.3)
            splits = (
                SplitRecord(split="a", rows=2, seconds=0.2),
                SplitRecord(split="b", rows=1, seconds=0.1),
            )
            records.append(commit(layout, temporary, PartRecord(**{**vars(whole), "splits": splits})))
    before = files(layout)
    finish(layout, plan)
    assert [row["id"] for row in TokenDataset(layout.root, split="a")] == ["0-a0", "0-a1", "1-a0", "1-a1"]
    assert [row["id"] for row in TokenDataset(layout.root, split="b")] == ["0-b0", "1-b0"]
    ledger = Ledger.read(layout, plan)
    restore_parts(layout, plan, ledger, list(ledger.files.values()))
    for name in ("0000000", "0000001"):
        assert files(layout)[f".speechtok/parts/{name}.parquet"] == before[f".speechtok/parts/{name}.parquet"]


# --- interruptions ---


KILLED = """
import os, pathlib, signal, sys
from speechtok.shards import joining
from speechtok.shards.joining import clear, join
from speechtok.shards.layout import Layout
from speechtok.shards.ledger import Ledger
from speechtok.shards.plan import read_plan

joining.FILES_AT_ONCE = joining.THREADS = 1  # so that steps have an order
left = int(sys.argv[2])

def counted(real):
    def step(*arguments, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    return step

pathlib.Path.replace, pathlib.Path.unlink = counted(pathlib.Path.replace), counted(pathlib.Path.unlink)
layout = Layout(pathlib.Path(sys.argv[1]))
plan = read_plan(layout)
ledger = Ledger.read(layout, plan)
ledger.missing(layout, plan.tasks)
join(layout, plan, ledger, file_mb=float(sys.argv[3]))
clear(layout)
"""


class Killed(BaseException):
    """Ends a process in its tracks, as far as one can that goes on to the next trial."""


def steps_until_done(monkeypatch, act):
    """Call something again and again, each time allowed one more step, until it ends; yields after each interruption."""
    allowed = 0
    while True:
        left = allowed

        def counted(real):
            def step(*arguments, **options):
                nonlocal left
                left -= 1
                if left < 0:
                    raise Killed
                return real(*arguments, **options)

            return step

        with monkeypatch.context() as patch:
            patch.setattr(joining, "FILES_AT_ONCE", 1)
            patch.setattr(joining, "THREADS", 1)
            for name in ("replace", "unlink"):
                patch.setattr(Path, name, counted(getattr(Path, name)))
            try:
                act()
            except Killed:
                allowed += 1
                yield allowed
                continue
        return


def test_interrupted_at_each_step(tmp_path, make_parts, reference, monkeypatch):
    """Before each rename and each removal, from the beginning each time, and from where the last one ended."""
    layout, plan = make_parts(tmp_path / "out", SHAPE)
    count = 0
    for count in steps_until_done(monkeypatch, lambda: finish(layout, plan)):
        assert count < 200
        if not layout.manifest.exists():
            with pytest.raises(DatasetError, match="is unfinished: it has no manifest"):
                TokenDataset(layout.root)
        there = TokenDataset(layout.root, allow_partial=True)
        assert sorted(row["id"] for row in there) == sorted(
            f"{number}-{n}" for number, (_, lengths) in enumerate(SHAPE) for n, it in enumerate(lengths) if it
        )
    assert count > 5
    layout.clear_tmp()
    assert files(layout) == reference


def test_cut_otherwise_and_interrupted(tmp_path, make_parts, reference, monkeypatch):
    """Files of another size, as when parts have changed: the old ones are taken apart, whole or not at all."""
    layout, plan = make_parts(tmp_path / "out", SHAPE)
    finish(layout, plan, 1e-6)
    rows = [row["id"] for row in TokenDataset(layout.root)]
    for _ in steps_until_done(monkeypatch, lambda: finish(layout, plan)):
        there = [row["id"] for row in TokenDataset(layout.root, allow_partial=True)]
        assert sorted(there) == sorted(rows)
    layout.clear_tmp()
    assert files(layout) == reference


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 3, 7, 12])
def test_killed_while_joining(unfinished, reference, step):
    layout, plan = unfinished
    words = [sys.executable, "-c", KILLED, str(layout.root), str(step), str(SMALL)]
    assert subprocess.run(words, check=False, timeout=120).returncode == -9
    layout.clear_tmp()
    finish(layout, plan)
    layout.clear_tmp()
    assert files(layout) == reference


def test_nothing_to_do_does_nothing(unfinished):
    layout, plan = unfinished
    finish(layout, plan)
    before = {path: path.stat().st_mtime_ns for path in layout.root.rglob("*") if path.is_file()}
    finish(layout, plan)
    assert {path: path.stat().st_mtime_ns for path in layout.root.rglob("*") if path.is_file()} == before


# --- what is lost has a name ---


def test_lost_and_damaged_parts(unfinished):
    layout, plan = unfinished
    ledger = Ledger.read(layout, plan)
    path = layout.part(3)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(
        DatasetError, match=r"parts/0000003\.parquet is damaged: its sha256 differs from its record"
    ):
        join(layout, plan, ledger, file_mb=SMALL)
    path.unlink()
    with pytest.raises(DatasetError, match=r"parts/0000003\.parquet is lost, although it was made"):
        join(layout, plan, Ledger.read(layout, plan), file_mb=SMALL)
    path.write_bytes(content)
    ledger = Ledger.read(layout, plan)
    ledger.drop(3)
    with pytest.raises(
        DatasetError, match=r"The record of part 3 of .* \(shard train-00003-of-00005\) is lost"
    ):
        join(layout, plan, ledger, file_mb=SMALL)
    finish(layout, plan)
    assert len(TokenDataset(layout.root)) == 16


def test_missing_tasks(unfinished):
    layout, plan = unfinished
    assert Ledger.read(layout, plan).missing(layout, plan.tasks) == []
    layout.part(0).unlink()
    layout.part_record(4).unlink()
    assert [task.number for task in Ledger.read(layout, plan).missing(layout, plan.tasks)] == [0, 4]


def test_a_dataset_of_format_version_1(unfinished):
    """Each of its files has a record of its own; it is read, counted and checked as before."""
    layout, plan = unfinished
    finish(layout, plan, 1e-6)
    ledger = Ledger.read(layout, plan)
    layout.manifest.unlink()
    layout.parts_table.unlink()
    (layout.state / "shards").mkdir()
    for task in plan.tasks:
        part, path = ledger.parts[task.number], layout.data / f"{task.name}.parquet"
        if task.split == "train":
            assert path.is_file()
        elif task.index == 1:
            (layout.data / "dev-00000-of-00001.parquet").rename(path)
            part = PartRecord(**{**vars(part), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
        else:
            pq.write_table(pq.read_table(layout.data / "dev-00000-of-00001.parquet").slice(0, 0), path)
            part = PartRecord(**{**vars(part), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
        (item,) = part.splits
        old = {
            **asdict(item),
            "index": task.index,
            "file": f"data/{task.name}.parquet",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "bytes": path.stat().st_size,
        }
        (layout.state / "shards" / f"{task.split}-{task.index:05d}.json").write_text(json.dumps(old))
    ledger = Ledger.read(layout, plan)
    assert ledger.totals.rows == 16
    assert len(ledger.files) == len(plan.tasks)
    assert ledger.missing(layout, plan.tasks) == []
    layout.quarantine("dev").parent.mkdir()
    pq.write_table(pa.table({"id": ["5-0", "6-1"]}), layout.quarantine("dev"))
    assert len(TokenDataset(layout.root)) == 16
    (layout.data / "train-00001-of-00005.parquet").unlink()
    with pytest.raises(DatasetError, match="1 of 5 of split 'train' are missing, the first is number 1"):
        TokenDataset(layout.root)


@pytest.mark.parametrize(
    ("column", "values"),
    [("num_samples", pa.array([None] * 3, pa.int64())), ("content", pa.array(["codes"] * 3))],
)
def test_files_of_other_columns(unfinished, column, values):
    """As when a file was exchanged: what cannot be a row of the dataset is not taken apart."""
    layout, plan = unfinished
    finish(layout, plan, 1e-6)
    path = layout.file("train", 0, 5)
    table = pq.read_table(path)
    index = table.column_names.index(column)
    pq.write_table(table.set_column(index, column, values), path)
    ledger = Ledger.read(layout, plan)
    file = ledger.files[layout.relative(path)]
    with pytest.raises(
        DatasetError, match=r"train-00000-of-00005\.parquet of .* is damaged: it lacks codes or ids"
    ):
        restore_parts(layout, plan, ledger, [file])
    assert path.exists()
