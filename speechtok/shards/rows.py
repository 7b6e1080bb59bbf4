"""Rows of a token dataset as arrays and as tokens: Arrow → NumPy → torch, without a Python object per code.

Contents: `RowGroups`, `Rows`, `tokens_of`, `row_to_tokens`, `tokens_to_rows`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from speechtok.errors import DatasetError
from speechtok.storage import AnyPath
from speechtok.tokens import SpeechTokens, TokenizerInfo

if TYPE_CHECKING:
    from torch import Tensor

Codes = np.ndarray[Any, np.dtype[np.uint16]]


class RowGroups(Protocol):
    """Row groups by number: what a stream reads from."""

    path: AnyPath
    """Where they lie."""
    info: TokenizerInfo
    """The tokenizer."""
    columns: list[str]
    """The columns that rows have."""
    group_rows: np.ndarray[Any, np.dtype[np.int64]]
    """`(groups,)`, rows of each."""

    def read_group(self, group: int, columns: Sequence[str] | None = None) -> Rows:
        """Return the rows of one row group; `columns` instead of the usual ones."""

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one column of all rows."""


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


def row_to_tokens(row: dict[str, Any], info: TokenizerInfo) -> SpeechTokens:
    """Return one row's streams, lengths and vectors as a batch of one."""
    import torch

    streams = {stream.name: torch.from_numpy(row[stream.name])[None] for stream in info.streams}
    embedding, scale = row.get("speaker_embedding"), row.get("scale")
    return SpeechTokens(
        streams=streams,
        num_frames={name: torch.tensor([codes.shape[2]]) for name, codes in streams.items()},
        num_samples=torch.tensor([row["num_samples"]]),
        info=info,
        speaker_embedding=None if embedding is None else torch.from_numpy(np.array(embedding))[None],
        scale=None if scale is None else torch.tensor([scale]),
    )


def tokens_to_rows(tokens: SpeechTokens) -> list[dict[str, Any]]:
    """Return the token columns of each utterance of a batch: what `row_to_tokens` reads."""
    codes = {name: item.cpu().numpy().astype(np.uint16) for name, item in tokens.streams.items()}
    num_frames = {name: item.tolist() for name, item in tokens.num_frames.items()}
    embedding = None if tokens.speaker_embedding is None else tokens.speaker_embedding.float().cpu().numpy()
    scale = None if tokens.scale is None else tokens.scale.tolist()
    rows = []
    for index, samples in enumerate(tokens.num_samples.tolist()):
        row: dict[str, Any] = {name: codes[name][index, :, : num_frames[name][index]] for name in codes}
        row |= {"num_samples": samples, "duration": samples / tokens.info.sample_rate}
        if embedding is not None:
            row["speaker_embedding"] = embedding[index]
        if scale is not None:
            row["scale"] = scale[index]
        rows.append(row)
    return rows


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
