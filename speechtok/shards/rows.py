"""Rows of a token dataset as arrays and as tokens: Arrow → NumPy → torch, without a Python object per code.

Contents: `RowGroups`, `Rows`, `text_lengths`, `tokens_of`, `row_to_tokens`, `tokens_to_rows`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from speechtok.errors import DatasetError
from speechtok.shards.parquet import reading
from speechtok.storage import AnyPath
from speechtok.tokens import SpeechTokens, StreamInfo, TokenizerInfo

if TYPE_CHECKING:
    from torch import Tensor

Codes = np.ndarray[Any, np.dtype[np.uint16 | np.uint32]]

SLACK, SLACK_SECONDS = 4, 30
"""How many times longer than its codes a row's audio may be, or they than it, and by how many seconds besides: overlapping
segments are coded twice, and imported lists state lengths of their own. What is beyond is damage."""
_NEVER_NULL = ("id", "num_samples")


class RowGroups(Protocol):
    """Row groups by number: what a stream reads from."""

    path: AnyPath
    """Where they lie."""
    info: TokenizerInfo
    """The tokenizer."""
    columns: list[str]
    """The columns that rows have."""
    filter: str | None
    """The condition on rows, if any."""
    group_rows: np.ndarray[Any, np.dtype[np.int64]]
    """`(groups,)`, rows of each."""

    def read_group(self, group: int, columns: Sequence[str] | None = None) -> Rows:
        """Return the rows of one row group; `columns` instead of the usual ones."""

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one column of all rows."""


class Column:
    """The cells of one stream's column, as views of its buffer.

    Args:
        column: the cells.
        stream: what they hold.
        named: what messages call a row.

    Raises:
        DatasetError: naming a row whose codes are not those of the stream.
    """

    def __init__(self, column: pa.ChunkedArray, stream: StreamInfo, named: Callable[[int], str]) -> None:
        cells = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        inner = cells.values
        codes = inner.values if _is_list(inner.type) else inner
        if cells.null_count or inner.null_count or codes.null_count:
            raise DatasetError(
                f"There are nulls among the codes of stream '{stream.name}' from {named(0)} on."
            )
        self._bounds = cells.offsets.to_numpy()
        self._inner = inner.offsets.to_numpy() if _is_list(inner.type) else None
        self._flat = codes.to_numpy()
        self._codebooks = stream.num_codebooks
        rows = len(cells)
        if self._inner is None:
            self.frames = np.diff(self._bounds)
        else:
            first, last = self._bounds[0], self._bounds[-1]
            wrong = np.flatnonzero(np.diff(self._bounds) != self._codebooks)
            if len(wrong):
                raise DatasetError(
                    f"{named(int(wrong[0]))} has not the {self._codebooks} codebooks of stream '{stream.name}'."
                )
            lengths = np.diff(self._inner[first : last + 1]).reshape(rows, self._codebooks)
            wrong = np.flatnonzero((lengths != lengths[:, :1]).any(axis=1))
            if len(wrong):
                raise DatasetError(
                    f"{named(int(wrong[0]))} has codebooks of different lengths in stream '{stream.name}'."
                )
            self.frames = lengths[:, 0]
        if len(self._flat) and stream.codebook_size <= int(self._flat.max()):
            place = int(np.argmax(self._flat >= stream.codebook_size))
            ends = self._bounds[1:] if self._inner is None else self._inner[self._bounds[1:]]
            raise DatasetError(
                f"{named(int(np.searchsorted(ends, place, side='right')))} has code {self._flat[place]} in stream "
                f"'{stream.name}', outside [0, {stream.codebook_size})."
            )

    def __getitem__(self, position: int) -> Codes:
        """Return one cell, as stored, `(codebooks, frames)`."""
        start, stop = self._bounds[position : position + 2]
        if self._inner is not None:
            start, stop = self._inner[start], self._inner[stop]
        cell: Codes = self._flat[start:stop].reshape(self._codebooks, -1)
        return cell


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


