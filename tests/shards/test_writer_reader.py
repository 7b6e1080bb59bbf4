import hashlib
import pickle
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechtok import TokenDataset
from speechtok.errors import DatasetError
from speechtok.shards import writer as writer_module
from speechtok.shards.rows import row_to_tokens, tokens_to_rows
from speechtok.shards.schema import quarantine_schema, token_schema
from speechtok.shards.writer import ShardWriter, write_table
from speechtok.tokens import SpeechTokens, StreamInfo, TokenizerInfo


@pytest.fixture(scope="module")
def write(toy_info):
    def write(path, rows, info=toy_info, extra=None):
        path.parent.mkdir(parents=True, exist_ok=True)
        with ShardWriter(path, token_schema(info, {"name": "toy"}, extra or {}), info) as writer:
            for row in rows:
                writer.add(row)
        return path

    return write


def same(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        if isinstance(value, np.ndarray):
            assert np.array_equal(value, b[name]), name
            assert b[name].dtype == (np.float32 if name == "speaker_embedding" else np.int64)
        else:
            assert value == b[name], name
            assert type(value) is type(b[name]), name


# --- law: what is read is what was written ---


@settings(max_examples=15)
@given(
    counts=st.lists(st.integers(1, 5000), min_size=1, max_size=12),
    group_rows=st.integers(1, 5),
    group_codes=st.sampled_from([1, 100, 1 << 26]),
    texts=st.text(),
    order=st.randoms(use_true_random=False),
)
def test_rows_come_back(tmp_path_factory, write, toy_row, counts, group_rows, group_codes, texts, order):
    rows = [toy_row(str(n), count, n, text=texts or None) for n, count in enumerate(counts)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer_module, "ROW_GROUP_ROWS", group_rows)
        patch.setattr(writer_module, "ROW_GROUP_CODES", group_codes)
        path = write(tmp_path_factory.mktemp("law") / "train-00000-of-00001.parquet", rows)
    dataset = TokenDataset(path)
    assert len(dataset) == len(rows)
    for row, read in zip(rows, dataset, strict=True):
        same(row, read)
    indices = list(range(-len(rows), len(rows)))
    order.shuffle(indices)
    for index in indices:
        same(rows[index], dataset[index])


@settings(max_examples=20)
@given(
    books=st.integers(1, 9),
    size=st.sampled_from([2, 16, 1024, 4097, 65536, 65537, 1 << 24]),
    frames=st.lists(st.integers(0, 300), min_size=1, max_size=5),
    seed=st.integers(0, 99),
)
def test_any_shape_comes_back(tmp_path_factory, write, toy_row, books, size, frames, seed):
    stream = StreamInfo(name="x", num_codebooks=books, codebook_size=size, frame_rate=50.0, hop_length=320)
    info = TokenizerInfo(name="t", fingerprint="f", sample_rate=16000, streams=(stream,))
    random = np.random.default_rng(seed)
    codes = [random.integers(0, size, (books, count)).astype(np.uint32) for count in frames]
    codes[0][:, :1] = size - 1
    base = {
        key: value for key, value in toy_row("a", 320).items() if key not in ("content", "residual", "scale")
    }
    base.pop("speaker_embedding")
    path = write(tmp_path_factory.mktemp("law") / "x.parquet", [{**base, "x": item} for item in codes], info)
    for item, row in zip(codes, TokenDataset(path), strict=True):
        assert np.array_equal(row["x"], item)
        assert row["x"].shape == item.shape


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=4), st.integers(0, 9))
def test_tokens_and_rows(toy_info, toy_row, counts, seed):
    rows = [toy_row(str(n), count, seed + n) for n, count in enumerate(counts)]
    as_int64 = [{**row, **{s.name: row[s.name].astype(np.int64) for s in toy_info.streams}} for row in rows]
    tokens = SpeechTokens.cat([row_to_tokens(row, toy_info) for row in as_int64])
    assert tokens.num_samples.tolist() == counts
    for row, one in zip(rows, tokens, strict=True):
        back = tokens_to_rows(one)[0]
        assert set(back) == {"content", "residual", "num_samples", "duration", "speaker_embedding", "scale"}
        for name, value in back.items():
            assert np.array_equal(value, row[name]), name


# --- the file ---


def test_same_rows_same_bytes(tmp_path, write, toy_row):
    rows = [toy_row(str(n), 3000, n) for n in range(450)]
    hashes = {
        hashlib.sha256(write(tmp_path / f"{n}.parquet", rows).read_bytes()).hexdigest() for n in range(2)
    }
    assert len(hashes) == 1


