"""Footers of Parquet files are decoded as pyarrow does, and damaged ones are refused without ending the process."""

import io
import random
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from speechtok.errors import DatasetError
from speechtok.parquet_footer import BYTE_ARRAY, column_chunks, open_file, page_values
from speechtok.shards.parquet import read_parquet_rows


def table(rows=300):
    generator = np.random.default_rng(0)
    codes = [generator.integers(0, 1024, (2, int(n))).tolist() for n in generator.integers(1, 40, rows)]
    return pa.table(
        {
            "id": [f"row{index}" for index in range(rows)],
            "codes": pa.array(codes, type=pa.list_(pa.list_(pa.uint16()))),
            "text": [None if index % 3 else "é" * index for index in range(rows)],
            "duration": generator.random(rows),
            "audio": [{"bytes": b"x" * index, "path": None} for index in range(rows)],
        }
    )


def written(**options):
    buffer = io.BytesIO()
    pq.write_table(table(), buffer, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "options", [{}, {"row_group_size": 7}, {"compression": "zstd", "write_page_index": True}]
)
def test_same_as_pyarrow(options):
    metadata = open_file(io.BytesIO(written(**options))).metadata
    groups = column_chunks(metadata)
    assert len(groups) == metadata.num_row_groups
    for number, chunks in enumerate(groups):
        assert len(chunks) == metadata.num_columns
        for index, chunk in enumerate(chunks):
            other = metadata.row_group(number).column(index)
            assert chunk.path == other.path_in_schema
            assert (chunk.physical_type == BYTE_ARRAY) == (other.physical_type == "BYTE_ARRAY")
            assert chunk.num_values == other.num_values
            assert chunk.stored_bytes == other.total_compressed_size
            assert chunk.size_bytes == other.total_uncompressed_size
            stated = (
                other.statistics.null_count if other.statistics and other.statistics.has_null_count else None
            )
            assert chunk.null_count == stated
    assert column_chunks(metadata) is groups


def with_unknown_encryption(content):
    """Return the file with one more field in its footer, an encryption of no kind, which pyarrow reads but cannot write."""
    footer = content[: -8 - 1] + b"\x1c\0\0"
    length = int.from_bytes(content[-8:-4], "little") + 2
    return footer + length.to_bytes(4, "little") + b"PAR1"


def test_damaged_footers_end_in_one_sentence(tmp_path):
    """Some of these mutants end the process when their column chunks are asked of pyarrow."""
    content = written(row_group_size=100)
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    chance = random.Random(0)
    path = tmp_path / "damaged.parquet"
    read = refused = 0
    for _ in range(300):
        changed = bytearray(content)
        for _ in range(chance.randint(1, 3)):
            changed[chance.randrange(start, len(content) - 8)] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        try:
            list(read_parquet_rows(path))
            read += 1
        except DatasetError as error:
            refused += str(path) in str(error)
    path.write_bytes(with_unknown_encryption(content))
    list(read_parquet_rows(path))
    assert read > 10
    assert read + refused == 300


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"row_group_size": 7, "data_page_size": 64},
        {"data_page_version": "2.0", "compression": "zstd"},
        {"use_dictionary": False, "data_page_size": 100, "write_batch_size": 10},
    ],
)
def test_pages_hold_what_the_footer_states(options):
    file = io.BytesIO(written(**options))
    for chunks in column_chunks(open_file(file).metadata):
        for chunk in chunks:
            assert page_values(file, chunk) == chunk.num_values


def varint(number):
    """Return an unsigned number as Thrift and Parquet's runs write it."""
    low, high = number & 127, number >> 7
    return bytes([low | 128]) + varint(high) if high else bytes([low])


def page(claimed, size):
    """Return a page of so many bytes: one list of `claimed` values, each of them null."""
    levels = [varint(2) + b"\0" + varint(2 * (claimed - 1)) + b"\1", varint(2 * claimed) + b"\2"]
    body = b"".join(len(runs).to_bytes(4, "little") + runs for runs in levels)
    for rest in range(size):
        length = varint(2 * (size - rest))
        head = (
            b"\x15\0\x15"
            + length
            + b"\x15"
            + length
            + b"\x2c\x15"
            + varint(2 * claimed)
            + b"\x15\0\x15\6\x15\6\0\0"
        )
        if len(head) == rest:
            return head + body.ljust(size - rest, b"\0")
    raise AssertionError


