"""Lists of units: fairseq's `name|1 2 3`, and the dictionary literals that unit vocoders are trained from.

Source: fairseq, examples/textless_nlp/gslm/speech2unit, `quantize_with_kmeans.py` (writer of the first);
`facebookresearch/speech-resynthesis`, `scripts/parse_hubert_codes.py` and its cpc and vqvae256 kin (of the second).

Conventions: one utterance a line, UTF-8. A dictionary has `audio` (a path), units as text under `hubert`,
`cpc_km100`, `vqvae256` or `codes`, and `duration` in seconds; `id` where it is not the path, and `pitch` codes, are
ours, and other readers pass over them. Dictionaries are parsed as literals and never evaluated.

Contents: `UnitLine`, `units_line`, `dict_line`, `read_unit_lines`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechtok.errors import DatasetError
from speechtok.formats.codecs_txt import Codes
from speechtok.formats.lines import read_lines
from speechtok.limits import RECORDING_SECONDS

UNIT_KEYS = ("cpc_km100", "vqvae256", "hubert", "codes")
"""Keys units may stand under, in the order in which the published reader looks for them."""
_STRINGS = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")
_MAX_SYNTAX = 10_000
"""Characters of a dictionary outside its strings."""


@dataclass(frozen=True, kw_only=True)
class UnitLine:
    """What one line holds."""

    place: str
    """File and line number, for messages."""
    key: str
    """Id of the utterance."""
    units: Codes
    """`(frames,)`, int64."""
    audio: str
    """Path of the recording; the key where the format has none."""
    seconds: float | None = None
    """Length of the audio, where it is stated."""
    pitch: Codes | None = None
    """`(frames,)`, int64, pitch codes, where they are there."""


def units_line(key: str, units: Codes | Sequence[int]) -> str:
    """Return the `name|1 2 3` line of one utterance, with its end.

    Raises:
        DatasetError: when the key is empty, holds white space or `|`, or begins like a dictionary.
    """
    if key.split() != [key] or "|" in key or key.startswith("{"):
        raise DatasetError(
            f"The id '{key}' cannot be a name in a unit file, which must not be empty, hold white space or '|', "
            "or begin with '{'; rename it."
        )
    return f"{key}|{_text(units)}\n"


def dict_line(
    audio: str,
    units: Codes | Sequence[int],
    seconds: float,
    *,
    unit_key: str = "hubert",
    key: str | None = None,
    pitch: Codes | Sequence[int] | None = None,
) -> str:
    """Return the dictionary literal of one utterance, without a line end.

    Args:
        audio: path of the recording.
        units: codes.
        seconds: length of the audio.
        unit_key: one of `UNIT_KEYS`.
        key: id of the utterance, stated where it is not `audio`.
        pitch: pitch codes, stated where there are any.
    """
    values: dict[str, object] = {"audio": audio, unit_key: _text(units), "duration": seconds}
    if key is not None and key != audio:
        values["id"] = key
    if pitch is not None:
        values["pitch"] = _text(pitch)
    return repr(values)


def read_unit_lines(path: Path) -> Iterator[UnitLine]:
    """Yield every utterance of a file of either kind; empty lines are skipped.

    Raises:
        DatasetError: when the file cannot be read, or naming the number of a malformed line.
    """
    for _, place, line in read_lines(path):
        yield _parse_dict(line, place) if line.startswith("{") else _parse_units(line, place)


def _parse_units(line: str, place: str) -> UnitLine:
    key, bar, text = line.partition("|")
    key = key.strip()
    if not bar or not key:
        raise DatasetError(f"{place} must be 'name|units' or a dictionary with units, got '{line[:60]}'.")
    return UnitLine(place=place, key=key, units=_codes(text, f"{place} ('{key}')"), audio=key)


def _parse_dict(line: str, place: str) -> UnitLine:
    is_short = len(_STRINGS.sub("", line)) <= _MAX_SYNTAX  # a syntax tree takes a hundred times its text
    try:
        # Safe because it builds plain values from the syntax tree: names and calls are refused, nothing runs.
        values = ast.literal_eval(line) if is_short else None
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        values = None
    if not isinstance(values, dict) or not isinstance(values.get("audio"), str):
        raise DatasetError(
            f"{place} is no dictionary of plain values with the key 'audio', got '{line[:60]}'."
        )
    where = f"{place} ('{values['audio']}')"
    name = next((name for name in UNIT_KEYS if name in values), None)
    if name is None:
        raise DatasetError(f"{where} holds no units: it has none of the keys {', '.join(UNIT_KEYS)}.")
    seconds, pitch = values.get("duration"), values.get("pitch")
    if seconds is not None and not (isinstance(seconds, int | float) and 0 < seconds <= RECORDING_SECONDS):
        raise DatasetError(
            f"{where} has the duration {repr(seconds)[:60]}, which is no number of seconds up to {RECORDING_SECONDS:g}."
        )
    return UnitLine(
        place=place,
        key=str(values.get("id", values["audio"])),
        units=_codes(values[name], where),
        audio=values["audio"],
        seconds=seconds,
        pitch=None if pitch is None else _codes(pitch, where),
    )


def _codes(text: object, where: str) -> Codes:
    try:
        return np.array(str(text).replace(",", " ").split(), dtype=np.int64)
    except (ValueError, OverflowError):
        raise DatasetError(f"{where} must hold units as whole numbers, got '{str(text)[:60]}'.") from None


def _text(codes: Codes | Sequence[int]) -> str:
    return " ".join(map(str, codes))
