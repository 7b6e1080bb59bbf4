"""The symbols of a dataset's phones, which become the text part of a vocabulary.

Contents: `phone_set`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.compute as pc

from speechtok.errors import DatasetError

if TYPE_CHECKING:
    from speechtok.shards.reader import TokenDataset


def phone_set(dataset: TokenDataset, column: str = "phones") -> tuple[str, ...]:
    """Return the symbols of a column of phones in the order of their ids: `Vocabulary.of(dataset.info, text=phone_set(dataset))`.

    The annotation that made the column states them where it knows them, as those of a lexicon and of an aligner do. Otherwise
    they are the ones that occur, sorted.

    Args:
        dataset: the dataset.
        column: `phones` of the text, or `phone` of an alignment, which has silence too.

    Raises:
        DatasetError: when there is no such column, or it holds no lists or strings.
    """
    for made in dataset.annotations:
        if "phone_set" in made.facts and any(item.name == column for item in made.columns):
            return tuple(map(str, made.facts["phone_set"]))
    cells = dataset.column(column)
    kind = cells.type
    if str(kind) == "string":
        cells = pc.utf8_split_whitespace(pc.drop_null(cells))
    elif not str(kind).startswith(("list<", "large_list<")):
        raise DatasetError(
            f"The column '{column}' of {dataset.path} holds {kind}, neither lists nor strings of phones."
        )
    found = pc.unique(pc.list_flatten(cells)).to_pylist()
    return tuple(sorted(symbol for symbol in found if symbol))
