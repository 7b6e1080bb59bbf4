"""Parquet files of any kind, opened or refused in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from speechtok.errors import DatasetError
from speechtok.storage import AnyPath, readable


def open_parquet(file: AnyPath) -> pq.ParquetFile:
    """Return a Parquet file, with its footer read.

    Raises:
        DatasetError: when it cannot be read.
    """
    try:
        return pq.ParquetFile(readable(file))
    except (OSError, pa.ArrowInvalid) as error:
        reason = " ".join(str(error).split())
        raise DatasetError(f"{file} cannot be read as Parquet: {reason}") from error


def read_parquet_rows(path: AnyPath) -> Iterator[dict[str, Any]]:
    """Yield the rows of any Parquet file as plain values.

    Raises:
        DatasetError: when the file cannot be read.
    """
    reader = open_parquet(path)
    for batch in reader.iter_batches():
        yield from batch.to_pylist()
