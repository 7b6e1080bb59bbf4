"""Phones by espeak-ng, through phonemizer: the door to both. They are under the GPL, and optional.

Contents: `check_voice`, `library_version`, `phones_of`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from speechtok.errors import AnnotationError


def check_voice(voice: str) -> None:
    """Raise `AnnotationError` when espeak-ng has no such voice."""
    known = _backend_class().supported_languages()
    if voice not in known:
        raise AnnotationError(
            f"espeak-ng has no voice '{voice}'; it has {len(known)}, such as {', '.join(sorted(known)[:5])}, de and en-us."
        )


def library_version() -> str:
    """Return the version of the library."""
    return ".".join(map(str, _backend_class().version()))


def phones_of(text: str, voice: str) -> list[str]:
    """Return the phones of a text in IPA, marks of stress included; none where nothing is spoken."""
    from phonemizer.separator import Separator

    (found,) = _backend(voice).phonemize(
        [text], separator=Separator(phone=" ", word="\n", syllable=""), strip=True
    )
    return str(found).split()


@cache
def _backend(voice: str) -> Any:
    return _backend_class()(voice, with_stress=True, language_switch="remove-flags")


@cache
def _backend_class() -> Any:
    """Return phonemizer's class, with the library of espeakng-loader in it."""
    import espeakng_loader
    from phonemizer.backend import EspeakBackend
    from phonemizer.backend.espeak.wrapper import EspeakWrapper

    EspeakWrapper.set_library(espeakng_loader.get_library_path())
    EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
    return EspeakBackend
