"""Numbers as people read them, and texts from data as terminals, Markdown and JSON can show them."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

_JOINERS = "\u200c\u200d"
"""Characters without a shape of their own that some scripts and emoji need."""


def labels_text(labels: Mapping[str, int]) -> str:
    """Return "10 with text, 3 with speaker, none with language" of counts by label."""
    return ", ".join(
        f"{count:,} with {name}" if count else f"none with {name}" for name, count in labels.items()
    )


def duration_text(seconds: float) -> str:
    """Return a length of time: "44.2 s", "12 min 03 s", "1 h 05 min", "1,234 h"."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    if minutes < 6000:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{seconds / 3600:,.0f} h"


def size_text(size: float) -> str:
    """Return a number of bytes in decimal units: "79.9 kB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def rate_text(bits_per_second: float) -> str:
    """Return a bit rate: "825 bit/s", "14.47 kbit/s"."""
    if bits_per_second < 1000:
        return f"{bits_per_second:.0f} bit/s"
    return f"{bits_per_second / 1000:.4g} kbit/s"


def count_text(count: int, noun: str, plural: str | None = None) -> str:
    """Return a count with its noun: "1 row", "2 rows"."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def number_text(value: float | None) -> str:
    """Return a measured value with four digits: "0.9314", "12.35", "∞", or "–" for none."""
    if value is None:
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def printable(text: object) -> str:
    """Return a text from data as one line that a terminal shows as it is.

    Whatever moves the cursor, starts a command of the terminal, ends a line, or changes the direction of writing is
    spelled out, as Python does; so are bytes that are no text. Joiners of scripts and emoji stay.
    """
    line = str(text)
    if line.isprintable():
        return line
    return "".join(char if _is_harmless(char) else char.encode("unicode_escape").decode() for char in line)


def markdown_text(text: object) -> str:
    """Return a text from data as one line of Markdown without links, images, code, tables or HTML of its own."""
    return re.sub(r"[\\`<\[\]|]", r"\\\g<0>", printable(text))


def markdown_code(text: object) -> str:
    """Return a text from data as code in a cell of a Markdown table."""
    line = printable(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    space = " " if line.startswith("`") or line.endswith("`") or not line.strip() else ""
    return fence + space + line.replace("|", "\\|") + space + fence


def json_text(value: Any) -> str:
    """Return a value as indented JSON in which whatever a terminal would not show as it is is escaped."""
    lines = json.dumps(value, indent=1, ensure_ascii=False).split("\n")  # no other line feed is left in them
    return "\n".join("".join(map(_json_char, line)) for line in lines)


def _is_harmless(char: str) -> bool:
    return char.isprintable() or char in _JOINERS or unicodedata.category(char) == "Zs"


def _json_char(char: str) -> str:
    return char if _is_harmless(char) else json.dumps(char)[1:-1]
