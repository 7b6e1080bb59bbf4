"""Text as it is spoken: numbers in words, small letters, no punctuation.

Conventions: numbers are read as cardinals (1984 is one thousand nine hundred and eighty four) unless years are asked for, in English those with an
ending as ordinals (1st).
Nothing is guessed: a symbol or a mixture of digits and letters that the rules do not know is a failure that names it.

Contents: `TextNormalized`, `normalize`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speechtok.annotations.base import Annotation, Row
from speechtok.annotations.language import primary
from speechtok.annotations.packages import check_packages
from speechtok.errors import AnnotationError
from speechtok.shards.annotated import Column
from speechtok.tokens import StreamInfo

ENGLISH = {
    r"\bMr\.?(?=\s)": "mister",
    r"\bMrs\.?(?=\s)": "missus",
    r"\bDr\.?(?=\s+[A-Z])": "doctor",
    r"\bMessrs\.?(?=\s)": "messieurs",
    r"(?<=\s)&(?=\s)": "and",
    r"(?<=\d)\s*%": " percent",
}
"""Pattern → what it is read as, in English."""
YEARS = range(1100, 2000)
"""Whole numbers that can be read as years."""
_QUOTES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "…": " ", "\u00ad": ""})
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*(?:[^\W\d_]+)?|[^\W\d_]+\d\w*")
_ORDINAL = re.compile(r"(\d+)(?:st|nd|rd|th)", re.IGNORECASE)
_ENGLISH_NUMBER = re.compile(r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")


@dataclass(frozen=True, kw_only=True)
class TextNormalized(Annotation):
    """The text with numbers in words, in small letters, without punctuation but apostrophes inside words."""

    name, version, needs, uses = "text_normalized", 1, frozenset({"text"}), ("language",)

    language: str | None = None
    """Language of the texts, such as en or de; None takes the one that each row states."""
    years: bool = False
    """Read whole numbers from 1100 to 1999 as years: 1984 as nineteen eighty four."""

    def columns(self, streams: Sequence[StreamInfo]) -> tuple[Column, ...]:
        what = "text as it is spoken: numbers in words, small letters, no punctuation"
        return (Column(name="text_normalized", type="string", description=what, source="num2words"),)

    def files(self) -> Mapping[str, str]:
        check_packages(self.name, ("num2words",), "text")
        return {}

    def __call__(self, row: Row) -> Mapping[str, Any]:
        language = self.language or row.columns.get("language")
        if not language:
            raise AnnotationError(
                "The row states no language; give it with --set text_normalized.language=en."
            )
        return {"text_normalized": normalize(row.text or "", language, years=self.years)}


def normalize(text: str, language: str, *, years: bool = False) -> str:
    """Return a text as it is spoken.

    Args:
        text: the text.
        language: its language, such as en or en-US.
        years: read whole numbers of `YEARS` as years.

    Raises:
        AnnotationError: when nothing is left, or naming a symbol or number that the rules do not know.
    """
    tongue = primary(language)
    plain = unicodedata.normalize("NFC", text).translate(_QUOTES)
    if tongue == "en":
        for pattern, spoken in ENGLISH.items():
            plain = re.sub(pattern, spoken, plain)
    plain = _NUMBER.sub(lambda found: _spoken(found.group(), tongue, years=years), plain)
    unknown = [
        character
        for character in plain
        if not (character.isspace() or unicodedata.category(character)[0] in "LMP")
    ]
    if unknown:
        listed = ", ".join(repr(character) for character in dict.fromkeys(unknown))
        raise AnnotationError(f"The text has {listed}, which can be read in several ways; write it out.")
    kept = "".join(
        character if unicodedata.category(character)[0] in "LM" or character == "'" else " "
        for character in plain.lower()
    )
    words = [word.strip("'") for word in kept.split()]
    if not any(words):
        raise AnnotationError("The text has no words.")
    return " ".join(word for word in words if word)


def _spoken(number: str, language: str, *, years: bool) -> str:
    """Return a number in words.

    Raises:
        AnnotationError: when the rules do not know it, or the language.
    """
    from num2words import num2words

    ordinal = _ORDINAL.fullmatch(number) if language == "en" else None
    known = ordinal or number.isdecimal() or (language == "en" and _ENGLISH_NUMBER.fullmatch(number))
    if not known:
        raise AnnotationError(f"The text has {number!r}, which can be read in several ways; write it out.")
    try:
        if ordinal:
            return str(num2words(int(ordinal.group(1)), to="ordinal", lang=language))
        if years and len(number) == 4 and number.isdecimal() and int(number) in YEARS:
            return str(num2words(int(number), to="year", lang=language))
        return str(num2words(number.replace(",", ""), lang=language))
    except NotImplementedError:
        raise AnnotationError(
            f"There are no words for numbers in '{language}'; write {number!r} out."
        ) from None
    except (ArithmeticError, ValueError, IndexError, KeyError) as error:
        raise AnnotationError(f"The number {number[:40]!r} has no words ({error}); write it out.") from None
