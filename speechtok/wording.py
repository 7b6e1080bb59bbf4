"""Numbers as people read them."""

from __future__ import annotations

import math


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
