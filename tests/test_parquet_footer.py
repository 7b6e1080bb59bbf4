"""Footers of Parquet files are decoded as pyarrow does, and damaged ones are refused without ending the process."""

import io
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from speechtok.errors import DatasetError
from speechtok.parquet_footer import BYTE_ARRAY, column_chunks
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
    metadata = pq.ParquetFile(io.BytesIO(written(**options))).metadata
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


def test_damaged_footers_end_in_one_sentence(tmp_path):
    """Some of these mutants end the process when their column chunks are asked of pyarrow."""
    content = written(row_group_size=100)
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    chance = random.Random(0)
    path = tmp_path / "damaged.parquet"
    read = refused = 0
    for _ in range(600):
        changed = bytearray(content)
        for _ in range(chance.randint(1, 3)):
            changed[chance.randrange(start, len(content) - 8)] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        try:
            list(read_parquet_rows(path))
            read += 1
        except DatasetError as error:
            refused += str(path) in str(error)
    assert read > 20
    assert read + refused == 600
