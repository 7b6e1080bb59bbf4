"""Open a token dataset: its files, its rows, its tokens."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from speechtok.errors import DatasetError, HubError
from speechtok.hub import cached_folder, is_repository
from speechtok.shards.annotated import Provenance
from speechtok.shards.conditions import Condition
from speechtok.shards.contents import token_files
from speechtok.shards.order import Integers, OrderSettings
from speechtok.shards.parquet import open_parquet, read_group
from speechtok.shards.rows import Rows, tokens_of
from speechtok.shards.schema import METADATA_KEY, check_columns, read_annotations, read_info
from speechtok.storage import AnyPath, as_path
from speechtok.tokens import SpeechTokens

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from speechtok.shards.stream import TokenStream

    Base = Dataset[dict[str, Any]]
else:
    Base = object


MOST_OPEN = 64
"""Files kept open; a process may have some hundred, and a dataset many thousand."""


class TokenDataset(Base):
    """The rows of a token dataset, map-style: any row by number, or all in order; `stream` shuffles and batches.

    A row is a dictionary of its columns; streams are int64 arrays `(codebooks, frames)`. It works as
    a torch dataset (`torch.utils.data.DataLoader` needs `__len__` and `__getitem__` only).

    Args:
        path: a token dataset, or one Parquet file of tokens; a path or the URI of an object store, or user/name of
            a dataset on the Hub, whose shards are fetched into the Hub's cache.
        split: only this split; None reads all.
        streams: only these streams of codes; None reads all that `columns` names.
        columns: only these columns; None reads all. `tokens` needs the streams and `num_samples`.
        revision: branch, tag or commit of a dataset on the Hub; None takes the main branch.
        filter: only rows of which this SQL condition holds, such as "duration < 20 and text is not null", see
            `speechtok.shards.conditions`. It may name all columns but those of codes and vectors; a row of which it is null is
            left out. The columns that it names are read when the dataset is opened.
        allow_partial: read what is there of a dataset whose job has not finished, or that lost shards.

    Raises:
        DatasetError: when there is no token dataset, split, stream or column of that name, when shards are missing or
            are not of one tokenizer, when a row holds what no row of tokens can, or when the filter leaves no row.
        ValueError: when the filter is no condition.
        HubError: when there is neither a local dataset nor one on the Hub, or it cannot be fetched.
    """

    def __init__(
        self,
        path: str | AnyPath,
        *,
        split: str | None = None,
        streams: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        revision: str | None = None,
        filter: str | None = None,
        allow_partial: bool = False,
    ) -> None:
        if is_repository(path):
            path = _fetched(str(path), split, revision)
        self.path, self.split, self._streams, self.filter, self.allow_partial = (
            as_path(path),
            split,
            streams,
            filter,
            allow_partial,
        )
        found = token_files(self.path, split, allow_partial=allow_partial)
        self.files = [file.path for file in found]
        self.file_splits = [file.split for file in found]
        self._records = [file.record for file in found]
        self._open: dict[int, pq.ParquetFile] = {}
        self._checked: set[int] = set()
        first = open_parquet(self.files[0])
        self._schema = first.schema_arrow
        self.info, self.card = read_info(self._schema, str(self.files[0]))
        check_columns(self._schema, self.info, str(self.files[0]))
        self.columns = self._chosen(self._schema.names, streams, columns)
        groups = [self._group_rows(number) for number in range(len(self.files))]
        if streams is not None:
            kept = tuple(self.info.stream(name) for name in streams)
            self.info = replace(self.info, streams=kept)
        self._groups = [(file, group) for file, rows in enumerate(groups) for group in range(len(rows))]
        self._firsts = [int(first) for rows in groups for first in np.cumsum([0, *rows])[:-1]]
        self.group_rows = np.array([count for rows in groups for count in rows], dtype=np.int64)
        self._kept: list[Integers] | None = None
        if filter is not None:
            self._kept = self._chosen_rows(filter)
            self.group_rows = np.array([len(rows) for rows in self._kept], dtype=np.int64)
        self._ends = np.cumsum(self.group_rows).tolist()
        self._cached: tuple[int, Rows] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # open files cannot travel to another process
        opened = partial(
            type(self),
            split=self.split,
            streams=self._streams,
            columns=self.columns,
            filter=self.filter,
            allow_partial=self.allow_partial,
        )
        return opened, (self.path,)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> dict[str, Any]:
        rows, position = self._find(index)
        return rows[position]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for group in range(len(self._groups)):
            rows = self._rows(group)
            for position in range(len(rows)):
                yield rows[position]

    def tokens(self, index: int | Sequence[int]) -> SpeechTokens:
        """Return one or more rows as tokens, ready for `decode`."""
        indices = [index] if isinstance(index, int) else list(index)
        return tokens_of([self._find(item) for item in indices], self.info)

    def stream(
        self,
        *,
        seed: int = 0,
        shuffle: bool = True,
        window: int = 8192,
        lanes: int = 8,
        batch_size: int | None = None,
        max_tokens: int | None = None,
        count_text: str | None = None,
        max_row_tokens: int | None = None,
        drop_last: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> TokenStream:
        """Return the rows as a stream for training: mixed, batched, dealt to ranks and workers, resumable.

        An epoch's order depends on the number of ranks with which it begins, and not on that of workers.

        Args:
            seed: chooses the order; the same seed gives the same order everywhere.
            shuffle: mix row groups, rows and batches; otherwise rows pass in the order of the files, sorted by
                length within a window where `max_tokens` asks for it, each rank's after those of the rank before it.
            window: about how many rows a rank mixes with each other, and holds in memory with all its workers.
            lanes: bundles of whole row groups that a rank weaves its window from; a thousand rows or more for each keep
                padding low. Workers own lanes, so take a multiple of their number: with more workers than lanes, and
                without `shuffle`, several workers read the same row groups.
            batch_size: most rows of a batch.
            max_tokens: most frames of a batch, padding included: rows × frames of the longest, at the
                highest frame rate of the streams. Rows of like length meet; a longer row is a batch alone.
                Without `batch_size` and `max_tokens`, the stream yields single rows.
            count_text: column of text that a model reads beside the codes, such as "text" or "phones": `max_tokens` then
                counts its characters, or its symbols where it holds lists, beside the frames of a row.
            max_row_tokens: most frames of a row, its text included where that counts; None sets no bound. Where a row is longer the
                stream is refused, before anything is read, by an error with the filter that leaves such rows out.
            drop_last: leave out the last batches of an epoch that not every rank would get.
            rank: number of this process among those that share an epoch; None asks `torch.distributed`, then
                the environment that `torchrun` sets, and takes 0 where there is neither.
            world_size: how many processes share an epoch; None as for `rank`.

        Raises:
            DatasetError: when a row is longer than `max_row_tokens`.
        """
        from speechtok.shards.stream import TokenStream

        settings = OrderSettings(
            seed=seed,
            shuffle=shuffle,
            window=window,
            lanes=lanes,
            batch_size=batch_size,
            max_tokens=max_tokens,
            count_text=count_text,
        )
        stream = TokenStream(self, settings, drop_last=drop_last, rank=rank, world_size=world_size)
        if max_row_tokens is not None:
            stream.check_longest(max_row_tokens)
        return stream

    @property
    def annotations(self) -> tuple[Provenance, ...]:
        """What `speechtok annotate` has added: columns with their units, and what made them."""
        return read_annotations(self._schema, str(self.files[0]))

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one column of all rows, such as "duration", reading nothing else."""
        self._check_columns(self._schema.names, [name])
        parts = [self._table(group, [name])[name] for group in range(len(self._groups))]
        return pa.chunked_array(
            [part for column in parts for part in column.chunks], self._schema.field(name).type
        )

    def read_group(self, group: int, columns: Sequence[str] | None = None) -> Rows:
        """Return the rows of one row group, counted over all files; `columns` instead of the dataset's."""
        table, file = self._table(group, columns or self.columns), self._groups[group][0]
        numbers = self._firsts[group] + (np.arange(len(table)) if self._kept is None else self._kept[group])
        return Rows(table, self.info, self.files[file], numbers)

    def footer(self, file: int) -> pq.FileMetaData:
        """Return the footer of one of the files."""
        return self._reader(file).metadata

    def _table(self, group: int, columns: Sequence[str]) -> pa.Table:
        file, number = self._groups[group]
        table = read_group(self._reader(file), self.files[file], number, columns)
        if self._kept is None or len(self._kept[group]) == len(table):
            return table
        return table.take(pa.array(self._kept[group]))

    def _chosen_rows(self, text: str) -> list[Integers]:
        """Return of each row group the positions of the rows of which a condition holds."""
        heavy = {"speaker_embedding", *(stream.name for stream in self.info.streams)}
        types = {item.name: item.type for item in self._schema if item.name not in heavy}
        condition = Condition(text, types, self.path)
        columns = condition.columns or ["id"]
        kept = [np.flatnonzero(condition(self._table(group, columns))) for group in range(len(self._groups))]
        if not any(map(len, kept)):
            raise DatasetError(f"No row of {self.path} is left: '{text}' holds of none.")
        return kept

    def _group_rows(self, number: int) -> list[int]:
        """Return the rows of each row group of a file, by the manifest where there is one."""
        record = self._records[number]
        if record is None:
            footer = self.footer(number)
            return [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
        if record.fingerprint != self.info.fingerprint:
            raise DatasetError(
                f"{self.files[number]} was made by another tokenizer than {self.files[0].name}, by the manifest: fingerprint "
                f"{record.fingerprint}, not {self.info.fingerprint}; make the dataset again."
            )
        return [group.rows for group in record.groups]

    def _reader(self, number: int) -> pq.ParquetFile:
        """Return a file, opened and checked."""
        reader = self._open.get(number)
        if reader is None:
            reader = open_parquet(self.files[number])
        if number not in self._checked:
            self._check_same(self.files[number], reader.schema_arrow)
            record, footer = self._records[number], reader.metadata
            rows = [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
            if record is not None and rows != [group.rows for group in record.groups]:
                raise DatasetError(
                    f"{self.files[number]} has other row groups than the manifest says; it was changed or is damaged."
                )
            self._checked.add(number)
        self._keep(number, reader)
        return reader

    def _keep(self, number: int, reader: pq.ParquetFile) -> None:
        """Keep a file open as the one used last, and let go of what was not used for long.

        A file is closed when nobody reads it any more, so other threads are not disturbed; each step here is whole
        to them, and where two of them open the same file, one of the two stays.
        """
        self._open.pop(number, None)
        self._open[number] = reader
        for old in list(self._open)[:-MOST_OPEN]:
            self._open.pop(old, None)

    def _check_same(self, file: AnyPath, schema: pa.Schema) -> None:
        """Raise `DatasetError` when a shard is not of the tokenizer and the columns of the first one."""
        if (schema.metadata or {}).get(METADATA_KEY) != self._schema.metadata[METADATA_KEY]:
            info, _ = read_info(schema, str(file))
            if info != self.info:
                raise DatasetError(
                    f"{file} was made by another tokenizer than {self.files[0].name}: '{info.name}' ({info.fingerprint}), not "
                    f"'{self.info.name}' ({self.info.fingerprint}), or with other streams; read them one by one."
                )
        for name in self.columns:
            if name not in schema.names or schema.field(name).type != self._schema.field(name).type:
                raise DatasetError(
                    f"{file} has not the column '{name}' that {self.files[0].name} has, or one of another type; name the "
                    "columns that all have with `columns`."
                )
        if not schema.equals(self._schema):
            check_columns(schema, self.info, str(file))

    def _rows(self, group: int) -> Rows:
        if self._cached is None or self._cached[0] != group:
            self._cached = (group, self.read_group(group))
        return self._cached[1]

    def _find(self, index: int) -> tuple[Rows, int]:
        """Return the row group of a row, and the row's position in it."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} is out of range for {len(self)} rows")
        index %= len(self)
        group = bisect_right(self._ends, index)
        rows = self._rows(group)
        return rows, index - (self._ends[group] - len(rows))

    def _chosen(
        self, names: list[str], streams: Sequence[str] | None, columns: Sequence[str] | None
    ) -> list[str]:
        """Return the columns to read, in the order asked for, or that of the files."""
        self._check_columns(names, columns or ())
        if streams is None:
            return list(columns) if columns is not None else names
        have = [stream.name for stream in self.info.streams]
        for name in streams:
            if name not in have:
                raise DatasetError(f"{self.path} has no stream {name}; it has: {', '.join(have)}.")
        if columns is None:
            return [name for name in names if name in streams or name not in have]
        return [*columns, *(name for name in streams if name not in columns)]

    def _check_columns(self, names: list[str], columns: Sequence[str]) -> None:
        for name in columns:
            if name not in names:
                raise DatasetError(f"{self.path} has no column {name}; it has: {', '.join(names)}.")


def _fetched(repository: str, split: str | None, revision: str | None) -> AnyPath:
    """Return the local copy of a dataset on the Hub: its shards, or those of one split."""
    try:
        return cached_folder(
            repository, [f"data/{split or '*'}-*.parquet", "manifest.parquet"], revision=revision
        )
    except HubError as error:
        raise HubError(f"'{repository}' is no local token dataset, and none on the Hub: {error}") from error
