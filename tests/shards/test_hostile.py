"""Damaged and hostile token files and datasets: read rightly, or refused in one sentence that names the file."""

import json
import os
import pickle
import random
import resource
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from speechtok import TokenDataset
from speechtok.errors import DatasetError
from speechtok.shards import parquet as parquet_module
from speechtok.shards import reader as reader_module
from speechtok.shards.parquet import read_parquet_rows
from speechtok.shards.schema import token_schema
from speechtok.shards.statistics import compute_statistics
from speechtok.shards.writer import ShardWriter


@pytest.fixture
def shard(tmp_path, toy_info, toy_row):
    """Return a function that writes a token file."""

    def write(name="a.parquet", rows=None, info=toy_info, extra=None):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with ShardWriter(path, token_schema(info, {"name": "toy"}, extra or {}), info) as writer:
            for row in [toy_row("a", 3200), toy_row("b", 6400, 1)] if rows is None else rows:
                writer.add(row)
        return path

    return write


def read_all(path):
    """Use a file or dataset in every way there is."""
    dataset = TokenDataset(path)
    rows = list(dataset)
    if rows:
        dataset.tokens(range(len(rows)))
        list(dataset.stream(max_tokens=1000))
    compute_statistics(path)
    return rows


# --- many files ---


def test_more_shards_than_a_process_may_open(tmp_path, shard, toy_row):
    """Four hundred shards, with 256 files allowed: random access, threads, a stream, and a copy in another process."""
    first = shard("data/train-00000-of-00400.parquet", [toy_row("a", 640), toy_row("b", 960, 1)])
    for number in range(1, 400):
        os.link(first, first.with_name(f"train-{number:05d}-of-00400.parquet"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        dataset = TokenDataset(tmp_path, columns=["id", "num_samples", "content"])
        assert len(dataset) == 800
        numbers = random.Random(0).choices(range(800), k=300)
        assert [dataset[number]["id"] for number in numbers] == ["ab"[number % 2] for number in numbers]
        copied = pickle.loads(pickle.dumps(dataset))
        assert copied[799]["id"] == "b"
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda number: dataset.read_group(number // 2)[number % 2]["id"], numbers))
        assert found == ["ab"[number % 2] for number in numbers]
        assert sum(len(batch) for batch in dataset.stream(batch_size=64)) == 800
        assert compute_statistics(tmp_path).rows == 800
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_open_files_stay_few_and_the_last_used_stay(tmp_path, shard, toy_row, monkeypatch):
    for number in range(6):
        shard(f"data/train-{number:05d}-of-00006.parquet", [toy_row(str(number), 640)])
    dataset = TokenDataset(tmp_path)
    opened = []
    monkeypatch.setattr(reader_module, "MOST_OPEN", 2)
    real = reader_module.open_parquet
    monkeypatch.setattr(
        reader_module, "open_parquet", lambda *args: opened.append(args[0].name[:11]) or real(*args)
    )
    for number in (0, 1, 0, 2, 0, 1):
        assert dataset[number]["id"] == str(number)
    assert [name[-1] for name in opened] == ["1", "2", "1"]


# --- one tokenizer ---


@pytest.mark.parametrize(
    "use", [TokenDataset, compute_statistics, lambda path: TokenDataset(path).stream(batch_size=1)]
)
def test_shards_of_two_tokenizers(tmp_path, shard, toy_info, use):
    shard("data/train-00000-of-00002.parquet")
    shard("data/train-00001-of-00002.parquet", info=replace(toy_info, fingerprint="beef"))
    with pytest.raises(
        DatasetError,
        match=r"train-00001-of-00002\.parquet was made by another tokenizer than train-00000-of-00002",
    ):
        use(tmp_path)


def test_shards_of_other_columns(tmp_path, shard, toy_row):
    shard("data/train-00000-of-00002.parquet", [toy_row("a", 640, mood="calm")], extra={"mood": pa.string()})
    shard("data/train-00001-of-00002.parquet", [toy_row("b", 640)])
    with pytest.raises(DatasetError, match="has not the column 'mood' that train-00000-of-00002"):
        TokenDataset(tmp_path)
    assert [row["id"] for row in TokenDataset(tmp_path, columns=["id"])] == ["a", "b"]


# --- all of it ---


def test_shards_that_are_missing(tmp_path, shard):
    for number in (0, 2):
        shard(f"data/train-{number:05d}-of-00004.parquet")
    shard("data/dev-00000-of-00001.parquet")
    sentence = r"2 of 4 of split 'train' are missing, the first is number 1\. Run its job again, or .*allow_partial=True"
    for use in (TokenDataset, compute_statistics, lambda path: TokenDataset(path, split="train")):
        with pytest.raises(DatasetError, match=sentence):
            use(tmp_path)
    assert len(TokenDataset(tmp_path, split="dev")) == 2
    partial = TokenDataset(tmp_path, allow_partial=True)
    assert len(partial) == len(pickle.loads(pickle.dumps(partial))) == 6
    assert compute_statistics(tmp_path, allow_partial=True).rows == 6
    assert len(TokenDataset(tmp_path / "data/train-00002-of-00004.parquet")) == 2


def test_shards_of_two_cuts(tmp_path, shard):
    shard("data/train-00000-of-00001.parquet")
    shard("data/train-00000-of-00002.parquet")
    with pytest.raises(DatasetError, match="holds shards of split 'train' that was cut into 1 and 2 of them"):
        TokenDataset(tmp_path)


def test_names_of_shards_that_name_no_split(tmp_path, shard):
    shard("data/x\x1b-00000-of-00001.parquet")
    with pytest.raises(DatasetError, match="cannot be the name of a split"):
        compute_statistics(tmp_path)


# --- bombs ---


@pytest.fixture
def forged(tmp_path, shard):
    """Return a function that writes a token file whose columns are replaced."""
    sound = pq.read_table(shard("sound.parquet"))

    def write(columns=None, metadata=None, rename=None):
        table = sound
        for name, values in (columns or {}).items():
            place = table.schema.names.index(name)
            table = table.set_column(place, name, values)
        table = table.rename_columns([(rename or {}).get(name, name) for name in table.schema.names])
        changed = {**(sound.schema.metadata or {}), **(metadata or {})}
        path = tmp_path / "forged.parquet"
        pq.write_table(table.replace_schema_metadata(changed), path, compression="zstd")
        return path

    return write


def lists(lengths, dtype=np.uint16, value=0):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.full(offsets[-1], value, dtype=dtype)))


def nested(books, lengths):
    offsets = np.concatenate([[0], np.cumsum(books)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), lists(lengths))


def test_a_small_file_of_very_many_codes(forged):
    path = forged({"content": lists([1 << 24, 10])})
    assert path.stat().st_size < 100_000
    with pytest.raises(
        DatasetError,
        match=r"forged\.parquet holds 16,777,226 values .* of the column 'content', row group 0; at most",
    ):
        read_all(path)
    with pytest.raises(DatasetError, match="of the column 'content'"):
        compute_statistics(path)


def test_a_small_file_of_very_much_text(forged, monkeypatch):
    """A text that many rows repeat is stored once; here half a megabyte may be read."""
    monkeypatch.setattr(parquet_module, "TEXT_BYTES", 1 << 19)
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2, np.int32)), pa.array(["x" * 400_000]))
    path = forged({"text": text.cast(pa.string())})
    assert path.stat().st_size < 20_000
    with pytest.raises(DatasetError, match=r"more than 524 kB of text in the column 'text', row group 0"):
        list(TokenDataset(path))
    with pytest.raises(DatasetError, match="of text in the column 'text'"):
        list(read_parquet_rows(path))


