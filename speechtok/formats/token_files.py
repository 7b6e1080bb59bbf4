"""Codes as people publish them: `.npy` files, one per utterance, or JSON lines.

An array has an axis of codebooks and one of frames, in either order, or is flat: the codes of a frame follow each other, coarse
codebooks first. Ids may begin elsewhere than at 0, and each codebook may have ids of its own, one range after the other, as
vocabularies of language models have.

Contents: `CodeLayout`, `read_json_codes`, `read_npy_codes`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speechtok.errors import DatasetError
from speechtok.formats.codecs_txt import Codes
from speechtok.formats.lines import read_lines
from speechtok.limits import parse_json, require_regular_file

AXES = ("KT", "TK", "flat")
"""Orders of an array's values: (codebooks, frames), (frames, codebooks), or frame after frame."""


@dataclass(frozen=True, kw_only=True)
class CodeLayout:
    """Says where codes lie in such files, and which ids they have."""

    axes: str | None = None
    """One of `AXES`; None takes flat values of one codebook alone."""
    num_codebooks: int = 1
    """Codebooks of a flat array."""
    codes_field: str = "codes"
    """Field of a JSON object with the codes, or such fields with commas between them, one for each codebook."""
    id_field: str = "id"
    """Field of a JSON object with the id of the utterance."""
    first_id: int = 0
    """Id of code 0 of the first codebook."""
    own_ids: bool = False
    """Whether codebook k has ids of its own, from `first_id` + k × codebook size."""

    def codes(self, values: Any, where: str, codebook_size: int) -> Codes:
        """Return values as codes `(codebooks, frames)`, int64.

        Args:
            values: array or nested lists.
            where: place for messages.
            codebook_size: codes of each codebook.

        Raises:
            DatasetError: naming the place, when values are no whole numbers, have another shape, or ids out of range.
        """
        try:
            array = np.asarray(values)
        except (ValueError, OverflowError):
            array = np.asarray(None)
        if array.dtype.kind not in "iu" or not array.size:
            raise DatasetError(f"{where} must hold whole numbers in a rectangular array.")
        shape = array.shape
        if array.ndim == 3 and shape[0] == 1:
            array = array[0]
        if array.ndim == 1 and (self.axes == "flat" or self.num_codebooks == 1):
            if array.size % self.num_codebooks:
                raise DatasetError(
                    f"{where} has {array.size} codes, which are no whole frames of {self.num_codebooks} codebooks."
                )
            array = array.reshape(-1, self.num_codebooks).T
        elif array.ndim == 2 and self.axes in ("KT", "TK"):
            array = array.T if self.axes == "TK" else array
        elif array.ndim == 2 and self.axes is None:
            raise DatasetError(
                f"{where} is of shape {shape}; say which axis holds codebooks with --axes KT or --axes TK."
            )
        else:
            raise DatasetError(f"{where} is of shape {shape}, which does not go with --axes {self.axes}.")
        first = self.first_id + self.own_ids * codebook_size * np.arange(len(array))[:, None]
        wrong = (array < first) | (array >= first + codebook_size)
        if wrong.any():
            book, frame = (int(at) for at in np.argwhere(wrong)[0])
            start = int(first[min(book, len(first) - 1), 0])
            raise DatasetError(
                f"{where} has the id {array[book, frame]} in codebook {book}, frame {frame}, outside "
                f"[{start}, {start + codebook_size})."
            )
        return array.astype(np.int64) - first


def read_json_codes(
    path: Path, layout: CodeLayout, codebook_size: int
) -> Iterator[tuple[str, str, Codes, int | None]]:
    """Yield place, id, codes `(codebooks, frames)` and `num_samples`, where it is stated, of each line.

    Raises:
        DatasetError: naming the line of whatever cannot be read.
    """
    fields = layout.codes_field.split(",")
    for _, place, line in read_lines(path):
        item = parse_json(line, place, error=DatasetError)
        if not isinstance(item, dict):
            raise DatasetError(f"{place} must be a JSON object, but is {type(item).__name__}.")
        missing = [name for name in (layout.id_field, *fields) if name not in item]
        if missing:
            raise DatasetError(
                f"{place} lacks the field {missing[0]!r}; it has: {', '.join(map(repr, item))[:200]}."
            )
        key, samples = item[layout.id_field], item.get("num_samples")
        if not isinstance(key, str) or not key:
            raise DatasetError(f"{place} must have a text as {layout.id_field!r}, got {key!r}.")
        if samples is not None and (type(samples) is not int or samples < 1):
            raise DatasetError(f"{place} must have a whole number from 1 as 'num_samples', got {samples!r}.")
        where = f"{place} ('{key[:200]}')"
        if len(fields) == 1:
            yield place, key, layout.codes(item[fields[0]], where, codebook_size), samples
            continue
        by_codebook = CodeLayout(axes="KT", first_id=layout.first_id, own_ids=layout.own_ids)
        yield place, key, by_codebook.codes([item[name] for name in fields], where, codebook_size), samples


def read_npy_codes(
    path: Path, layout: CodeLayout, codebook_size: int
) -> Iterator[tuple[str, str, Codes, int | None]]:
    """Yield place, id, codes `(codebooks, frames)` and None of each `.npy` file in a folder, or of one file.

    The id is the path below the folder without `.npy`.

    Raises:
        DatasetError: naming the file that cannot be read.
    """
    files = sorted(path.rglob("*.npy")) if path.is_dir() else [path]
    for file in files:
        key = file.relative_to(path if path.is_dir() else path.parent).with_suffix("").as_posix()
        require_regular_file(file, error=DatasetError)
        try:  # mapped, so that a shape which the file does not hold takes no memory
            array = np.load(file, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError, SyntaxError, TypeError, MemoryError, OverflowError) as error:
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            raise DatasetError(f"{file} is not a plain .npy array ({reason}).") from None
        if not isinstance(array, np.ndarray):
            raise DatasetError(f"{file} is not a plain .npy array (it is an archive).")
        yield str(file), key, layout.codes(array, str(file), codebook_size), None
