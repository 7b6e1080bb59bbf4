"""Which files hold the tokens of a dataset, and is all of it there? Told by what costs little: the manifest, or names and footers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from speechtok.errors import DatasetError
from speechtok.shards.layout import Layout, check_split
from speechtok.shards.ledger import is_version_1, listed_parts, listing
from speechtok.shards.manifest import FileRecord, read_file_record, read_manifest
from speechtok.shards.parquet import open_parquet
from speechtok.shards.parts import read_part
from speechtok.shards.plan import has_plan, read_json
from speechtok.storage import AnyPath
from speechtok.wording import count_text

_FILE = re.compile(r"(?P<split>.+)-(?P<index>\d{5,})-of-(?P<count>\d{5,})\.parquet")


_ADVICE = "Run its job again, or read what is there with allow_partial=True (--allow-partial); `speechtok verify` names what is missing."


@dataclass(frozen=True)
class TokenFile:
    """One Parquet file of tokens."""

    path: AnyPath
    """Where it lies."""
    split: str
    """The split it belongs to; a file alone is a split of its own name."""
    record: FileRecord | None = None
    """What the manifest says of it."""


def token_files(path: AnyPath, split: str | None = None, *, allow_partial: bool = False) -> list[TokenFile]:
    """Return the files of a token dataset, or the file itself.

    Args:
        path: a dataset, or one file.
        split: only those of this split; None takes all.
        allow_partial: take what is there of an unfinished or damaged dataset.

    Raises:
        DatasetError: when there are none, or some are missing; the splits there are get named.
    """
    if path.is_file():
        return [TokenFile(path, _split_of(path))]
    layout = Layout(path)
    records = read_manifest(layout)
    if records is None:
        if not is_version_1(layout) and (listing(layout.parts) or has_plan(layout)):
            if not allow_partial:
                raise DatasetError(f"{path} is unfinished: it has no manifest. {_ADVICE}")
            return _of_split(path, _unfinished(layout, []), split)
        plain = [file for file in layout.data.glob("*.parquet") if not file.name.startswith(".")]
        files = _of_split(path, [TokenFile(file, _split_of(file)) for file in sorted(plain, key=str)], split)
        if not allow_partial:
            _check_complete(path, [file.path for file in files], all_splits=split is None)
        return files
    folders = [layout.data, layout.annotated / "data"] if layout.is_moving else [layout.data]
    names = {file.name for folder in folders for file in listing(folder)}
    gone = [
        item.file
        for item in records
        if item.file.rpartition("/")[2] not in names and split in (None, item.split)
    ]
    if gone and not allow_partial:
        raise DatasetError(
            f"{path} is unfinished or has lost files: {len(gone):,} of {len(records):,} are missing, the first is {gone[0]}. {_ADVICE}"
        )
    there = [item for item in records if item.file.rpartition("/")[2] in names]
    found = _unfinished(layout, there) if gone else [_recorded(layout, item) for item in there]
    return _of_split(path, found, split)


def _recorded(layout: Layout, record: FileRecord) -> TokenFile:
    return TokenFile(layout.current(layout.root / record.file), record.split, record)


def _unfinished(layout: Layout, files: Sequence[FileRecord]) -> list[TokenFile]:
    """Return the files that are proven, and the parts whose rows are in none of them."""
    names = {file.name for file in listing(layout.data)}
    known = {item.file: item for item in files}
    for proof in listing(layout.state / "files"):
        record = read_file_record(layout, proof.name)
        if record is not None and record.file.rpartition("/")[2] in names:
            known[record.file] = record
    covered = {
        (number, item.split)
        for item in known.values()
        for number in range(item.first_part, item.last_part + 1)
    }
    found = [_recorded(layout, item) for item in known.values()]
    records, there = listed_parts(layout)
    for number in records:
        part = read_part(layout, number) if number in there else None
        splits = [item.split for item in part.splits if item.rows] if part is not None else []
        if splits and (number, splits[0]) not in covered:
            found.append(TokenFile(layout.part(number), splits[0]))
    return sorted(found, key=lambda file: (file.split, str(file.path)))


def _of_split(path: AnyPath, files: list[TokenFile], split: str | None) -> list[TokenFile]:
    if not files:
        raise DatasetError(f"{path} holds no token dataset: there is no Parquet file in {path / 'data'}.")
    chosen = [file for file in files if split in (None, file.split)]
    if not chosen:
        have = ", ".join(sorted({file.split for file in files}))
        raise DatasetError(f"{path} has no split '{split}'; it has: {have}.")
    return chosen


def _split_of(file: AnyPath) -> str:
    """Return the split that a file's name states; that of other Parquet files is their name.

    Raises:
        DatasetError: when it cannot be the name of a split.
    """
    found = _FILE.fullmatch(file.name)
    return check_split(file.stem if found is None else found["split"])


def _check_complete(path: AnyPath, files: Sequence[AnyPath], *, all_splits: bool) -> None:
    """Raise `DatasetError` when shards of a dataset, or some of its utterances, are missing.

    Args:
        path: a dataset without a manifest.
        files: its shards, or those of one split.
        all_splits: whether `files` are all that there are; the plan's utterances are then counted too.
    """
    there: dict[str, dict[int, set[int]]] = {}
    for file in files:
        found = _FILE.fullmatch(file.name)
        if found is not None:
            counts = there.setdefault(found["split"], {})
            counts.setdefault(int(found["count"]), set()).add(int(found["index"]))
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
