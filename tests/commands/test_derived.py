"""Datasets from datasets: whole, the same codes, exactly once, and refused where they do not fit."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

import speechtok
from speechtok.cli import main
from speechtok.commands.derived import read_ids
from speechtok.engine.settings import JobSettings, RunSettings
from speechtok.errors import DatasetError
from speechtok.shards.layout import Layout
from speechtok.shards.verify import verify
from tests.tokenizers.units.folder import make_folder

LINES = [
    {"id": "a", "audio": "1.wav", "split": "train", "text": "one", "speaker": "x", "snr": 1.5},
    {"id": "b", "audio": "2.wav", "split": "dev", "text": "two", "speaker": "y", "snr": 2.5},
    {"id": "c", "audio": "3.wav", "split": "train", "speaker": "y"},
    {"id": "d", "audio": "1.wav", "split": "dev", "start": 0.1, "duration": 0.2},
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, write_corpus):
    return write_corpus(
        tmp_path_factory.mktemp("derived") / "corpus", {"1.wav": 0.4, "2.wav": 0.73, "3.wav": 0.2}
    )


@pytest.fixture(scope="module")
def make(corpus):
    """Return a dataset of lines of a manifest."""

    def tokenize(name, lines, **settings):
        manifest, output = corpus / f"{name}.jsonl", corpus.parent / name
        manifest.write_text("\n".join(json.dumps(line) for line in lines))
        speechtok.tokenize(manifest, output, settings=JobSettings(**settings), run=RunSettings(workers=1))
        return output

    return tokenize


@pytest.fixture(scope="module")
def dataset(make):
    return make("set", LINES)


@pytest.fixture(scope="module")
def other(make):
    lines = [{**line, "id": f"{line['id']}2", "extra": n} for n, line in enumerate(LINES[:3])]
    return make("other", [{name: line[name] for name in ("id", "audio", "split", "extra")} for line in lines])


def rows_of(place):
    return {row["id"]: row for row in speechtok.TokenDataset(place)}


def check(place, wanted):
    """The dataset is intact and holds these rows."""
    assert verify(Layout(place)).problems == ()
    found = rows_of(place)
    assert list(found) == list(wanted)
    for name, row in wanted.items():
        assert found[name].keys() == row.keys()
        for column, value in row.items():
            np.testing.assert_array_equal(found[name][column], value, err_msg=f"{name} {column}")


def test_everything_stays(dataset, tmp_path):
    made = speechtok.select(dataset, tmp_path / "out")
    assert (made.rows, made.shards_made, made.shards) == (4, 2, 2)
    check(tmp_path / "out", rows_of(dataset))
    assert "`set` (select)" in (tmp_path / "out" / "README.md").read_text()
    tokens = speechtok.TokenDataset(tmp_path / "out").tokens([0, 1])
    assert tokens.equals(speechtok.TokenDataset(dataset).tokens([0, 1]))


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({"split": "dev"}, "bd"),
        ({"ids": ["c", "b"]}, "bc"),
        ({"where": ["duration > 0.25"]}, "ba"),
        ({"where": ["duration > 0.25", "speaker == 'x'"]}, "a"),
        ({"where": ["snr >= 1.5"]}, "ba"),
        ({"where": ["text != 'one'"]}, "b"),
        ({"where": ["id == 'd'"], "columns": ["snr"]}, "d"),
    ],
)
def test_rows(dataset, tmp_path, options, ids):
    speechtok.select(dataset, tmp_path / "out", **options)
    all_rows = rows_of(dataset)
    assert sorted(rows_of(tmp_path / "out")) == sorted(ids)
    if "columns" not in options:
        kept = {name: row for name, row in all_rows.items() if name in ids}
        has_start = any(row["start"] is not None for row in kept.values())
        if not has_start:
            for row in kept.values():
                del row["start"]
        check(tmp_path / "out", kept)


def test_columns(dataset, tmp_path):
    speechtok.select(dataset, tmp_path / "out", columns=["text", "start"])
    wanted = rows_of(dataset)
    for row in wanted.values():
        del row["snr"]
        row["speaker"] = row["language"] = None
    check(tmp_path / "out", wanted)


@pytest.mark.parametrize("kept", [1, 7])
def test_codebooks(dataset, tmp_path, kept):
    speechtok.select(dataset, tmp_path / "out", num_codebooks=kept)
    wanted = rows_of(dataset)
    for row in wanted.values():
        row["mel"] = row["mel"][:kept]
    check(tmp_path / "out", wanted)
    about = speechtok.TokenDataset(tmp_path / "out").info
    assert about.streams[0].num_codebooks == kept
    assert about.fingerprint == speechtok.TokenDataset(dataset).info.fingerprint


def test_streams(tmp_path, write_corpus):
    """Of a dataset of several streams the others are left out."""
    folder = make_folder(tmp_path / "units", speaker="xvector", features="logmel")
    corpus = write_corpus(tmp_path / "corpus", {"1.wav": 0.4, "2.wav": 0.73})
    speechtok.tokenize(corpus, tmp_path / "set", tokenizer=str(folder), run=RunSettings(workers=1))
    names = [stream.name for stream in speechtok.TokenDataset(tmp_path / "set").info.streams]
    speechtok.select(tmp_path / "set", tmp_path / "out", streams=names[:1])
    wanted = rows_of(tmp_path / "set")
    for row in wanted.values():
        for name in names[1:]:
            del row[name]
    check(tmp_path / "out", wanted)


def test_merge(dataset, other, tmp_path):
    made = speechtok.merge([dataset, other], tmp_path / "out")
    assert made.rows == 7
    wanted = {}
    for split in ("dev", "train"):
        for place in (dataset, other):
            for name in speechtok.TokenDataset(place, split=split).column("id").to_pylist():
                row = rows_of(place)[name]
                wanted[name] = {"start": None, "snr": None, "extra": None} | row
    found = rows_of(tmp_path / "out")
    assert sorted(found) == sorted(wanted)
    check(tmp_path / "out", {name: wanted[name] for name in found})


def test_join(dataset, tmp_path):
    (tmp_path / "new.tsv").write_text("id\ttext\tsnr\tmood\na\tuno\t7.5\tglad\nb\t\t\t\n")
    made = speechtok.join(dataset, tmp_path / "new.tsv", tmp_path / "out")
    assert made.unmatched == 2
    wanted = {name: {**row, "mood": None} for name, row in rows_of(dataset).items()}
    wanted["a"] |= {"text": "uno", "snr": 7.5, "mood": "glad"}
    wanted["b"] |= {"text": None, "snr": None}
    check(tmp_path / "out", wanted)


def test_again_and_resumed(dataset, other, tmp_path, hashes_of):
    """What is missing or damaged is made as it was; what is there stays."""
    output = tmp_path / "out"
    speechtok.merge([dataset, other], output)
    first = hashes_of(output)
    assert speechtok.merge([dataset, other], output).shards_made == 0
    assert hashes_of(output) == first
    shards = sorted((output / "data").iterdir())
    shards[0].unlink()
    shards[1].write_bytes(b"half")
    (output / "README.md").unlink()
    assert speechtok.merge([dataset, other], output).shards_made == 2
    assert hashes_of(output) == first
    with pytest.raises(DatasetError, match="holds another dataset than this command makes"):
        speechtok.merge([dataset], output)
    assert hashes_of(output) == first


def test_of_stores(dataset, other, s3):
    """From and to a bucket, the same bytes."""
    for file in dataset.rglob("*"):
        if file.is_file():
            (s3 / "set" / file.relative_to(dataset).as_posix()).put(file)
    speechtok.merge([s3 / "set", other], s3 / "out")
    local = dataset.parent / "merged"
    shutil.rmtree(local, ignore_errors=True)
    speechtok.merge([dataset, other], local)
    assert verify(Layout(s3 / "out")).problems == ()
    for file in (local / "data").iterdir():
        assert (s3 / "out" / "data" / file.name).read_bytes() == file.read_bytes()


def test_single_files(dataset, tmp_path):
    """A token file is a dataset, whatever it lacks."""
    table = pq.read_table(next((dataset / "data").glob("train-*")), columns=["id", "mel", "num_samples"])
    pq.write_table(table, tmp_path / "few.parquet")
    speechtok.select(tmp_path / "few.parquet", tmp_path / "out")
    assert verify(Layout(tmp_path / "out")).problems == ()
    assert {name: row["text"] for name, row in rows_of(tmp_path / "out").items()} == {"a": None, "c": None}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ids": ["a", "z"]}, DatasetError, "lacks 1 of the 2 ids that were asked for"),
        ({"where": ["duration > 9"]}, DatasetError, "no row is chosen; ask for others"),
        ({"where": ["pitch > 9"]}, DatasetError, "has no column pitch to compare; it has: audio, duration"),
        ({"where": ["duration >"]}, ValueError, "'duration >' is no condition .syntax error"),
        ({"where": ["duration > 'long'"]}, ValueError, "cannot be computed of the rows of"),
        ({"streams": ["pitch"]}, DatasetError, "has no stream pitch; it has: mel"),
        ({"columns": ["id"]}, DatasetError, "has no column id to choose; it has: text, speaker, language"),
        ({"split": "test"}, DatasetError, "has no split 'test'; it has: dev, train"),
        ({"num_codebooks": 0}, ValueError, "must be at least 1, got 0"),
    ],
)
def test_selections_that_are_refused(dataset, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        speechtok.select(dataset, tmp_path / "out", **options)
    assert not (tmp_path / "out" / ".speechtok" / "plan.json").exists()


def test_merges_that_are_refused(dataset, other, make, tmp_path):
    fewer = make("fewer", [{"id": "z", "audio": "1.wav"}], num_codebooks=3)
    with pytest.raises(DatasetError, match="only tokens of one kind can be merged: select what both have"):
        speechtok.merge([dataset, fewer], tmp_path / "out")
    typed = make("typed", [{"id": "z", "audio": "1.wav", "snr": "high"}])
    with pytest.raises(DatasetError, match="has the column 'snr' as string, and another dataset as double"):
        speechtok.merge([dataset, typed], tmp_path / "out")
    with pytest.raises(DatasetError, match=r"The id 'b' is in .* and in .*; ids must differ"):
        speechtok.merge([dataset, other, dataset], tmp_path / "out")
    with pytest.raises(DatasetError, match="is where the rows come from; write to another folder"):
        speechtok.merge([dataset, other], dataset)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("text\nx\n", r"line 2 has no id; the column `id` must name a row"),
        ("id\ttext\na\tx\na\ty\n", r"line 3 repeats the id 'a' of line 2"),
        ("id\ttext\na\tx\nz\ty\n", r"names 1 ids that .* does not have; .* --ignore-unknown"),
        ("id\tduration\na\t3\n", "has the column 'duration', which says what the tokens are"),
        ("id\tmel\na\t3\n", "has the column 'mel', which says what the tokens are"),
        ("id\tsplit\na\tdev\n", "has the column 'split', which says what the tokens are"),
        ("id\tsnr\na\thigh\n", "has cells in the column 'snr' that are no double"),
        ("id\na\n", "has no rows with columns beside `id`"),
        ("", "has no rows with columns beside `id`"),
    ],
)
def test_tables_that_are_refused(dataset, tmp_path, table, message):
    (tmp_path / "new.tsv").write_text(table)
    with pytest.raises(DatasetError, match=message):
        speechtok.join(dataset, tmp_path / "new.tsv", tmp_path / "out")
    assert not (tmp_path / "out" / ".speechtok" / "plan.json").exists()


def test_unknown_ids_may_be_passed_over(dataset, tmp_path):
    (tmp_path / "new.csv").write_text("id,text\nz,gone\na,uno\n")
    made = speechtok.join(dataset, tmp_path / "new.csv", tmp_path / "out", ignore_unknown=True)
    assert made.unmatched == 3
    assert rows_of(tmp_path / "out")["a"]["text"] == "uno"


def test_many_row_groups_and_shards(dataset, tmp_path, monkeypatch, hashes_of):
    """Rows of one row group may end in several shards, and those of several in one."""
    monkeypatch.setattr("speechtok.shards.writer.ROW_GROUP_ROWS", 1)
    speechtok.select(dataset, tmp_path / "fine")
    monkeypatch.setattr("speechtok.commands.derived.SHARD_SECONDS", 0.45)
    made = speechtok.select(tmp_path / "fine", tmp_path / "shards")
    assert made.shards == 3
    monkeypatch.undo()
    found, wanted = rows_of(tmp_path / "shards"), rows_of(dataset)
    assert sorted(found) == sorted(wanted)
    check(tmp_path / "shards", {name: wanted[name] for name in found})


def test_commands(dataset, other, tmp_path, capsys):
    (tmp_path / "ids").write_text("a\n\nb\n")
    assert read_ids(tmp_path / "ids") == ["a", "b"]
    chosen = [
        "select",
        str(dataset),
        str(tmp_path / "one"),
        "--ids",
        str(tmp_path / "ids"),
        "--columns",
        "text",
    ]
    assert main.run([*chosen, "--num-codebooks", "4", "--where", "duration > 0"]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path}/one: 2 utterances, 1.1 s, ")
    assert main.run([*chosen, "--num-codebooks", "4", "--where", "duration > 0"]) == 0
    assert "; all of it was there already." in capsys.readouterr().out
    assert main.run(["merge", str(dataset), str(other), str(tmp_path / "all")]) == 0
    (tmp_path / "new.tsv").write_text("id\ttext\na\tuno\n")
    assert main.run(["join", str(tmp_path / "all"), str(tmp_path / "new.tsv"), str(tmp_path / "joined")]) == 0
    assert "new.tsv says nothing of 6 rows, which stayed as they were." in capsys.readouterr().out
    assert main.run(["verify", str(tmp_path / "joined")]) == 0
    assert main.run(["select", str(dataset), str(tmp_path / "x"), "--where", "duration >"]) == 2
    (tmp_path / "ids").write_text("a\na\n")
    assert main.run(chosen) == 1
    assert "lists the id 'a' twice" in capsys.readouterr().err
