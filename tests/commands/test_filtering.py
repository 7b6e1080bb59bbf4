"""Filters: who stays, who goes and why, drawn and divided the same way each time."""

import os

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import speechtok
from speechtok.cli import main
from speechtok.commands.filtering import Duplicates
from speechtok.errors import DatasetError
from speechtok.shards import writer as writer_module
from speechtok.shards.layout import Layout
from speechtok.shards.schema import token_schema
from speechtok.shards.writer import ShardWriter
from speechtok.tokens import StreamInfo, TokenizerInfo

STREAMS = (
    StreamInfo(name="content", num_codebooks=1, codebook_size=500, frame_rate=50.0, hop_length=320),
    StreamInfo(name="residual", num_codebooks=2, codebook_size=500, frame_rate=50.0, hop_length=320),
)
INFO = TokenizerInfo(name="toy", fingerprint="f00d", sample_rate=16000, streams=STREAMS)


def row(name, seconds=1.0, seed=None, **columns):
    """A row of random codes; rows of one seed have the same."""
    random = np.random.default_rng(abs(hash(name)) if seed is None else seed)
    frames = round(50 * seconds)
    codes = {
        stream.name: random.integers(0, 500, (stream.num_codebooks, frames)).astype(np.uint16)
        for stream in STREAMS
    }
    fixed = {"id": name, "num_samples": 320 * frames, "duration": frames / 50, "audio": f"{name}.wav"}
    labels = {"source_sample_rate": 16000, "text": None, "speaker": None, "language": None}
    return {**fixed, **labels, "snr": 10.0, **codes, **columns}


def write(path, rows):
    """A file of rows, in row groups of four."""
    import pyarrow as pa

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer_module, "ROW_GROUP_ROWS", 4)
        schema = token_schema(INFO, {"name": "toy"}, {"snr": pa.float64()})
        with ShardWriter(path, schema, INFO) as writer:
            for item in rows:
                writer.add(item)
    return path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    rows = [
        row(str(number), 1 + number % 3, text=f"text {number}" if number % 4 else None, snr=float(number))
        for number in range(11)
    ]
    rows.append(row("again", 2.0, text="other") | {name: rows[1][name] for name in ("content", "residual")})
    return write(tmp_path_factory.mktemp("filter") / "rows.parquet", rows)


def ids(place, **options):
    return [item["id"] for item in speechtok.TokenDataset(place, **options)]


def dropped(place, split="rows"):
    return pq.read_table(place / "dropped" / f"{split}.parquet").to_pylist()


def test_what_stays_and_what_is_listed(dataset, tmp_path):
    out = tmp_path / "out"
    made = speechtok.filter(dataset, out, keep=["snr >= 3", "text is not null"], duplicates="exact", hours=1)
    assert ids(out) == ["3", "5", "6", "7", "9", "10", "again"]
    assert made.dropped == {"snr >= 3": 3, "text is not null": 2}
    listed = {item["id"]: item for item in dropped(out)}
    assert sorted(listed) == ["0", "1", "2", "4", "8"]
    assert listed["1"] == {
        "id": "1", "audio": "1.wav", "duration": 2.0, "text": "text 1", "speaker": None, "language": None,
        "reason": "snr >= 3", "detail": None,
    }  # fmt: skip
    assert speechtok.verify(out).problems == ()
    kept = speechtok.TokenDataset(dataset, filter="snr >= 3 and text is not null").tokens(list(range(7)))
    assert speechtok.TokenDataset(out).tokens(list(range(7))).equals(kept)


def test_rows_with_the_codes_of_another(dataset, tmp_path):
    made = speechtok.filter(dataset, tmp_path / "out", duplicates="exact")
    assert made.dropped == {"same codes as another row": 1}
    assert [(item["id"], item["detail"]) for item in dropped(tmp_path / "out")] == [("again", "1")]
    # the one before it is gone already, so it repeats none
    kept = speechtok.filter(dataset, tmp_path / "kept", keep=["id != '1'"], duplicates="exact")
    assert kept.dropped == {"id != '1'": 1}


def test_datasets_reads_the_list(dataset, tmp_path):
    speechtok.filter(dataset, tmp_path / "out", keep="snr >= 3")
    found = datasets.load_dataset(
        str(tmp_path / "out"), "dropped", split="rows", cache_dir=str(tmp_path / "c")
    )
    assert found["id"][:] == ["0", "1", "2"]
    head = yaml.safe_load((tmp_path / "out" / "README.md").read_text().split("---")[1])
    assert [item["config_name"] for item in head["configs"]] == ["default", "dropped"]
    assert (
        'name="dropped")` reads the 3 rows that were left out' in (tmp_path / "out" / "README.md").read_text()
    )


def test_the_same_call_again_makes_nothing_and_mends_what_is_lost(dataset, tmp_path, hashes_of):
    out, options = tmp_path / "out", {"keep": ["snr >= 3"], "hours": 10 / 3600, "seed": 3}
    assert speechtok.filter(dataset, out, **options).shards_made == 1
    before = hashes_of(out)
    assert speechtok.filter(dataset, out, **options).shards_made == 0
    (out / "dropped" / "rows.parquet").unlink()
    (problem,) = speechtok.verify(out).problems
    assert problem.startswith("dropped/rows.parquet is missing or does not list the rows")
    os.mkfifo(out / "dropped" / "rows.parquet")  # is not waited for
    assert speechtok.verify(out).problems == (problem,)
    (out / "dropped" / "rows.parquet").unlink()
    speechtok.filter(dataset, out, **options)
    assert hashes_of(out) == before
    with pytest.raises(DatasetError, match="holds another dataset than this command makes"):
        speechtok.filter(dataset, out, **options | {"seed": 4})