class Rows:
    """The rows of a table, each a dictionary of its columns.

    Args:
        table: rows of a token dataset.
        info: the tokenizer; columns named like its streams hold codes.
        source: what messages call the file they come from.
        numbers: of the rows in it; None counts from 0.

    Raises:
        DatasetError: here and by all that is read, naming a row that holds what no row of tokens can.
    """

    def __init__(
        self,
        table: pa.Table,
        info: TokenizerInfo,
        source: object = "a table",
        numbers: Sequence[int] | np.ndarray[Any, np.dtype[np.int64]] | None = None,
    ) -> None:
        self._table, self._info, self._source = table, info, source
        self._numbers = range(len(table)) if numbers is None else numbers
        for name in _NEVER_NULL:
            if name in table.column_names and table[name].null_count:
                raise DatasetError(
                    f"{self._named(table[name].is_null().index(True).as_py())} has no `{name}`."
                )

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, position: int) -> dict[str, Any]:
        """Return one row; streams as int64 `(codebooks, frames)`, vectors as float32."""
        row: dict[str, Any] = {}
        for name in self._table.column_names:
            if name in self.codes:
                row[name] = self.codes[name][position].astype(np.int64)
            elif name == "num_samples":
                row[name] = int(self.num_samples[position])
            else:
                value = self.values[name][position]
                row[name] = value.copy() if isinstance(value, np.ndarray) else value
        return row

    @cached_property
    def codes(self) -> dict[str, Column]:
        """The streams among the columns."""
        have = set(self._table.column_names)
        with reading(self._source):
            return {
                item.name: Column(self._table[item.name], item, self._named)
                for item in self._info.streams
                if item.name in have
            }

    @cached_property
    def values(self) -> dict[str, Any]:
        """All other columns as plain values, vectors as rows of an array."""
        with reading(self._source):
            found = {
                name: _vectors(self._table[name])
                if name == "speaker_embedding"
                else self._table[name].to_pylist()
                for name in self._table.column_names
                if name not in self.codes
            }
            for name in ("speaker_embedding", "scale"):
                wrong = np.flatnonzero(~np.isfinite(np.asarray(found.get(name, []), dtype=np.float32)))
                if len(wrong):
                    raise DatasetError(
                        f"{self._named(int(wrong[0]) * len(self) // np.size(found[name]))} has a `{name}` that is not finite."
                    )
        return found

    @cached_property
    def num_samples(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """`(rows,)`, valid samples of each row's audio, which its codes can be of."""
        with reading(self._source):
            samples: np.ndarray[Any, np.dtype[np.int64]] = (
                self._table["num_samples"].to_numpy().astype(np.int64)
            )
        impossible = samples < 1
        for stream in self._info.streams:
            if stream.name in self.codes:
                coded = self.codes[stream.name].frames.astype(np.int64) * stream.hop_length
                slack = SLACK_SECONDS * self._info.sample_rate
                impossible |= (samples > SLACK * coded + slack) | (coded > SLACK * samples + slack)
        if impossible.any():
            position = int(np.argmax(impossible))
            raise DatasetError(
                f"{self._named(position)} has {samples[position]} `num_samples`, which its codes cannot be of."
            )
        return samples

    def _named(self, position: int) -> str:
        """Return what messages call a row."""
        place = f"Row {self._numbers[position]} of {self._source}"
        if "id" not in self._table.column_names:
            return place
        with reading(self._source):
            return f"{place} ('{self._table['id'][position].as_py()}')"


def text_lengths(column: pa.ChunkedArray, name: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the characters of each string of a column, or the items of each list; 0 where there is none.

    Raises:
        ValueError: when it holds neither.
    """
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        found = pc.list_value_length(column)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        found = pc.utf8_length(column)
    else:
        raise ValueError(f"`count_text` must name a column of strings or lists, but '{name}' holds {kind}.")
    lengths: np.ndarray[Any, np.dtype[np.int64]] = pc.fill_null(found, 0).to_numpy().astype(np.int64)
    return lengths


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
        num_samples=torch.tensor(
            [group.num_samples[position] for group, position in rows], dtype=torch.int64
        ),
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
    codes = {name: item.cpu().numpy().astype(np.uint32) for name, item in tokens.streams.items()}
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
