"""Read token rows back, and turn them into tokens."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from speechtok.errors import DatasetError
from speechtok.shards.layout import Layout
from speechtok.shards.schema import read_info
from speechtok.storage import AnyPath, as_path, readable
from speechtok.tokens import SpeechTokens, TokenizerInfo

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    Base = Dataset[dict[str, Any]]
else:
    Base = object


class TokenDataset(Base):
    """The rows of a token dataset, map-style: any row by number, or all in order.

    A row is a dictionary of its columns; streams are int64 arrays `(codebooks, frames)`. It works as
    a torch dataset (`torch.utils.data.DataLoader` needs `__len__` and `__getitem__` only).

    Args:
        path: a token dataset, or one Parquet file of tokens; a path or the URI of an object store.
        split: only this split; None reads all.
        columns: only these columns; None reads all. `tokens` needs the streams and `num_samples`.

    Raises:
        DatasetError: when there is no token dataset or split of that name.
    """

    def __init__(
        self, path: str | AnyPath, *, split: str | None = None, columns: Sequence[str] | None = None
    ) -> None:
        self.path, self.split = as_path(path), split
        self.files = token_files(self.path, split)
        self._readers = [_open(file) for file in self.files]
        self.info, self.card = read_info(self._readers[0].schema_arrow, str(self.files[0]))
        self.columns = list(columns) if columns is not None else self._readers[0].schema_arrow.names
        unknown = [name for name in self.columns if name not in self._readers[0].schema_arrow.names]
        if unknown:
            raise DatasetError(
                f"{self.path} has no column {unknown[0]}; it has: {', '.join(self._readers[0].schema_arrow.names)}."
            )
        self._groups = [
            (reader, group) for reader in self._readers for group in range(reader.metadata.num_row_groups)
        ]
        self._ends = list(
            accumulate(reader.metadata.row_group(group).num_rows for reader, group in self._groups)
        )
        self._cached: tuple[int, pa.Table] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # open files cannot travel to another process
        return partial(type(self), split=self.split, columns=self.columns), (self.path,)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} is out of range for {len(self)} rows")
        index %= len(self)
        group = bisect_right(self._ends, index)
        table = self._table(group)
        return self._row(table, index - (self._ends[group] - len(table)))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for group in range(len(self._groups)):
            table = self._table(group)
            for position in range(len(table)):
                yield self._row(table, position)

    def tokens(self, index: int | Sequence[int]) -> SpeechTokens:
        """Return one or more rows as tokens, ready for `decode`."""
        indices = [index] if isinstance(index, int) else list(index)
        return SpeechTokens.cat([row_to_tokens(self[item], self.info) for item in indices])

    def _table(self, group: int) -> pa.Table:
        if self._cached is None or self._cached[0] != group:
            reader, number = self._groups[group]
            self._cached = (group, reader.read_row_group(number, columns=self.columns))
        return self._cached[1]

    def _row(self, table: pa.Table, position: int) -> dict[str, Any]:
        streams = {stream.name for stream in self.info.streams}
        row: dict[str, Any] = {}
        for name in self.columns:
            value = table[name][position]
            if name in streams:
                row[name] = codes_of(value)
            elif name == "speaker_embedding":
                row[name] = value.values.to_numpy(zero_copy_only=False)
            else:
                row[name] = value.as_py()
        return row


def token_files(path: AnyPath, split: str | None = None) -> list[AnyPath]:
    """Return the Parquet files of a token dataset, or the file itself.

    Raises:
        DatasetError: when there are none; the splits there are get named.
    """
    if path.is_file():
        return [path]
    files: list[AnyPath] = sorted(Layout(path).data.glob("*.parquet"), key=str)
    if not files:
        raise DatasetError(f"{path} holds no token dataset: there is no Parquet file in {path / 'data'}.")
    if split is None:
        return files
    chosen = [file for file in files if file.name.rsplit("-", 3)[0] == split]
    if not chosen:
        have = ", ".join(sorted({file.name.rsplit("-", 3)[0] for file in files}))
        raise DatasetError(f"{path} has no split '{split}'; it has: {have}.")
    return chosen


def codes_of(value: pa.ListScalar) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return a stream's cell as int64 `(codebooks, frames)`, without a Python object per code."""
    inner, codebooks = value.values, 1
    if pa.types.is_list(inner.type):
        inner, codebooks = inner.flatten(), len(inner)
    codes: np.ndarray[Any, np.dtype[np.int64]] = inner.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes.reshape(codebooks, -1)


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


def _open(file: AnyPath) -> pq.ParquetFile:
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
    reader = _open(path)
    for batch in reader.iter_batches():
        yield from batch.to_pylist()
