"""Read a YAML mapping into a frozen dataclass, naming whatever does not fit."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

import dacite
import yaml

from speechtok.errors import CardError

T = TypeVar("T")


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in the YAML file at `path`.

    Raises:
        CardError: when the file is missing, is not YAML, or does not hold a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CardError(f"There is no file {path}.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise CardError(f"{path} cannot be read as YAML: {reason}.") from error
    if not isinstance(content, dict):
        raise CardError(
            f"{path} must hold a YAML mapping (`field: value` lines), but holds {type(content).__name__}."
        )
    return content


def parse_yaml(text: str, source: str) -> Any:
    """Return a value that is written as in a YAML file.

    Raises:
        CardError: naming `source`, when it is no YAML.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CardError(f"{source} holds no YAML value: {' '.join(str(error).split())}.") from error


def apply_changes(content: dict[str, Any], changes: Iterable[str]) -> None:
    """Set fields of a mapping, each as `NAME=VALUE` with a value as YAML has it.

    Args:
        content: the mapping, changed in place.
        changes: the name of a field inside a section follows a dot, such as `ray.workers=8`.

    Raises:
        CardError: when a change is not of that form, or its value is no YAML.
    """
    for change in changes:
        _apply(content, change)


def dump_yaml(content: Mapping[str, Any]) -> str:
    """Return a mapping as YAML text, fields in their order."""
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)


def build(kind: type[T], content: Mapping[str, Any], source: str) -> T:
    """Return a dataclass made from a mapping, strictly: no unknown field, every value of its type.

    Raises:
        CardError: naming `source`, the field and what is wrong with it.
    """
    for name, hint in get_type_hints(kind).items():
        if get_origin(hint) is tuple and not isinstance(content.get(name, []), list | tuple):
            raise CardError(f"{source} has {content[name]!r} in field {name}, which must be a list.")
    settings = dacite.Config(strict=True, cast=[tuple], type_hooks={float: _number})
    try:
        return dacite.from_dict(kind, content, settings)
    except dacite.UnexpectedDataError as error:
        known = list(_field_names(kind))
        unknown = sorted(str(key) for key in error.keys)
        hint = nearest(unknown[0], known)
        raise CardError(
            f"{source} has the unknown field{'s' * (len(unknown) > 1)} {', '.join(unknown)}{hint or '.'}"
        ) from None
    except dacite.MissingValueError as error:
        raise CardError(f"{source} lacks the field {error.field_path}.") from None
    except dacite.WrongTypeError as error:
        wanted = getattr(error.field_type, "__name__", str(error.field_type))
        raise CardError(
            f"{source} has {error.value!r} in field {error.field_path}, which must be of type {wanted}."
        ) from None
    except (dacite.DaciteError, TypeError, ValueError) as error:
        raise CardError(f"{source}: {error}") from error


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x' or 'y'?" for the known names nearest to `name`, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(repr(item) for item in close)}?" if close else ""


def _field_names(kind: Any) -> Iterator[str]:
    """Yield the names of a dataclass's fields, and of those of its sections."""
    hints = get_type_hints(kind)
    for item in fields(kind):
        yield item.name
        if is_dataclass(hints[item.name]):
            yield from _field_names(hints[item.name])


def _apply(content: dict[str, Any], change: str) -> None:
    name, equals, value = change.partition("=")
    *sections, field = name.split(".")
    if not equals or not all([*sections, field]):
        raise CardError(
            f"A field is set as NAME=VALUE, such as tokenizer=facodec or ray.workers=8, not as '{change}'."
        )
    for section in sections:
        inner = content.get(section)
        content[section] = dict(inner) if isinstance(inner, dict) else {}
        content = content[section]
    content[field] = parse_yaml(value, f"'{change}'")


def _number(value: Any) -> Any:
    """YAML writes 50 for 50.0; anything that is not a number is left for the type check to name."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
