"""Each kind of damage is named. Datasets are made by hand, so that a shard may lie with a right hash."""

import hashlib
import json
import random
import re
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from speechtok import TokenDataset
from speechtok.errors import DatasetError
from speechtok.shards.dataset_readme import summary
from speechtok.shards.layout import Layout
from speechtok.shards.ledger import Ledger
from speechtok.shards.manifest import FileRecord, read_manifest, write_manifest
from speechtok.shards.parts import Failure, PartRecord, SplitRecord
from speechtok.shards.plan import PLAN_COLUMNS, Plan, read_plan
from speechtok.shards.schema import token_schema
from speechtok.shards.statistics import compute_statistics
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
    parts, files = {}, {}

    def make(index, content, /, info=toy_info, schema=None, **changes):
        """Write a file anew, with all records that there are of it."""
        path = layout.file("train", index, 2)
        with (
            layout.replacing(path) as temporary,
            ShardWriter(temporary, schema or token_schema(info, CARD, {}), info) as writer,
        ):
            for row in content:
                writer.add(row)
        stated = {
            "rows": len(content),
            "seconds": sum(row["duration"] for row in content),
            "quarantined": (failure,) if index == 0 else (),
        }
        parts[index] = PartRecord(
            number=index, sha256="0", bytes=1, splits=(SplitRecord(split="train", **(stated | changes)),)
        )
        files[index] = FileRecord(
            file=layout.relative(path),
            split="train",
            sha256=file_sha256(path),
            bytes=path.stat().st_size,
            fingerprint=toy_info.fingerprint,
            first_part=index,
            last_part=index,
            parts_sha256="0",
            groups=tuple(writer.groups),
        )
        if len(parts) == 2:
            state()

    def state():
        ledger = Ledger(parts.values(), files.values())
        ledger.write(layout)
        write_manifest(layout, [files[number] for number in sorted(files)])
        layout.readme.write_text(summary(ledger))

    make(0, [toy_row("a", 3200), toy_row("c", 3200, 1)])
    make(1, [toy_row("d", 3200), toy_row("e", 3200)])
    write_quarantine(layout, plan)
    return layout, make, plan


def write_quarantine(layout, plan, start=0):
    with layout.replacing(layout.quarantine("train")) as path:
        write_table(quarantine_table(Ledger.read(layout, plan), "train").slice(start), path)


def test_all_is_well(dataset):
    layout, _, _ = dataset
    seen = []
    found = verify(layout, on_file=lambda file: seen.append(file.file))
    assert found.problems == ()
    assert (found.shards, found.files, found.rows, found.quarantined) == (2, 2, 4, 1)
    assert found.seconds == pytest.approx(0.8)
    assert found.bytes == sum(path.stat().st_size for path in layout.data.iterdir())
    assert seen == ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]


@pytest.mark.parametrize("position", [0, 5, 200, -1, -20])
def test_any_flipped_byte(dataset, position):
    layout, _, plan = dataset
    path = layout.file("train", 0, 2)
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    found = verify(layout)
    assert found.problems == (f"{SHARD} is damaged: its sha256 differs from its record.",)
    assert (found.rows, found.seconds) == (2, pytest.approx(0.4))
    assert [task.number for task in Ledger.read(layout, plan).missing(layout, plan.tasks)] == [0]


def test_missing_files(dataset):
    layout, _, _ = dataset
    layout.file("train", 0, 2).unlink()
    layout.readme.unlink()
    layout.quarantine("train").unlink()
    assert verify(layout).problems == (
        f"{SHARD} is missing.",
        "quarantine/train.parquet is missing or does not list the recorded failures; run the job again.",
        "README.md is missing; run the job again.",
    )


def test_strays(dataset):
    layout, _, _ = dataset
    (layout.data / "train-00000-of-00001.parquet").write_bytes(b"")
    assert verify(layout).problems == (
        "data/train-00000-of-00001.parquet does not belong to the dataset; remove it.",
    )


