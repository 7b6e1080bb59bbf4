"""Lexicons: which phones a word has.

Source: Montreal Forced Aligner, user guide, "Pronunciation dictionary format": on each line a word, up to four probabilities, and the phones. With
tabs, the phones are what follows the last one; without, what follows the word and numbers with a point. CMUdict's `word(2)` is another
pronunciation of `word`, and a line that begins with `;;;` is a comment.

Contents: `Lexicon`, `read_lexicon`, `cmudict_path`, `spoken_words`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from speechtok.errors import AnnotationError, DatasetError
from speechtok.limits import ALIGNMENT_BYTES, read_bytes
from speechtok.storage import AnyPath, as_path

Pronunciation = tuple[str, ...]
_NUMBER = re.compile(r"\d*\.\d+(?:[eE][-+]?\d+)?")
_VARIANT = re.compile(r"\(\d+\)$")
_EDGE = re.compile(r"^[^\w']+|[^\w']+$")


@dataclass(frozen=True, eq=False)
class Lexicon:
    """Pronunciations of words, told apart without regard to case."""

    words: Mapping[str, Pronunciation]
    """The most probable pronunciation of each word; where none is more probable than others, the first."""

    @cached_property
    def phone_set(self) -> tuple[str, ...]:
        """All phones, sorted."""
        return tuple(sorted({phone for phones in self.words.values() for phone in phones}))

    def split(self, text: str) -> list[str]:
        """Return the words of a text as the lexicon has them.

        Words stand between white space; punctuation around them is left out. One with hyphens that the lexicon has not is
        taken as its parts.

        Raises:
            AnnotationError: naming the words that it has not, or when there are none.
        """
        found: list[str] = []
        missing: list[str] = []
        for word in spoken_words(text):
            parts = self._known(word)
            found += parts or []
            missing += [] if parts else [word]
        if missing:
            listed = ", ".join(dict.fromkeys(missing))
            raise AnnotationError(
                f"The lexicon has no {listed}; write the text out, or add what is missing to a lexicon."
            )
        if not found:
            raise AnnotationError("The text has no words.")
        return found

    def _known(self, word: str) -> list[str] | None:
        for form in (word, word.strip("'")):
            if form in self.words:
                return [form]
        parts = [part for part in word.split("-") if part]
        known = [self._known(part) for part in parts] if len(parts) > 1 else [None]
        return None if None in known else [form for some in known if some for form in some]


def spoken_words(text: str) -> Iterator[str]:
    """Yield the words of a text in lower case, without punctuation around them, apostrophes straight."""
    for word in text.replace("’", "'").casefold().split():
        bare = _EDGE.sub("", word)
        if any(character.isalnum() for character in bare):
            yield bare


@cache
def read_lexicon(*paths: str) -> Lexicon:
    """Return the lexicon of a file; words that several files have are as in the last.

    Raises:
        AnnotationError: when one cannot be read, or naming a line without phones.
    """
    words: dict[str, Pronunciation] = {}
    for path in paths:
        try:
            content = read_bytes(as_path(path), ALIGNMENT_BYTES, "lexicon", error=DatasetError)
            words |= parse_lexicon(content.decode("utf-8-sig"), path).words
        except DatasetError as error:
            raise AnnotationError(str(error)) from error
        except UnicodeDecodeError as error:
            raise AnnotationError(
                f"{path} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8."
            ) from None
    return Lexicon(words)


def parse_lexicon(text: str, source: str) -> Lexicon:
    """Return the lexicon of a text.

    Raises:
        AnnotationError: naming `source` and a line without phones.
    """
    words: dict[str, Pronunciation] = {}
    best: dict[str, float] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith(";;;"):
            continue
        word, probability, phones = _fields(line)
        if not phones:
            raise AnnotationError(
                f"{source} line {number} must be a word and its phones, got '{line.strip()[:60]}'."
            )
        name = _VARIANT.sub("", word).casefold()
        if probability > best.get(name, -1.0):
            words[name], best[name] = tuple(phones), probability
    if not words:
        raise AnnotationError(f"{source} has no words, so it is no lexicon.")
    return Lexicon(words)


def _fields(line: str) -> tuple[str, float, Sequence[str]]:
    """Return the word, its probability and its phones; none where the line has none."""
    if "\t" in line.strip():
        word, *numbers, phones = line.strip().split("\t")
        found = phones.split()
    else:
        word, *found = line.split()
        numbers = []
        while found and len(numbers) < 4 and _NUMBER.fullmatch(found[0]):
            numbers.append(found.pop(0))
    try:
        return word.strip(), float(numbers[0]) if numbers else 1.0, found
    except ValueError:
        return word, 1.0, ()


def cmudict_path() -> AnyPath:
    """Return where pocketsphinx keeps its English lexicon: the CMU Pronouncing Dictionary, without stress.

    Raises:
        ImportError: when the package is not installed.
    """
    import pocketsphinx

    return Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"))