def test_row_groups_and_compression(tmp_path, write, toy_row):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer_module, "ROW_GROUP_CODES", 13_000)  # of 67 for a row
        file = pq.ParquetFile(write(tmp_path / "a.parquet", [toy_row(str(n), 3000, n) for n in range(450)]))
    groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [195, 195, 60]
    columns = {
        groups[0].column(n).path_in_schema: groups[0].column(n) for n in range(file.metadata.num_columns)
    }
    assert "RLE_DICTIONARY" in columns["content.list.element"].encodings
    assert "BYTE_STREAM_SPLIT" in columns["residual.list.element.list.element"].encodings
    assert "RLE_DICTIONARY" not in columns["residual.list.element.list.element"].encodings
    assert "RLE_DICTIONARY" not in columns["speaker_embedding.list.element"].encodings
    assert all(column.has_offset_index for column in columns.values())


@settings(max_examples=20)
@given(
    counts=st.lists(st.integers(1, 3000), min_size=1, max_size=12),
    cuts=st.lists(st.integers(0, 12), max_size=4),
    group_rows=st.integers(1, 5),
    group_codes=st.sampled_from([1, 100, 500, 1 << 21]),
)
def test_how_rows_arrive_changes_no_byte(
    tmp_path_factory, toy_info, toy_row, counts, cuts, group_rows, group_codes
):
    """One by one, or in tables cut anywhere, as when files are made of others."""
    folder, schema = tmp_path_factory.mktemp("law"), token_schema(toy_info, {"name": "toy"}, {})
    rows = [toy_row(str(n), count, n, text=f"{n}" if n % 2 else None) for n, count in enumerate(counts)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer_module, "ROW_GROUP_ROWS", group_rows)
        patch.setattr(writer_module, "ROW_GROUP_CODES", group_codes)
        with ShardWriter(folder / "one", schema, toy_info) as writer:
            for row in rows:
                writer.add(row)
        table = pq.read_table(folder / "one", schema=schema)
        bounds = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
        with ShardWriter(folder / "other", schema, toy_info) as writer:
            for start, stop in pairwise(bounds):
                writer.add_table(table.slice(start, stop - start))
    assert (folder / "one").read_bytes() == (folder / "other").read_bytes()


@pytest.mark.parametrize(
    ("size", "books", "rate"),
    [(16, 80, 50.0), (1024, 8, 75.0), (2048, 8, 12.5), (6561, 1, 25.0), (65536, 1, 50.0), (1 << 20, 1, 50.0)],
    ids=["dmel", "encodec", "mimi", "s3", "xcodec2", "larger than any"],
)
def test_storage_is_near_the_bound(tmp_path, write, toy_row, size, books, rate):
    """Uniformly random codes cannot be compressed below log2(codebook_size) bits; an hour of them, of 10 s rows."""
    hop = round(48000 / rate)
    stream = StreamInfo(name="x", num_codebooks=books, codebook_size=size, frame_rate=rate, hop_length=hop)
    info = TokenizerInfo(name="t", fingerprint="f", sample_rate=48000, streams=(stream,))
    base = {
        key: value
        for key, value in toy_row("a", 480_000).items()
        if key not in ("content", "residual", "scale", "speaker_embedding")
    }
    random = np.random.default_rng(0)
    frames = round(10 * rate)
    rows = [
        {**base, "id": f"{n:05d}", "x": random.integers(0, size, (books, frames)).astype(np.uint32)}
        for n in range(360)
    ]
    path = write(tmp_path / "a.parquet", rows, info)
    footer = pq.ParquetFile(path).metadata
    stored = sum(footer.row_group(n).column(1).total_compressed_size for n in range(footer.num_row_groups))
    bound = np.log2(size) * 360 * frames * books / 8
    assert 1 <= stored / bound <= (1.03 if size <= 65536 else 1.1)
    for row, read in zip(rows[::50], list(TokenDataset(path))[::50], strict=True):
        assert np.array_equal(row["x"], read["x"])


def test_codes_have_the_width_of_their_codebook(toy_info):
    wide = StreamInfo(name="w", num_codebooks=2, codebook_size=65537, frame_rate=50.0, hop_length=320)
    kinds = token_schema(replace(toy_info, streams=(*toy_info.streams, wide)), {}, {})
    assert kinds.field("residual").type == pa.list_(pa.list_(pa.uint16()))
    assert kinds.field("w").type == pa.list_(pa.list_(pa.uint32()))