def test_another_quarantine(dataset):
    layout, _, plan = dataset
    write_quarantine(layout, plan, 1)
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
    ],
)
def test_rows_that_lie(dataset, toy_row, rows, changes, sentence):
    layout, make, plan = dataset
    make(0, rows(toy_row), **changes)
    write_quarantine(layout, plan)
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


# --- what cannot be read, what is somewhere else, what was never planned ---


def test_missing_shards_are_summed_up(dataset):
    layout, _, _ = dataset
    layout.manifest.unlink()
    problems = verify(layout).problems
    assert problems[0] == (
        "2 of them, from train-00000-of-00002 to train-00001-of-00002: each has no record: the job is not finished, run it again."
    )
    for number in range(30):
        (layout.data / f"stray-{number}").write_bytes(b"")
    strays = [problem for problem in verify(layout).problems if "not belong to the dataset" in problem]
    assert len(strays) == 11
    assert strays[-1] == "data holds 32 files in all that do not belong to the dataset; remove them."


def test_a_manifest_of_other_row_groups(dataset):
    layout, _, _ = dataset
    first, second = read_manifest(layout)
    group = replace(first.groups[0], rows=1)
    write_manifest(layout, [replace(first, groups=(group, group)), second])
    assert verify(layout).problems == (f"{SHARD} has other row groups than the manifest says.",)
    dataset = TokenDataset(layout.root)
    with pytest.raises(DatasetError, match="has other row groups than the manifest says; it was changed"):
        dataset[0]
    write_manifest(layout, [first, replace(second, fingerprint="beef")])
    with pytest.raises(
        DatasetError, match=r"made by another tokenizer than .*, by the manifest: fingerprint beef, not f00d"
    ):
        TokenDataset(layout.root)


def test_a_readme_of_other_records(dataset):
    layout, _, _ = dataset
    layout.readme.write_text("# Some tokens\n")
    (problem,) = verify(layout).problems
    assert problem.startswith("README.md does not say what the records say, '4 utterances, 0.8 s of speech")


def test_a_readme_that_is_no_text(dataset):
    layout, _, _ = dataset
    layout.readme.write_bytes(b"\xff\xfe")
    with pytest.raises(DatasetError, match=r"README\.md is no UTF-8 text"):
        verify(layout)


def test_utterances_are_counted_against_the_plan(dataset):
    layout, _, _ = dataset
    layout.manifest.unlink()
    with pytest.raises(DatasetError, match="is unfinished: it has no manifest"):
        TokenDataset(layout.root)
    (layout.state / "shards").mkdir()  # as of format version 1
    assert len(TokenDataset(layout.root)) == 4
    layout.quarantine("train").unlink()
    with pytest.raises(
        DatasetError,
        match=r"its plan has 5 utterances, but 4 rows and 0 in quarantine are there\. Run its job again",
    ):
        TokenDataset(layout.root)
    assert len(TokenDataset(layout.root, allow_partial=True)) == 4
    layout.plan.write_text("{")
    with pytest.raises(DatasetError, match=r"plan\.json.* cannot be read as JSON"):
        TokenDataset(layout.root)


def test_shards_that_verify_cannot_open(dataset, toy_row):
    """With a record that agrees, nothing but the content tells."""
    layout, make, _ = dataset
    make(0, [toy_row("a", 3200), toy_row("c", 3200)])
    path = layout.file("train", 0, 2)
    content = path.read_bytes()
    for damaged in (b"", b"PAR1", content[:100], content[:-40] + content[-39:]):
        path.write_bytes(damaged)
        first, second = read_manifest(layout)
        write_manifest(layout, [replace(first, sha256=file_sha256(path), bytes=len(damaged)), second])
        (problem,) = (item for item in verify(layout).problems if item.startswith(SHARD))
        assert "cannot be read as Parquet" in problem


HOSTILE = ["../../x", "/etc/x", "a\0b", "a\n## b", "", "a" * 300]


def forged_plan(layout, plan, change):
    """Freeze a plan of other rows, with the hashes of one that is in order."""
    table = change(plan.rows)
    Plan.of_tables(plan.settings, table.schema, [table]).write(layout)


