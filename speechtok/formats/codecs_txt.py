"""FunCodec's `codecs.txt`: one line per utterance, its key and its codes as JSON.

Source: repository `modelscope/FunCodec`, `funcodec/bin/codec_inference.py` (writer).

Conventions: a line is the key, one space and a JSON array of shape (segments, codebooks, frames) with
JSON's default separators; FunCodec's recipes write one segment. Codes are `(codebooks, frames)`, coarse
codebooks first. Lines are UTF-8 and end with a line feed.

Contents: `codecs_line`, `parse_codecs_line`, `read_codecs`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from speechtok.errors import DatasetError
from speechtok.formats.lines import read_lines

Codes = np.ndarray[Any, np.dtype[np.int64]]


def codecs_line(key: str, codes: Codes) -> str:
    """Return the line of one utterance, with its end.

    Args:
        key: id of the utterance.
        codes: `(codebooks, frames)`.

    Raises:
        DatasetError: when the key is empty or holds white space, which would end it early.
    """
    if not key or len(key.split()) != 1:
        raise DatasetError(
            f"The id '{key}' cannot be a key of codecs.txt, which must not be empty or hold white space; rename it."
        )
    return f"{key} {json.dumps([codes.tolist()])}\n"


def parse_codecs_line(line: str, place: str) -> tuple[str, Codes]:
    """Return key and codes of one line.

    Two-dimensional arrays (codebooks, frames) are accepted too, as FunCodec reads them.

    Args:
        line: with or without its end.
        place: file and line number for messages.

    Raises:
        DatasetError: naming the place, when the line is no key with a rectangular array of codes.
    """
    key, *rest = line.split(maxsplit=1)
    if not rest:
        raise DatasetError(f"{place} must be 'key codes', got '{line.strip()[:60]}'.")
    try:
        values = json.loads(rest[0])
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DatasetError(f"{place} ('{key[:200]}') holds no JSON: {reason}.") from None
    if _depth(values) == 3:
        if len(values) != 1:
            raise DatasetError(
                f"{place} ('{key}') holds {len(values)} segments; only utterances encoded whole can be read."
            )
        values = values[0]
    try:
        codes = np.array(values)
    except (ValueError, OverflowError):
        codes = np.array(None)
    if codes.ndim != 2 or codes.dtype.kind not in "iu" or not codes.size:
        raise DatasetError(f"{place} ('{key}') must hold whole numbers of shape (1, codebooks, frames).")
    return key, codes.astype(np.int64)


def read_codecs(path: Path) -> Iterator[tuple[int, str, Codes]]:
    """Yield line number, key and codes of every utterance; empty lines are skipped.

    Args:
        path: the file.

    Raises:
        DatasetError: when the file cannot be read, or naming the number of a corrupt line.
    """
    for number, place, line in read_lines(path):
        yield number, *parse_codecs_line(line, place)


def _depth(values: object) -> int:
    depth = 0
    while isinstance(values, list):
        depth, values = depth + 1, values[0] if values else None
    return depth