@pytest.mark.parametrize("claimed", [100, 101, 2**31 - 1])
def test_a_page_that_claims_more_values_than_the_footer(tmp_path, claimed):
    """Two milliard levels would take 18 GB."""
    path = tmp_path / "claims.parquet"
    column = pa.array([list(range(100))], type=pa.list_(pa.int32()))
    pq.write_table(
        pa.table({"codes": column}), path, compression="none", use_dictionary=False, write_statistics=False
    )
    (chunk,) = column_chunks(open_file(path).metadata)[0]
    content = bytearray(path.read_bytes())
    content[chunk.start : chunk.start + chunk.stored_bytes] = page(claimed, chunk.stored_bytes)
    path.write_bytes(content)
    if claimed == 100:
        assert list(read_parquet_rows(path)) == [{"codes": [None] * 100}]
    else:
        with pytest.raises(
            DatasetError,
            match=f"states 100 values of the column 'codes', row group 0, but its pages claim {claimed:,}",
        ):
            list(read_parquet_rows(path))


def test_a_column_of_very_many_pages(tmp_path):
    path = tmp_path / "pages.parquet"
    pq.write_table(pa.table({"codes": pa.array([[1]] * 50_000, type=pa.list_(pa.int32()))}), path)
    (chunk,) = column_chunks(open_file(path).metadata)[0]
    empty = b"\x15\0\x15\0\x15\0\x2c\x15\0\x15\0\x15\6\x15\6\0\0"
    pages = io.BytesIO(bytes(chunk.start) + empty * 100_001)
    with pytest.raises(ValueError, match="more than 100,000 pages"):
        page_values(pages, replace(chunk, stored_bytes=len(empty) * 100_001))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "does not end as a Parquet file does"),
        (b"PAR1", "cut short"),
        (b"x" * 100, "does not end as a Parquet file does"),
        (b"PAR1" + b"x" * 90 + (95).to_bytes(4, "little") + b"PAR1", "cut short"),
        (b"PAR1" + (2**32 - 1).to_bytes(4, "little") + b"PAR1", "longer than"),
    ],
)
def test_files_without_a_footer(tmp_path, content, reason):
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    with pytest.raises(
        DatasetError, match=f"a.parquet cannot be read as Parquet: its footer is {reason}|{reason}"
    ):
        list(read_parquet_rows(path))


class Counted(io.BytesIO):
    """A file that counts the bytes that are read of it."""

    count = 0

    def read(self, size=-1):
        found = super().read(size)
        self.count += len(found)
        return found


def test_no_more_than_the_footer_is_read_of_a_file():
    """Also where a file has so many row groups that its footer takes a second request."""
    buffer = io.BytesIO()
    numbers = pa.table({"number": np.random.default_rng(0).integers(0, 1 << 60, 400_000)})
    pq.write_table(numbers, buffer, row_group_size=400)
    content = buffer.getvalue()
    footer = int.from_bytes(content[-8:-4], "little")
    assert 1 << 16 < footer < len(content) // 8
    file = Counted(content)
    assert open_file(file).metadata.num_row_groups == 1000
    assert file.count < 2 * footer + (1 << 16)


def test_a_long_footer(tmp_path):
    path = tmp_path / "a.parquet"
    columns = {f"column {number}": [number] for number in range(1500)}
    pq.write_table(pa.table(columns), path)
    assert int.from_bytes(path.read_bytes()[-8:-4], "little") > 2**16
    assert list(read_parquet_rows(path)) == [{name: value[0] for name, value in columns.items()}]


def test_damaged_pages_end_in_one_sentence(tmp_path):
    content = written(row_group_size=100)
    chunks = column_chunks(open_file(io.BytesIO(content)).metadata)[1]
    (chunk,) = (item for item in chunks if item.path.startswith("codes"))
    chance = random.Random(0)
    path = tmp_path / "damaged.parquet"
    told = []
    for _ in range(200):
        changed = bytearray(content)
        changed[chunk.start + chance.randrange(20)] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        try:
            list(read_parquet_rows(path))
        except DatasetError as error:
            told.append(str(error))
    assert told
    assert all(str(path) in sentence for sentence in told)


@pytest.mark.parametrize(
    "options", [{}, {"use_dictionary": False}, {"compression": "zstd", "write_page_index": True}]
)
@pytest.mark.parametrize("lengths", [[0], [0, 5], [5, 0, 5]])
def test_row_groups_without_rows(tmp_path, options, lengths):
    """As pyarrow writes a table without rows: of such a group, the place of its data is 0."""
    path, rows = tmp_path / "a.parquet", table(5)
    with pq.ParquetWriter(path, rows.schema, **options) as writer:
        for length in lengths:
            writer.write_table(rows.slice(0, length))
    assert pq.ParquetFile(path).metadata.num_row_groups == len(lengths)
    assert list(read_parquet_rows(path)) == rows.to_pylist() * (sum(lengths) // 5)
