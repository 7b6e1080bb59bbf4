"""Recordings that lie in the cells of Parquet and Arrow files, as Hugging Face datasets keep them.

Conventions: a cell is `{"bytes": …, "path": …}`, the type that `datasets` writes for audio, or plain binary; or
`{"array": …, "sampling_rate": …}`, decoded samples (for several channels a list of each), which are read as a WAV file.
Arrow files are mapped into memory. Of Parquet files the row groups read last are kept, since neighbours are
usually asked for one after the other; `KEPT_BYTES` bounds them.

Contents: `read_cell`.
"""

from __future__ import annotations

import bisect
import io
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any

from speechtok.limits import inflated_bytes
from speechtok.parquet_footer import Chunk, column_chunks, open_file
from speechtok.storage import AnyPath, readable
from speechtok.wording import size_text

KEPT_FILES = 32
"""Files whose structure is kept at hand."""
KEPT_BYTES = 256 * 1024 * 1024
"""Audio of Parquet row groups that is kept at hand."""


def read_cell(path: AnyPath, row: int, column: str) -> bytes:
    """Return the bytes of a recording.

    Raises:
        OSError: when the file cannot be read.
        StorageError: when a store fails.
        ValueError: when it is no such file, or the cell holds no bytes; the message is a reason.
    """
    import pyarrow as pa

    try:
        reader = _opened(path, _stamp(path))
        cell = reader.cell(row, column)
        is_struct = pa.types.is_struct(cell.type) and cell.is_valid
        if is_struct and {"array", "sampling_rate"} <= set(cell):
            return _wav(cell, f"its row {row} holds no audio in column {column}")
        content = (cell["bytes"] if "bytes" in set(cell) else pa.scalar(None)) if is_struct else cell
    except (pa.ArrowException, KeyError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"its row {row}, column {column}, cannot be read ({reason})") from None
    if not isinstance(found := content.as_py(), bytes):
        raise ValueError(f"its row {row} holds no audio in column {column}")
    return found


def _wav(cell: Any, refusal: str) -> bytes:
    """Return decoded samples as a WAV file of their type."""
    import soundfile

    rate, values, channels = cell["sampling_rate"].as_py(), cell["array"].values, 1
    if values is not None and hasattr(values, "flatten") and hasattr(values.type, "value_type"):
        channels, values = len(values), values.flatten()
    kinds = {"halffloat": "FLOAT", "float": "FLOAT", "double": "FLOAT", "int16": "PCM_16", "int32": "PCM_32"}
    subtype = None if values is None else kinds.get(str(values.type))
    if (
        subtype is None
        or not isinstance(rate, int)
        or not 0 < rate < 1 << 24
        or len(values) % max(channels, 1)
    ):
        raise ValueError(refusal)
    samples = values.to_numpy(zero_copy_only=False).reshape(channels, -1).T
    file = io.BytesIO()
    try:
        soundfile.write(
            file, samples.astype("float32") if subtype == "FLOAT" else samples, rate, subtype, format="WAV"
        )
    except (soundfile.LibsndfileError, ValueError) as error:
        raise ValueError(f"{refusal} ({error})") from None
    return file.getvalue()


def _stamp(path: AnyPath) -> str:
    """Return what changes with a file; an object is taken not to change while it is read."""
    return str(path.stat().st_mtime_ns) if isinstance(path, Path) else ""


@lru_cache(KEPT_FILES)
def _opened(path: AnyPath, stamp: str) -> _Parquet | _Arrow:
    """Return the reader of a file as it was when it had the stamp."""
    return _Arrow(path) if path.suffix == ".arrow" else _Parquet(path, stamp)


class _Arrow:
    def __init__(self, path: AnyPath) -> None:
        import pyarrow as pa

        mapped = pa.memory_map(str(path)) if isinstance(path, Path) else pa.PythonFile(path.open("rb"))
        try:
            self._table = pa.ipc.open_stream(mapped).read_all()
        except pa.ArrowInvalid:  # the other of the two layouts
            self._table = pa.ipc.open_file(mapped).read_all()

    def cell(self, row: int, column: str) -> Any:
        part = self._table[column].slice(row, 1)
        part.validate(full=True)  # a file from elsewhere may point outside of itself
        return part[0]


class _Parquet:
    def __init__(self, path: AnyPath, stamp: str) -> None:
        self._name, self._lock = (str(path), stamp), Lock()
        self._file = open_file(readable(path))
        groups = range(self._file.metadata.num_row_groups)
        self._ends = list(accumulate(self._file.metadata.row_group(group).num_rows for group in groups))

    def cell(self, row: int, column: str) -> Any:
        group = bisect.bisect_right(self._ends, row)
        if group == len(self._ends):
            raise IndexError(f"it has {self._ends[-1] if self._ends else 0} rows")
        first = self._ends[group - 1] if group else 0
        with self._lock:  # a file is read by one thread at a time
            return _GROUPS.get(self._file, self._name, group, column)[row - first]


def _check_inflation(group: Sequence[Chunk], column: str) -> None:
    parts = [part for part in group if part.path.split(".")[0] == column]
    stored, inflated = sum(part.stored_bytes for part in parts), sum(part.size_bytes for part in parts)
    if inflated > inflated_bytes(stored):
        raise ValueError(
            f"the column {column} of its row group inflates from {size_text(stored)} to {size_text(inflated)}"
        )


class _Groups:
    """Columns of row groups, those used last, up to `KEPT_BYTES`."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[tuple[str, str], int, str], Any] = OrderedDict()
        self._bytes, self._lock = 0, Lock()

    def get(self, file: Any, name: tuple[str, str], group: int, column: str) -> Any:
        key = (name, group, column)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        _check_inflation(column_chunks(file.metadata)[group], column)
        values = file.read_row_group(group, columns=[column])[column]
        with self._lock:
            self._kept[key] = values
            self._bytes += values.nbytes
            while self._bytes > KEPT_BYTES and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return values


_GROUPS = _Groups()
