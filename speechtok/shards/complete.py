"""Is all of a dataset there? Told by what costs little: names, footers and the plan's number of utterances."""

from __future__ import annotations

import re
from collections.abc import Sequence

from speechtok.errors import DatasetError
from speechtok.shards.layout import Layout
from speechtok.shards.parquet import open_parquet
from speechtok.shards.plan import has_plan, read_json
from speechtok.storage import AnyPath
from speechtok.wording import count_text

_SHARD = re.compile(r"(?P<split>.+)-(?P<index>\d{5,})-of-(?P<count>\d{5,})\.parquet")


_ADVICE = "Run its job again, or read what is there with allow_partial=True (--allow-partial); `speechtok verify` names what is missing."


def name_of_shard(file: AnyPath) -> tuple[str, int, int] | None:
    """Return split, number and count that a shard's name states; None when the name is no shard's."""
    found = _SHARD.fullmatch(file.name)
    return None if found is None else (found["split"], int(found["index"]), int(found["count"]))


def check_complete(path: AnyPath, files: Sequence[AnyPath], *, all_splits: bool) -> None:
    """Raise `DatasetError` when shards of a dataset, or some of its utterances, are missing.

    Args:
        path: the dataset, or one file, of which nothing else is expected.
        files: its shards, or those of one split.
        all_splits: whether `files` are all that there are; the plan's utterances are then counted too.
    """
    if path.is_file():
        return
    there: dict[str, dict[int, set[int]]] = {}
    for file in files:
        found = name_of_shard(file)
        if found is not None:
            split, index, count = found
            there.setdefault(split, {}).setdefault(count, set()).add(index)
    for split, counts in there.items():
        if len(counts) > 1:
            listed = " and ".join(f"{count:,}" for count in sorted(counts))
            raise DatasetError(
                f"{path} holds shards of split '{split}' that was cut into {listed} of them; keep those of one job. {_ADVICE}"
            )
        ((count, indices),) = counts.items()
        if len(indices) < count:
            first = next(number for number in range(count) if number not in indices)
            raise DatasetError(
                f"{path} is unfinished or has lost shards: {count - len(indices):,} of {count:,} of split '{split}' are missing, "
                f"the first is number {first}. {_ADVICE}"
            )
    layout = Layout(path)
    if all_splits and has_plan(layout):
        _check_utterances(layout, files)


def _check_utterances(layout: Layout, files: Sequence[AnyPath]) -> None:
    """Raise `DatasetError` when rows and quarantine are fewer than the utterances of the plan, or more."""
    planned = read_json(layout.plan).get("utterances")
    failed: list[AnyPath] = sorted(layout.quarantine("any").parent.glob("*.parquet"), key=str)
    rows, quarantined = (
        sum(open_parquet(file).metadata.num_rows for file in some) for some in (files, failed)
    )
    if planned != rows + quarantined:
        raise DatasetError(
            f"{layout.root} is unfinished or damaged: its plan has {planned} utterances, but "
            f"{count_text(rows, 'row')} and {quarantined:,} in quarantine are there. {_ADVICE}"
        )
