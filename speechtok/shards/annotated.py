"""What a dataset says of the columns that annotations have added: which, of what unit, and what made them.

Contents: `Column`, `Provenance`, `Entry`, `Annotated`, `read_annotated`, `annotated_bytes`, `rows_sha256`, `settle`.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from speechtok import limits
from speechtok.errors import DatasetError
from speechtok.shards.layout import Layout, check_split, is_there, json_bytes
from speechtok.storage import flush

_TYPES = {
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
}


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column that an annotation gives; each of its cells may be null."""

    name: str
    """Name of the column."""
    type: str
    """"bool", "int32", "int64", "float32", "float64" or "string", or "list<…>" of one of these types, such as "list<string>"."""
    description: str
    """What a cell holds, in one sentence without a full stop."""
    unit: str | None = None
    """Unit, such as "Hz" or "dB"; None for what has none."""
    source: str | None = None
    """Paper, standard or library that defines the value."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise ValueError(
                f"A column is named in small letters, digits and underscores, not {self.name!r}."
            )
        _ = self.arrow_type

    @property
    def arrow_type(self) -> pa.DataType:
        """The type as Arrow has it."""
        return _arrow_type(self.type)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What made some columns of a dataset."""

    name: str
    """Name of the annotation."""
    version: int
    """Version of its method."""
    settings: Mapping[str, Any]
    """Its settings, as JSON values."""
    files: Mapping[str, str]
    """Sha256 of each model file, by the file's name."""
    columns: tuple[Column, ...]
    """The columns it has made."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else readers need to know of the columns, as JSON values."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Columns of other annotations that it has taken, each with the `identity` of what had made it."""

    @property
    def identity(self) -> str:
        """32 hexadecimal digits that are the same for what makes the same values: of all but `facts`."""
        plain = json.dumps({**self.to_dict(), "facts": None}, sort_keys=True)
        return hashlib.sha256(plain.encode()).hexdigest()[:32]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Provenance:
        """Return what `to_dict` gave.

        Raises:
            KeyError, TypeError, ValueError: when it is something else.
        """
        columns = tuple(Column(**item) for item in values["columns"])
        made = cls(**{**values, "columns": columns})
        texts = [made.name, *made.files, *made.files.values(), *made.inputs, *made.inputs.values()]
        texts += [
            value for item in columns for value in (item.description, item.unit or "", item.source or "")
        ]
        maps = (made.settings, made.files, made.facts, made.inputs)
        if not (
            isinstance(made.version, int)
            and all(isinstance(item, str) for item in texts)
            and all(isinstance(item, dict) for item in maps)
        ):
            raise TypeError("its values are of other kinds")
        return made


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One annotation of a dataset."""

    provenance: Provenance
    """What made its columns."""
    rows_sha256: str
    """Hash of what tells the rows it was made of, see `rows_sha256`; the dataset may have got others since."""
    failed: int
    """Rows that it has no value for."""


@dataclass(frozen=True, kw_only=True)
class Annotated:
    """What annotations have added to a dataset."""

    entries: tuple[Entry, ...] = ()
    """The annotations, in the order in which they were made."""
    quarantine: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By split, `rows`, `bytes` and `sha256` of the file of the rows that some annotation has no value for."""

    @property
    def provenances(self) -> tuple[Provenance, ...]:
        """What made the columns."""
        return tuple(entry.provenance for entry in self.entries)


def read_annotated(layout: Layout) -> Annotated:
    """Return what annotations have added to a dataset; nothing where there is no record of it.

    Raises:
        DatasetError: when the record is damaged.
    """
    path = layout.current(layout.annotations)
    if not is_there(path):
        return Annotated()
    content = limits.read_json(path, error=DatasetError)
    try:
        entries = tuple(
            Entry(**{**item, "provenance": Provenance.from_dict(item["provenance"])})
            for item in content["annotations"]
        )
        for split, item in content["quarantine"].items():
            check_split(split, str(path))
            if not (int(item["rows"]) >= 0 and int(item["bytes"]) >= 0 and isinstance(item["sha256"], str)):
                raise ValueError(f"what it says of {split!r} cannot be")
        if not all(isinstance(item.failed, int) and isinstance(item.rows_sha256, str) for item in entries):
            raise TypeError("its values are of other kinds")
        return Annotated(entries=entries, quarantine=content["quarantine"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise DatasetError(
            f"{path} is no record of annotations that speechtok makes ({error!r}); restore it, or make the dataset again."
        ) from error


def annotated_bytes(annotated: Annotated) -> bytes:
    """Return the record of annotations as a file."""
    return json_bytes(
        {
            "annotations": [asdict(entry) for entry in annotated.entries],
            "quarantine": dict(annotated.quarantine),
        }
    )


def rows_sha256(parts_sha256: Iterable[str]) -> str:
    """Return a hash of what tells the rows of a dataset: the hashes of the parts of each file, in order."""
    return hashlib.sha256(" ".join(parts_sha256).encode()).hexdigest()


def settle(layout: Layout) -> None:
    """Bring files with new columns to their places, the manifest last; for whoever may write to the dataset.

    Until a file is in its place, readers find it where it is: see `Layout.current`. So the dataset is whole at any moment.
    """
    folder = layout.annotated
    if (
        not isinstance(folder, Path)
        or not isinstance(layout.root, Path)
        or folder.is_symlink()
        or not folder.is_dir()
    ):
        return
    wanted = (
        "data/*.parquet",
        "quarantine/annotations/*.parquet",
        ".speechtok/annotations.json",
        "README.md",
        "manifest.parquet",
    )
    for pattern in wanted:
        for path in sorted(folder.glob(pattern)):
            place = layout.root / path.relative_to(folder)
            if path.is_file() and not path.is_symlink():
                place.parent.mkdir(parents=True, exist_ok=True)
                path.replace(place)
                flush(place.parent)
    for old in (layout.annotating, folder):
        if isinstance(old, Path):
            with suppress(FileNotFoundError):
                shutil.rmtree(old)


def _arrow_type(text: str) -> pa.DataType:
    if isinstance(text, str) and text.startswith("list<") and text.endswith(">") and text.count("<") < 4:
        return pa.list_(_arrow_type(text[5:-1]))
    if text not in _TYPES:
        raise ValueError(f"A column has one of the types {', '.join(_TYPES)} or list<…>, not {text!r}.")
    return _TYPES[text]