def test_more_columns_than_a_list_has(tmp_path):
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({f"c{number}": [1] for number in range(10_001)}), path)
    with pytest.raises(
        DatasetError, match=r"m\.parquet has 10,001 columns, more than the 10,000 that a list may have"
    ):
        list(read_parquet_rows(path))


def test_a_text_that_is_too_long_is_not_even_read(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_module, "TEXT_BYTES", 1 << 19)
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"text": ["x" * (1 << 20)]}), path, compression="zstd")
    content = path.read_bytes()
    path.write_bytes(
        content[:4] + bytes(100) + content[104:]
    )  # the page cannot be read; the footer says enough
    with pytest.raises(DatasetError, match="more than 524 kB of text in the column 'text'"):
        list(read_parquet_rows(path))


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"num_samples": pa.array([10**15, 6400])}, r"Row 0 of .*forged\.parquet \('a'\) has 1000000000000000 `num_samples`, which its codes"),
        ({"num_samples": pa.array([3200, -1])}, r"Row 1 of .*forged\.parquet \('b'\) has -1 `num_samples`"),
        ({"num_samples": pa.array([0, 6400])}, "Row 0 .* has 0 `num_samples`"),
        ({"num_samples": pa.array([3200, None])}, r"Row 1 of .* has no `num_samples`"),
        ({"id": pa.array([None, "b"])}, "Row 0 of .* has no `id`"),
        ({"id": pa.array([1, 2])}, "has the column 'id' of type int64, as no token file has"),
        ({"num_samples": pa.array(["1", "2"])}, "has the column 'num_samples' of type string"),
        ({"scale": pa.array([float("nan"), 1.0], pa.float32())}, r"Row 0 of .* has a `scale` that is not finite"),
        ({"scale": pa.array([1.0, float("inf")], pa.float32())}, r"Row 1 of .* has a `scale` that is not finite"),
        (
            {"speaker_embedding": pa.FixedSizeListArray.from_arrays(pa.array([0, 0, 0, 0, 0, float("nan"), 0, 0], pa.float32()), 4)},
            "Row 1 of .* has a `speaker_embedding` that is not finite",
        ),
        (
            {"speaker_embedding": pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(6, np.float32)), 3)},
            r"has the column 'speaker_embedding' of type fixed_size_list<.*>\[3\]",
        ),
        ({"content": lists([10, 20], value=500)}, r"Row 0 of .* \('a'\) has code 500 in stream 'content', outside \[0, 500\)"),
        ({"content": lists([10, 20], np.int32)}, "has the column 'content' of type list<.*int32>"),
        ({"content": pa.array([[1, None], [2]], pa.list_(pa.uint16()))}, "There are nulls among the codes of stream 'content'"),
        ({"content": pa.array([None, [2]], pa.list_(pa.uint16()))}, "There are nulls among the codes of stream 'content'"),
        ({"residual": nested([2, 3], [20, 20, 40, 40, 40])}, "Row 0 of .* has not the 3 codebooks of stream 'residual'"),
        ({"residual": nested([3, 3], [20, 20, 20, 40, 39, 41])}, "Row 1 of .* has codebooks of different lengths in stream 'residual'"),
        ({"residual": lists([20, 20])}, "has the column 'residual' of type list"),
        ({"text": pa.array([["a"], ["b"]])}, "has the column 'text' of type list"),
        ({"speaker": pa.array([{"a": 1}, {"a": 2}])}, "has the column 'speaker' of type struct"),
        ({"text": pa.array([b"\xff\xfe", b"ok"]).view(pa.string())}, r"forged\.parquet cannot be read as Parquet: .*UTF"),
    ],
)  # fmt: skip
def test_rows_that_no_tokenizer_makes(forged, columns, sentence):
    path = forged(columns)
    with pytest.raises(DatasetError, match=sentence):
        read_all(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda about: b"{" * 100_000, "damaged metadata"),
        (lambda about: b"[" * 100_000, "damaged metadata"),
        (lambda about: b"[]", "damaged metadata"),
        (lambda about: b"\xff", "damaged metadata"),
        (lambda about: {**about, "format_version": 10**30}, "has format version"),
        (lambda about: {**about, "format_version": "x"}, "damaged metadata"),
        (lambda about: {**about, "card": 3}, "damaged metadata"),
        (lambda about: {**about, "tokenizer": []}, "damaged metadata"),
        (lambda about: tokenizer(about, sample_rate=0), "damaged metadata"),
        (lambda about: tokenizer(about, sample_rate="16000"), "damaged metadata"),
        (lambda about: tokenizer(about, name="a\x1b[31m"), "damaged metadata"),
        (lambda about: tokenizer(about, fingerprint="\n## x"), "damaged metadata"),
        (lambda about: tokenizer(about, streams=7), "damaged metadata"),
        (lambda about: tokenizer(about, streams=[]), "holds no speech tokens: its tokenizer has no streams"),
        (lambda about: stream(about, name="../../x"), "damaged metadata"),
        (lambda about: stream(about, name="x\n## Evil"), "damaged metadata"),
        (lambda about: stream(about, name="nothing"), "holds no speech tokens: it has no column 'nothing'"),
        (lambda about: stream(about, num_codebooks=10**9), "damaged metadata"),
        (lambda about: stream(about, num_codebooks=1.5), "damaged metadata"),
        (lambda about: stream(about, codebook_size=1 << 40), "damaged metadata"),
        (lambda about: stream(about, hop_length=0), "damaged metadata"),
        (lambda about: stream(about, frame_rate=1e308), "damaged metadata"),
        (lambda about: {**about, "tokenizer": {**about["tokenizer"], "streams": about["tokenizer"]["streams"] * 2}}, "damaged metadata"),
    ],
)  # fmt: skip
def test_metadata_that_lie(forged, shard, change, sentence):
    about = json.loads(pq.read_schema(shard()).metadata[b"speechtok"])
    made = change(about)
    path = forged(metadata={b"speechtok": made if isinstance(made, bytes) else json.dumps(made).encode()})
    with pytest.raises(DatasetError, match=sentence) as caught:
        read_all(path)
    assert str(path) in str(caught.value)


