"""TextGrid files of Praat, as the Montreal Forced Aligner writes them: long and short form, UTF-8 or UTF-16.

Source: Praat manual, "TextGrid file formats": a text file is a stream of free-standing numbers, texts in double quotes (a quote inside is
doubled) and flags in angle brackets; everything else, such as `xmin =`, is for human readers, and so is what follows a free-standing `!`. Both forms
are the same stream.

Contents: `TextGrid`, `read_textgrid`, `parse_textgrid`, `format_textgrid`.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from speechtok.errors import DatasetError
from speechtok.formats.intervals import Interval
from speechtok.limits import ALIGNMENT_BYTES, read_bytes
from speechtok.storage import AnyPath

_TOKEN = re.compile(
    r'"((?:[^"]|"")*)"|(?<!\S)<(\w+)>(?!\S)|(?<!\S)([-+]?\d[\d.]*(?:[eE][-+]?\d+)?)(?!\S)|(?<!\S)![^\n]*'
)
_INTERVALS, _POINTS = "IntervalTier", "TextTier"
_BOMS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16", codecs.BOM_UTF8: "utf-8-sig"}


@dataclass(frozen=True, kw_only=True)
class TextGrid:
    """The interval tiers of one recording."""

    seconds: float
    """Length of the recording."""
    tiers: tuple[tuple[str, tuple[Interval, ...]], ...]
    """Name and intervals of each interval tier, in order; tiers of points are left out. Names may repeat."""


def read_textgrid(path: AnyPath) -> TextGrid:
    """Return the interval tiers of a file.

    Raises:
        DatasetError: naming the file and, where it is malformed, the line.
    """
    return parse_textgrid(read_bytes(path, ALIGNMENT_BYTES, "TextGrid", error=DatasetError), str(path))


def parse_textgrid(content: bytes, source: str) -> TextGrid:
    """Return the interval tiers of the bytes of a file.

    Args:
        content: long or short form, UTF-8 or, with a byte order mark, UTF-16.
        source: what messages call it.

    Raises:
        DatasetError: naming `source` and, where it is malformed, the line.
    """
    encoding = next((name for bom, name in _BOMS.items() if content.startswith(bom)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{source} is neither UTF-8 nor UTF-16 ({error.reason} at byte {error.start}); save it as UTF-8."
        ) from None
    stream = _Stream(text, source)
    kind, what = stream.text(), stream.text()
    if not kind.startswith("ooTextFile") or what != "TextGrid":
        raise DatasetError(f"{source} is no TextGrid: it begins with {kind[:20]!r} and {what[:20]!r}.")
    start, end = stream.number(), stream.number()
    tiers = []
    if stream.flag() == "exists":
        for _ in range(stream.count()):
            is_intervals, name, intervals = _tier(stream, start)
            if is_intervals:
                tiers.append((name, intervals))
    return TextGrid(seconds=end - start, tiers=tuple(tiers))


def _tier(stream: _Stream, origin: float) -> tuple[bool, str, tuple[Interval, ...]]:
    kind = stream.text()
    if kind not in (_INTERVALS, _POINTS):
        raise stream.error(f"has a tier of the kind {kind[:20]!r}, not {_INTERVALS} or {_POINTS}")
    name, _, _ = stream.text(), stream.number(), stream.number()
    intervals = []
    for _ in range(stream.count()):
        start = stream.number() - origin
        end = stream.number() - origin if kind == _INTERVALS else start
        intervals.append(Interval(start=start, end=end, label=stream.text()))
    return kind == _INTERVALS, name, tuple(intervals)


class _Stream:
    """The numbers, texts and flags of a file, one after the other."""

    def __init__(self, text: str, source: str) -> None:
        self._text, self._source, self._place = text, source, 0
        self._tokens: Iterator[re.Match[str]] = _TOKEN.finditer(text)

    def error(self, what: str) -> DatasetError:
        line = self._text.count("\n", 0, self._place) + 1
        return DatasetError(f"{self._source} line {line} {what}; write it again with Praat or the aligner.")

    def text(self) -> str:
        return self._next(1, "a text in quotes").replace('""', '"')

    def flag(self) -> str:
        return self._next(2, "a flag such as <exists>")

    def number(self) -> float:
        found = self._next(3, "a number")
        try:
            value = float(found)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.error(f"has {found[:20]!r} instead of a number")
        return value

    def count(self) -> int:
        value = self.number()
        if value < 0 or value != int(value):
            raise self.error(f"has {value:g} instead of a count")
        return int(value)

    def _next(self, group: int, wanted: str) -> str:
        for token in self._tokens:
            self._place = token.start()
            if token.lastindex is None:
                continue  # a comment
            if token.lastindex != group:
                raise self.error(f"has {token.group()[:20]!r} instead of {wanted}")
            return token.group(group)
        raise self.error(f"is the last that can be read, but {wanted} should follow")


def format_textgrid(tiers: Mapping[str, Sequence[Interval]], seconds: float) -> str:
    """Return interval tiers in the long form; what no interval covers becomes an empty one.

    Args:
        tiers: name → intervals, in order and without overlap.
        seconds: length of the recording.
    """
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {seconds!r}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, given) in enumerate(tiers.items(), 1):
        intervals = list(_without_gaps(given, seconds))
        lines += [
            f"    item [{number}]:",
            f'        class = "{_INTERVALS}"',
            f"        name = {_quoted(name)}",
        ]
        lines += ["        xmin = 0", f"        xmax = {seconds!r}"]
        lines += [f"        intervals: size = {len(intervals)}"]
        for place, item in enumerate(intervals, 1):
            lines += [f"        intervals [{place}]:", f"            xmin = {item.start!r}"]
            lines += [f"            xmax = {item.end!r}", f"            text = {_quoted(item.label)}"]
    return "\n".join(lines) + "\n"


def _without_gaps(intervals: Sequence[Interval], seconds: float) -> Iterator[Interval]:
    """Yield intervals that cover all of the recording, empty ones where there was none."""
    end = 0.0
    for item in intervals:
        if item.start > end:
            yield Interval(start=end, end=item.start, label="")
        yield item
        end = item.end
    if end < seconds:
        yield Interval(start=end, end=seconds, label="")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
