"""Languages of rows, as far as the corpus states them.

Contents: `check_language`.
"""

from __future__ import annotations

import re

from speechtok.errors import AnnotationError

_NAMES = {"english": "en", "eng": "en", "german": "de", "deu": "de", "ger": "de", "french": "fr", "fra": "fr"}
"""Other names of languages than those of two letters."""


def primary(language: str) -> str:
    """Return the language alone of a tag such as en-US, in small letters."""
    first = re.split(r"[-_]", language.strip().lower())[0]
    return _NAMES.get(first, first)


def check_language(stated: object, wanted: str, what: str) -> None:
    """Refuse a row that states another language; one that states none is taken as it is.

    Args:
        stated: the row's `language`.
        wanted: a tag such as en or en-US.
        what: what is for the wanted language alone, such as "the lexicon".

    Raises:
        AnnotationError: naming both.
    """
    if isinstance(stated, str) and stated and primary(stated) != primary(wanted):
        raise AnnotationError(f"The row is in '{stated}', but {what} is for '{wanted}'.")
