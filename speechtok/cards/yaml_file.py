"""Read a YAML mapping into a frozen dataclass, naming whatever does not fit."""

from __future__ import annotations

import difflib
import math
import re
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

import dacite
import yaml

from speechtok.errors import CardError
from speechtok.limits import YAML_BYTES, YAML_VALUES, read_bytes
from speechtok.wording import size_text

T = TypeVar("T")

_SIXTIES_APART = {
    "tag:yaml.org,2002:int": re.compile(r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]+|0|[1-9][0-9_]*)$"),
    "tag:yaml.org,2002:float": re.compile(
        r"([-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+][0-9]+)?|\.[0-9][0-9_]*([eE][-+][0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
    ),
}
"""What is a number in YAML 1.1, but for those of base 60."""


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in the YAML file at `path`.

    Raises:
        CardError: when the file is missing, is not YAML, or does not hold a mapping.
    """
    try:
        text = read_bytes(path, YAML_BYTES, error=CardError).decode("utf-8")
    except UnicodeDecodeError as error:
        raise CardError(f"{path} cannot be read as YAML: {error}.") from error
    content = _parse(text, f"{path} cannot be read as YAML")
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
    return _parse(text, f"{source} holds no YAML value")


def _parse(text: str, complaint: str) -> Any:
    """Return the value of a YAML text, of bounded length, depth and expansion.

    Raises:
        CardError: beginning with `complaint`.
    """
    if len(text) > YAML_BYTES:
        raise CardError(f"{complaint}: it is longer than {size_text(YAML_BYTES)}.")
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except RecursionError:
        raise CardError(f"{complaint}: it is nested too deeply.") from None
    except (yaml.YAMLError, ValueError, OverflowError, TypeError) as error:  # numbers and dates that are none
        raise CardError(f"{complaint}: {' '.join(str(error).split())}.") from error


class _Loader(yaml.SafeLoader):
    """Plain values alone, aliases that stay small when written out, keys that occur once, finite numbers.

    `190:20:30` is a text, not a number of base 60.
    """

    def get_single_data(self) -> Any:
        node = self.get_single_node()
        if node is None:
            return None
        if _written_out(node, {}) > YAML_VALUES:
            raise yaml.YAMLError("it holds too many values, aliases written out")
        return self.construct_document(node)

    def construct_yaml_float(self, node: Any) -> float:
        value: float = super().construct_yaml_float(node)
        if not math.isfinite(value):
            raise yaml.YAMLError(f"the number {reprlib.repr(node.value)} is not finite")
        return value


_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, _SIXTIES_APART.get(tag, pattern)) for tag, pattern in resolvers]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _written_out(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many values a node holds, each alias counted as what it stands for.

    Raises:
        YAMLError: when a mapping has a key twice.
    """
    if id(node) not in known:
        known[id(node)] = YAML_VALUES + 1  # while it is looked into: one that holds itself has no end
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        if isinstance(node, yaml.MappingNode):
            _refuse_twins(node)
        parts = [part for item in inner for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = min(1 + sum(_written_out(part, known) for part in parts), YAML_VALUES + 1)
    return known[id(node)]


def _refuse_twins(node: yaml.MappingNode) -> None:
    keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    for (_, name), count in Counter(keys).items():
        if count > 1:
            raise yaml.YAMLError(f"the key {reprlib.repr(name)} occurs twice")


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
            raise CardError(
                f"{source} has {reprlib.repr(content[name])} in field {name}, which must be a list."
            )
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
            f"{source} has {reprlib.repr(error.value)} in field {error.field_path}, which must be of type {wanted}."
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