def test_nothing_written_is_an_empty_file(tmp_path, write):
    dataset = TokenDataset(write(tmp_path / "a.parquet", []))
    assert len(dataset) == 0
    assert list(dataset) == []
    with pytest.raises(IndexError, match="row 0 is out of range for 0 rows"):
        dataset[0]


def test_a_failed_block_still_closes_the_file(tmp_path, toy_info, toy_row):
    def fail():
        with ShardWriter(tmp_path / "a", token_schema(toy_info, {}, {}), toy_info) as writer:
            writer.add(toy_row("a", 3000))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert len(TokenDataset(tmp_path / "a")) == 0


def test_empty_tables_have_no_row_group(tmp_path):
    schema = quarantine_schema()
    write_table(pa.Table.from_pylist([], schema=schema), tmp_path / "a.parquet")
    assert pq.ParquetFile(tmp_path / "a.parquet").metadata.num_row_groups == 0
    assert pq.read_table(tmp_path / "a.parquet").schema.equals(schema)


# --- the dataset ---


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, write, toy_row):
    """Two splits, one of two shards, one of them with a dash in no way special."""
    root = tmp_path_factory.mktemp("dataset")
    for name, first in (
        ("train-00000-of-00002", 0),
        ("train-00001-of-00002", 3),
        ("dev_other-00000-of-00001", 6),
    ):
        rows = [toy_row(str(n), 320 * (n + 1), n, mood="calm") for n in range(first, first + 3)]
        write(root / "data" / f"{name}.parquet", rows, extra={"mood": pa.string()})
    return root


def test_splits(dataset):
    assert [row["id"] for row in TokenDataset(dataset)] == ["6", "7", "8", "0", "1", "2", "3", "4", "5"]
    assert [row["id"] for row in TokenDataset(dataset, split="train")] == ["0", "1", "2", "3", "4", "5"]
    assert [row["id"] for row in TokenDataset(dataset, split="dev_other")] == ["6", "7", "8"]
    with pytest.raises(DatasetError, match="has no split 'dev'; it has: dev_other, train"):
        TokenDataset(dataset, split="dev")


def test_columns(dataset):
    assert list(TokenDataset(dataset, columns=["id", "content"])[0]) == ["id", "content"]
    with pytest.raises(DatasetError, match="has no column mel; it has: id, content, residual"):
        TokenDataset(dataset, columns=["id", "mel"])


def test_tokens_of_rows(dataset, toy_info):
    train = TokenDataset(dataset, split="train")
    batch = train.tokens([4, 1])
    assert batch.num_samples.tolist() == [5 * 320, 2 * 320]
    assert batch.info == toy_info
    assert train.tokens(4).equals(batch[0])
    assert train.tokens(-2).equals(batch[0])
    assert batch.scale.tolist() == [0.5, 0.5]
    assert batch.speaker_embedding.shape == (2, 4)


def test_out_of_range(dataset):
    with pytest.raises(IndexError, match="row 9 is out of range for 9 rows"):
        TokenDataset(dataset)[9]
    with pytest.raises(IndexError):
        TokenDataset(dataset)[-10]


def test_pickled(dataset):
    opened = TokenDataset(dataset)
    same(opened[4], pickle.loads(pickle.dumps(opened))[4])


def collate(rows):
    return [row["id"] for row in rows], [torch.from_numpy(row["content"]) for row in rows]


@pytest.mark.parametrize("context", [None, "spawn"])
def test_data_loader(dataset, context):
    from torch.utils.data import DataLoader

    opened = TokenDataset(dataset)
    loader = DataLoader(
        opened,
        batch_size=2,
        shuffle=True,
        num_workers=0 if context is None else 1,
        multiprocessing_context=context,
        collate_fn=collate if context is None else list,
        generator=torch.Generator().manual_seed(0),
    )
    if context is None:
        ids = [name for names, _ in loader for name in names]
    else:
        ids = [row["id"] for rows in loader for row in rows]
        assert all(np.array_equal(row["content"], opened[i]["content"]) for i, row in enumerate(opened))
    assert sorted(ids) == [str(n) for n in range(9)]


def test_nothing_there(tmp_path):
    with pytest.raises(DatasetError, match="holds no token dataset: there is no Parquet file in"):
        TokenDataset(tmp_path)


def test_not_parquet(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"hello")
    with pytest.raises(DatasetError, match=r"a\.parquet cannot be read as Parquet"):
        TokenDataset(tmp_path / "a.parquet")


def test_not_tokens(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    with pytest.raises(DatasetError, match="holds no speech tokens"):
        TokenDataset(tmp_path / "a.parquet")
