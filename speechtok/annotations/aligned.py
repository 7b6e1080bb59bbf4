"""What an aligner finds in a row: words and phones with their times.

Contents: `Aligned`.
"""

from __future__ import annotations

from dataclasses import dataclass

from speechtok.formats.intervals import Interval


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """Words and phones of one row; gaps and silences as the source has them."""

    phones: tuple[Interval, ...] | None = None
    """Phones in order; None when the source has none."""
    words: tuple[Interval, ...] | None = None
    """Words in order; None when the source has none."""
    source: str = ""
    """File that it is from, for messages; empty for what was aligned here."""
    seconds: float | None = None
    """Length of the recording as the source states it."""