def tokenizer(about, **values):
    return {**about, "tokenizer": {**about["tokenizer"], **values}}


def stream(about, **values):
    first, *rest = about["tokenizer"]["streams"]
    return tokenizer(about, streams=[{**first, **values}, *rest])


def test_more_codes_than_are_counted(tmp_path, forged, shard):
    about = json.loads(pq.read_schema(shard()).metadata[b"speechtok"])
    big = {**about["tokenizer"]["streams"][1], "num_codebooks": 1024, "codebook_size": 65536}
    names = ("residual", "again")
    many = tokenizer(about, streams=[{**big, "name": name} for name in names])
    path = forged(
        metadata={b"speechtok": json.dumps(many).encode()},
        columns={"content": nested([1, 1], [1, 1])},
        rename={"content": "again"},
    )
    with pytest.raises(DatasetError, match="is of a tokenizer with more codes than are counted"):
        compute_statistics(path)


def test_a_pipe_in_place_of_a_shard(tmp_path):
    os.mkfifo(tmp_path / "a.parquet")
    (tmp_path / "data").mkdir()
    os.mkfifo(tmp_path / "data/train-00000-of-00001.parquet")
    for path in (tmp_path, tmp_path / "data/train-00000-of-00001.parquet"):
        with pytest.raises(DatasetError):
            TokenDataset(path)


def test_any_damage_to_a_token_file(tmp_path, shard):
    """Every change of a byte, and every cut: rows, or one sentence with the name of the file."""
    content = shard().read_bytes()
    random.seed(0)
    path = tmp_path / "damaged.parquet"
    footer = int.from_bytes(content[-8:-4], "little")
    places = random.sample(range(len(content)), 150) + [
        len(content) - 8 - n for n in random.sample(range(footer), 250)
    ]
    for place in places:
        changed = bytearray(content)
        if place % 5:
            changed[place] ^= random.randrange(1, 256)
        else:
            changed = changed[:place]
        path.write_bytes(changed)
        try:
            read_all(path)
        except DatasetError as error:
            assert str(path) in str(error)  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
