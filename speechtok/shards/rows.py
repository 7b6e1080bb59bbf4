"""Rows of a Parquet table as arrays: Arrow → NumPy → torch, without a Python object per code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from speechtok.errors import DatasetError
from speechtok.tokens import SpeechTokens, TokenizerInfo

if TYPE_CHECKING:
    from torch import Tensor

Codes = np.ndarray[Any, np.dtype[np.uint16]]


class Column:
    """The cells of one stream's column, as views of its buffer."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        cells = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        self._bounds = cells.offsets.to_numpy()
        inner = cells.values
        self._inner = None if not pa.types.is_list(inner.type) else inner.offsets.to_numpy()
        self._flat = (inner if self._inner is None else inner.values).to_numpy()

    def __getitem__(self, position: int) -> Codes:
        """Return one cell, uint16 `(codebooks, frames)`."""
        start, stop = self._bounds[position : position + 2]
        codebooks = 1
        if self._inner is not None:
            codebooks, start, stop = stop - start, self._inner[start], self._inner[stop]
        cell: Codes = self._flat[start:stop].reshape(codebooks, -1)
        return cell


class Rows:
    """The rows of a table, each a dictionary of its columns.

    Args:
        table: rows of a token dataset.
        info: the tokenizer; columns named like its streams hold codes.
    """

    def __init__(self, table: pa.Table, info: TokenizerInfo) -> None:
        self._table, self._info = table, info

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, position: int) -> dict[str, Any]:
        """Return one row; streams as int64 `(codebooks, frames)`, vectors as float32."""
        row: dict[str, Any] = {}
        for name in self._table.column_names:
            if name in self.codes:
                row[name] = self.codes[name][position].astype(np.int64)
            else:
                value = self.values[name][position]
                row[name] = value.copy() if isinstance(value, np.ndarray) else value
        return row

    @cached_property
    def codes(self) -> dict[str, Column]:
        """The streams among the columns."""
        have = set(self._table.column_names)
        return {item.name: Column(self._table[item.name]) for item in self._info.streams if item.name in have}

    @cached_property
    def values(self) -> dict[str, Any]:
        """All other columns as plain values, vectors as rows of an array."""
        return {
            name: _vectors(self._table[name])
            if name == "speaker_embedding"
            else self._table[name].to_pylist()
            for name in self._table.column_names
            if name not in self.codes
        }


def tokens_of(rows: Iterable[tuple[Rows, int]], info: TokenizerInfo) -> SpeechTokens:
    """Return rows as one batch of tokens, padded with 0.

    Args:
        rows: row groups and positions in them, with the streams of `info` and `num_samples`.
        info: the tokenizer, with the streams that are wanted.
    """
    import torch

    rows = list(rows)
    if not rows:
        raise ValueError("`rows` must hold at least one row.")
    streams, num_frames = {}, {}
    for stream in info.streams:
        if stream.name not in rows[0][0].codes:
            raise DatasetError(
                f"Tokens of '{info.name}' need the column '{stream.name}', which was not read."
            )
        cells = [group.codes[stream.name][position] for group, position in rows]
        streams[stream.name] = torch.from_numpy(_padded(cells))
        num_frames[stream.name] = torch.tensor([cell.shape[1] for cell in cells])
    return SpeechTokens(
        streams=streams,
        num_frames=num_frames,
        num_samples=torch.tensor(_gathered(rows, "num_samples"), dtype=torch.int64),
        info=info,
        speaker_embedding=_tensor(rows, "speaker_embedding"),
        scale=_tensor(rows, "scale"),
    )


def _padded(cells: Sequence[Codes]) -> np.ndarray[Any, np.dtype[np.int64]]:
    codes = np.zeros((len(cells), cells[0].shape[0], max(cell.shape[1] for cell in cells)), dtype=np.int64)
    for target, cell in zip(codes, cells, strict=True):
        target[:, : cell.shape[1]] = cell
    return codes


def _gathered(rows: Sequence[tuple[Rows, int]], name: str) -> list[Any]:
    return [group.values[name][position] for group, position in rows]


def _tensor(rows: Sequence[tuple[Rows, int]], name: str) -> Tensor | None:
    import torch

    if name not in rows[0][0].values:
        return None
    return torch.from_numpy(np.asarray(_gathered(rows, name), dtype=np.float32))


def _vectors(column: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.float32]]:
    cells = column.combine_chunks()
    vectors: np.ndarray[Any, np.dtype[np.float32]] = cells.flatten().to_numpy(zero_copy_only=False)
    return vectors.reshape(len(cells), -1)