def near(rows, share):
    seen = Duplicates(share)
    return {name: first for name, codes in rows if (first := seen.first(name, codes)) is not None}


@given(st.integers(0, 1000), st.integers(0, 60), st.integers(0, 30))
@settings(max_examples=30, deadline=None)
def test_near_duplicates(seed, start, changed):
    random = np.random.default_rng(seed)
    codes = random.integers(0, 500, (2, 300))
    other = codes[:, start:].copy()
    other[0, random.permutation(other.shape[1])[: changed // 10]] += 1
    rows = [("a", codes), ("b", random.integers(0, 500, (2, 300))), ("c", other), ("d", codes[:, :3])]
    found = near([(name, {"content": values}) for name, values in rows], 0.5)
    assert found == {"c": "a"}
    assert near([("a", {"x": codes[:, :3]}), ("b", {"x": codes[:, :3]})], 0.8) == {"b": "a"}


def test_hours_are_shared_alike(tmp_path):
    rows = [row(f"{speaker}{number}", 1.0, speaker=speaker) for speaker in "abc" for number in range(12)]
    rows += [row(f"d{number}", 1.0, speaker="d") for number in range(2)] + [row("nobody", 1.0)]
    place = write(tmp_path / "rows.parquet", rows)
    made = speechtok.filter(place, tmp_path / "out", hours=18 / 3600, balance="speaker")
    speakers = [item["speaker"] for item in speechtok.TokenDataset(tmp_path / "out")]
    assert {name: speakers.count(name) for name in {*speakers}} == {"a": 5, "b": 5, "c": 5, "d": 2, None: 1}
    assert made.dropped == {"not among the 0.005 h drawn": 21}
    names = [ids_of for seed in (0, 0, 1) for ids_of in [drawn(place, tmp_path, seed)]]
    assert names[0] == names[1] != names[2]
    assert speechtok.filter(place, tmp_path / "all", hours=9).dropped == {}


def drawn(place, folder, seed):
    speechtok.filter(place, folder / f"seed{seed}", hours=9 / 3600, seed=seed)
    found = ids(folder / f"seed{seed}")
    assert len(found) == 9
    return found


@given(
    st.lists(st.sampled_from("abcdefghijklmnop"), min_size=2, max_size=24),
    st.integers(1, 23),
    st.integers(0, 3),
)
@settings(max_examples=8, deadline=None)
def test_no_speaker_is_in_two_splits_and_none_moves(tmp_path_factory, speakers, cut, seed):
    folder = tmp_path_factory.mktemp("splits")
    rows = [row(str(number), 0.1, speaker=name) for number, name in enumerate(speakers)]
    shares = {"train": 0.5, "dev": 0.3, "test": 0.2}
    found = []
    for name, some in (("before", rows[: min(cut, len(rows))]), ("after", rows)):
        speechtok.filter(write(folder / f"{name}.parquet", some), folder / name, splits=shares, seed=seed)
        assert speechtok.verify(folder / name).problems == ()
        splits = {}
        for split in {*speechtok.TokenDataset(folder / name).file_splits}:
            for item in speechtok.TokenDataset(folder / name, split=split):
                splits.setdefault(item["speaker"], set()).add(split)
        assert {*splits} == {item["speaker"] for item in some}
        assert all(len(those) == 1 for those in splits.values())
        found.append(splits)
    before, after = found
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"keep": ["pitch > 3"]}, DatasetError, "has no column pitch to compare"),
        ({"keep": ["snr >"]}, ValueError, r"'snr >' is no condition"),
        ({"keep": ["snr > 99"]}, DatasetError, "no row is chosen; ask for others"),
        ({"balance": "speaker"}, ValueError, "give both, or neither"),
        ({"hours": 1, "balance": "accent"}, DatasetError, "has no column accent; it has: text, speaker"),
        ({"hours": 0.0}, ValueError, "`hours` must be more than 0, got 0"),
        ({"duplicates": "all"}, ValueError, "must be exact or near, got 'all'"),
        ({"near_share": 2.0}, ValueError, r"must lie in \(0, 1\], got 2"),
        ({"splits": {"train": 0.5}}, ValueError, "must add up to 1, got 0.5"),
        ({"splits": {"train": 2.0}}, ValueError, r"share of the split train must lie in \(0, 1\], got 2"),
        ({"splits": {"../x": 1.0}}, DatasetError, "cannot be the name of a split"),
        (
            {"splits": {"train": 1.0}},
            DatasetError,
            r"'0' of .* has no speaker, so nobody knows in which split",
        ),
    ],
)
def test_what_is_refused(dataset, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        speechtok.filter(dataset, tmp_path / "out", **options)
    assert not Layout(tmp_path / "out").plan.exists()


def test_command(dataset, tmp_path, capsys):
    out = str(tmp_path / "out")
    command = [
        "filter",
        str(dataset),
        out,
        "--keep",
        "snr < 9",
        "--duplicates",
        "near",
        "--splits",
        "a=0.5,b=0.5",
    ]
    assert main.run([*command, "--split-by", "text", "--keep", "text is not null"]) == 0
    shown = capsys.readouterr().out
    assert f"{out}: " in shown
    assert "left out 3 rows: text is not null\nleft out 3 rows: snr < 9\n" in shown
    assert main.run([*command[:-1], "a=0.5,a=0.5"]) == 2
    assert main.run([*command[:-1], "a"]) == 2
    assert "--splits takes names with shares, such as train=0.98,dev=0.02; got 'a'" in capsys.readouterr().err
