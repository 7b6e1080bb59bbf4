"""What a dataset says of the columns that annotations have added: which, of what unit, and what made them.

Contents: `Column`, `Provenance`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

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
        texts = [made.name, *made.files, *made.files.values()]
        texts += [
            value for item in columns for value in (item.description, item.unit or "", item.source or "")
        ]
        maps = (made.settings, made.files, made.facts)
        if not (
            isinstance(made.version, int)
            and all(isinstance(item, str) for item in texts)
            and all(isinstance(item, dict) for item in maps)
        ):
            raise TypeError("its values are of other kinds")
        return made


def _arrow_type(text: str) -> pa.DataType:
    if isinstance(text, str) and text.startswith("list<") and text.endswith(">") and text.count("<") < 4:
        return pa.list_(_arrow_type(text[5:-1]))
    if text not in _TYPES:
        raise ValueError(f"A column has one of the types {', '.join(_TYPES)} or list<…>, not {text!r}.")
    return _TYPES[text]
