"""The utterances of a corpus as rows of a plan, in the order of the dataset, in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa

from speechtok.corpora import Corpus
from speechtok.engine.ordering import Runs
from speechtok.engine.settings import JobSettings
from speechtok.errors import DatasetError
from speechtok.shards.layout import is_split
from speechtok.shards.plan import FAULT, PLAN_COLUMNS
from speechtok.shards.schema import column_names
from speechtok.storage import OwnedFolder
from speechtok.tokens import TokenizerInfo
from speechtok.utterances import Utterance

BATCH_UTTERANCES = 5_000
"""Utterances held as Python objects at once."""
OWN = "own:"
"""Prefix that tells the corpus's own columns from ours until all of their names are known."""


class Listing:
    """Reads a corpus once, sorts it on disk, and gives its rows out as often as wanted.

    Rows are ordered by split and id. They have `PLAN_COLUMNS`, with `shard` null, and the corpus's own
    columns, of which a name that means something here gets the prefix `corpus_`.

    Args:
        corpus: what to list.
        info: the tokenizer, whose streams are columns too.
        settings: what decides the rows.
        seconds: tells how long utterances are; None for what is not known.

    Raises:
        DatasetError: when the corpus names a split that file names and `datasets` cannot have, or a column
            mixes types.
    """

    def __init__(
        self,
        corpus: Corpus,
        info: TokenizerInfo,
        settings: JobSettings,
        seconds: Callable[[Sequence[Utterance]], list[float | None]],
    ) -> None:
        self._folder = OwnedFolder()
        self._corpus, self._settings = corpus, settings
        self._runs = Runs(["split", "id"], self._folder.path)
        self._splits: set[str] = set()
        utterances = iter(corpus.utterances)
        while batch := list(islice(utterances, BATCH_UTTERANCES)):
            self._add(batch, seconds(batch))
        own = [name for name in self._runs.schema.names if name.startswith(OWN)]
        self._names = _own_names([name.removeprefix(OWN) for name in own], info)

    @property
    def _planned(self) -> list[tuple[str, pa.DataType]]:
        return [*PLAN_COLUMNS, *([(FAULT, pa.string())] if FAULT in self._runs.schema.names else [])]

    @property
    def schema(self) -> pa.Schema:
        """Columns of the rows."""
        own = {field.name: field.type for field in self._runs.schema if field.name.startswith(OWN)}
        return pa.schema(
            [
                *self._planned,
                *(
                    (name, pa.string() if pa.types.is_null(own[OWN + theirs]) else own[OWN + theirs])
                    for theirs, name in self._names.items()
                ),
            ]
        )

    def batches(self) -> Iterator[pa.Table]:
        """Yield all rows in order, in tables of any length."""
        names = [*(name for name, _ in self._planned), *(OWN + name for name in self._names)]
        for rows in self._runs.sorted():
            yield rows.select(names).rename_columns(self.schema.names).cast(self.schema)

    def _add(self, utterances: Sequence[Utterance], seconds: list[float | None]) -> None:
        splits = [item.split or self._settings.split for item in utterances]
        for split in set(splits) - self._splits:
            if not is_split(split):
                raise DatasetError(
                    f"The corpus {self._corpus.name} has the split {split!r}; a split's name may hold letters, digits, "
                    "underscores and single dots, such as 'train.clean.100'."
                )
            self._splits.add(split)
        values: dict[str, list[Any]] = {
            "split": splits,
            "seconds": list(seconds),
            "shard": [None] * len(utterances),
        }
        columns = {
            name: _array(name, values.get(name) or [getattr(item, name) for item in utterances], kind)
            for name, kind in PLAN_COLUMNS
        }
        if any(item.fault is not None for item in utterances):
            columns[FAULT] = pa.array([item.fault for item in utterances], type=pa.string())
        names = dict.fromkeys(name for item in utterances for name in item.extra)
        for name in names:
            columns[OWN + name] = _array(name, [item.extra.get(name) for item in utterances])
        try:
            self._runs.add(pa.table(columns))
        except pa.ArrowException as error:
            reason = " ".join(str(error).split()).replace(OWN, "")
            named = re.search(r"Field (.+?) has incompatible", reason)
            raise DatasetError(_mixed(named[1] if named else "", reason)) from error


def _own_names(names: Iterable[str], info: TokenizerInfo) -> dict[str, str]:
    """Return the name that each of the corpus's own columns has here."""
    names = dict.fromkeys(names)
    taken = column_names(info) | {name for name, _ in PLAN_COLUMNS} | {FAULT}
    found = {}
    for name in names:
        ours = name
        while ours in taken or (ours != name and ours in names):
            ours = f"corpus_{ours}"
        found[name] = ours
    return found


def _array(name: str, values: list[Any], kind: pa.DataType | None = None) -> pa.Array:
    try:
        return pa.array(values, type=kind)
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        reason = " ".join(str(error).split())
        raise DatasetError(_mixed(name, reason)) from error


def _mixed(name: str, reason: str) -> str:
    return f"The manifest's column {name} mixes types or holds what Parquet cannot: {reason}."
