"""Phones of a text, from a lexicon or from espeak-ng.

Conventions: one list of phones for a row, word after word, without marks between words and without silence; those of the audio, with silence, are
the annotation `alignment`'s. Stress stays where the source marks it: a digit after an ARPAbet vowel (0 none, 1 primary, 2 secondary), ˈ or ˌ before an
IPA vowel.

Contents: `Phones`, `without_stress`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from speechtok.annotations import espeak
from speechtok.annotations.base import LOCAL, Annotation, Row
from speechtok.annotations.language import check_language
from speechtok.annotations.lexicon import Lexicon, cmudict_path, read_lexicon
from speechtok.annotations.packages import check_packages
from speechtok.errors import AnnotationError
from speechtok.shards.annotated import Column
from speechtok.storage import as_path, file_sha256
from speechtok.tokens import StreamInfo

_STRESS = re.compile(r"(?<=[A-Z])[0-2]$|[ˈˌ]")


def without_stress(phone: str) -> str:
    """Return a phone without the digit after an ARPAbet vowel or the mark of IPA."""
    return _STRESS.sub("", phone)


@dataclass(frozen=True, kw_only=True)
class Phones(Annotation):
    """Phones of the normalized text where there is one, else of the text; of English words by default."""

    name, version, needs, uses = "phones", 1, frozenset({"text"}), ("text_normalized", "language")

    lexicon: str | None = field(default=None, metadata=LOCAL)
    """Lexicon in the format of the Montreal Forced Aligner; without it and `espeak`, English words have those of CMUdict, without stress."""
    espeak: str | None = None
    """Voice of espeak-ng to take instead of a lexicon, such as de or en-us."""
    stress: bool = True
    """Keep what the source marks of stress."""

    def __post_init__(self) -> None:
        if self.lexicon is not None and self.espeak is not None:
            raise ValueError(
                "Phones come from a lexicon or from espeak-ng; give `lexicon` or `espeak`, not both."
            )

    def columns(self, streams: Sequence[StreamInfo]) -> tuple[Column, ...]:
        source = "espeak-ng" if self.espeak else "lexicon" if self.lexicon else "CMU Pronouncing Dictionary"
        what = "phones of the text, word after word, without silence"
        return (Column(name="phones", type="list<string>", description=what, source=source),)

    def files(self) -> Mapping[str, str]:
        if self.espeak is not None:
            check_packages(self.name, ("phonemizer", "espeakng-loader"), "espeak")
            espeak.check_voice(self.espeak)
            return {}
        if self.lexicon is None:
            check_packages(self.name, ("pocketsphinx",), "align")
            return {"cmudict-en-us.dict": file_sha256(cmudict_path())}
        read_lexicon(self.lexicon)
        return {"lexicon": file_sha256(as_path(self.lexicon))}

    def facts(self) -> Mapping[str, Any]:
        kept = "kept where the source marks it" if self.stress else "left out"
        rule = f"stress is {kept}: a digit after an ARPAbet vowel, ˈ or ˌ before an IPA one"
        if self.espeak is not None:
            return {"stress": rule, "espeak_ng": espeak.library_version()}
        return {"stress": rule, "phone_set": list(dict.fromkeys(map(self._marked, self._lexicon.phone_set)))}

    def __call__(self, row: Row) -> Mapping[str, Any]:
        text = row.columns.get("text_normalized") or row.text or ""
        stated = row.columns.get("language")
        if self.espeak is not None:
            check_language(stated, self.espeak, "the voice of espeak-ng")
            found = espeak.phones_of(text, self.espeak)
        else:
            if self.lexicon is None:
                check_language(stated, "en", "CMUdict")
            found = [phone for word in self._lexicon.split(text) for phone in self._lexicon.words[word]]
        if not found:
            raise AnnotationError("The text has no words.")
        return {"phones": [self._marked(phone) for phone in found]}

    @property
    def _lexicon(self) -> Lexicon:
        return read_lexicon(str(cmudict_path()) if self.lexicon is None else self.lexicon)

    def _marked(self, phone: str) -> str:
        return phone if self.stress else without_stress(phone)