@pytest.mark.parametrize("split", HOSTILE)
def test_a_plan_whose_split_leads_outside(dataset, split):
    layout, _, plan = dataset
    place = plan.rows.schema.names.index("split")
    forged_plan(layout, plan, lambda rows: rows.set_column(place, "split", pa.array([split] * 5)))
    with pytest.raises(DatasetError, match="cannot be the name of a split"):
        read_plan(layout)
    with pytest.raises(DatasetError, match="cannot be the name of a split"):
        verify(layout)


@pytest.mark.parametrize(
    ("name", "values", "sentence"),
    [
        ("shard", pa.array([0, 0, 0, 2, 2], pa.int32()), "are not numbered 0, 1, 2"),
        ("shard", pa.array([-1, -1, -1, 0, 0], pa.int32()), "are not numbered 0, 1, 2"),
        ("shard", pa.array([1, 1, 1, 0, 0], pa.int32()), "are not numbered 0, 1, 2"),
        ("shard", pa.array([0, 1, 0, 1, 1], pa.int32()), "lists a shard in several places"),
        ("shard", pa.array([0, 0, 0, None, 1], pa.int32()), "has rows without `shard`"),
        ("shard", pa.array(["0"] * 5), "has no column 'shard' of type int32"),
        ("id", pa.array([None, "b", "c", "d", "e"]), "has rows without `id`"),
        ("seconds", pa.array([-1.0, 1, 1, 1, 1]), "has rows whose `seconds` is no time"),
        ("seconds", pa.array([float("nan"), 1, 1, 1, 1]), "has rows whose `seconds` is no time"),
        ("start", pa.array([float("inf"), 1, 1, 1, 1]), "has rows whose `start` is no time"),
    ],
)
def test_plans_that_are_none(dataset, name, values, sentence):
    layout, _, plan = dataset
    place = plan.rows.schema.names.index(name)
    table = plan.rows.set_column(place, name, values)
    file = layout.root / "forged.parquet"
    write_table(table, file)
    content = json.loads(layout.plan.read_text()) | {"utterances_sha256": file_sha256(file)}
    file.rename(layout.plan_rows)
    layout.plan.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=sentence):
        list(read_plan(layout).batches())


@pytest.mark.parametrize(
    "change",
    [
        lambda content: [],
        lambda content: content | {"settings": []},
        lambda content: content | {"settings": None},
        lambda content: content | {"settings": {}},
        lambda content: content | {"settings": {"tokenizer": {}, "card": {}}},
        lambda content: content | {"settings": content["settings"] | {"card": []}},
        lambda content: content | {"settings": content["settings"] | {"corpus": []}},
        lambda content: content | {"settings": content["settings"] | {"corpus": {"name": 3, "kind": "x"}}},
        lambda content: content | {"settings": content["settings"] | {"job": 3}},
    ],
)
def test_settings_that_are_none(dataset, change):
    layout, _, _ = dataset
    content = change(json.loads(layout.plan.read_text()))
    if isinstance(content, dict):
        text = json.dumps(content["settings"], sort_keys=True)
        content |= {"settings_sha256": hashlib.sha256(text.encode()).hexdigest()}
    layout.plan.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r"plan\.json is (damaged|no plan that speechtok makes)"):
        read_plan(layout)


def test_any_damage_to_any_file_of_a_dataset(dataset, tmp_path):
    """Whatever is changed or cut, in all files there are: what is read is right, or a sentence says what is not."""
    layout, _, _ = dataset
    random.seed(1)
    files = [path for path in sorted(layout.root.rglob("*")) if path.is_file()]
    assert len(files) == 8
    for path in files:
        content = path.read_bytes()
        for place in random.sample(range(len(content)), min(12, len(content))):
            changed = bytearray(content)
            if place % 4:
                changed[place] ^= random.randrange(1, 256)
            else:
                changed = changed[:place]
            path.write_bytes(changed)
            for use in (
                verify,
                lambda it: compute_statistics(it.root),
                lambda it: list(TokenDataset(it.root)),
            ):
                try:
                    use(layout)
                except DatasetError as error:
                    assert "\n" not in str(error)  # noqa: PT017
        path.write_bytes(content)
    assert verify(layout).problems == ()
