"""Forced alignment of English by pocketsphinx, with the acoustic model and the lexicon of its package: the door to it.

Two passes: the words, with whichever pronunciation and pauses fit best, then the phones inside them. All state of the front end is reset before
each pass, so a row gives the same boundaries whatever was aligned before it.

Source: Huggins-Daines et al. 2006, PocketSphinx, ICASSP; the interface of pocketsphinx 5 (`Decoder.set_align_text`, `set_alignment`).

Contents: `RATE`, `PHONES`, `MISFIT`, `align`, `model_files`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechtok.annotations.aligned import Aligned
from speechtok.annotations.lexicon import Pronunciation
from speechtok.annotations.phones import without_stress
from speechtok.errors import AnnotationError
from speechtok.formats.intervals import Interval
from speechtok.storage import file_sha256

RATE = 16000
"""Hz of the audio that the model takes."""
FRAME_RATE = 100
"""Hz of the frames of the model."""
WINDOW_SECONDS = 0.025625
"""Audio that a frame of the model looks at, from its number × 10 ms on."""
OFFSET_SECONDS = WINDOW_SECONDS / 2 - 0.5 / FRAME_RATE
"""What is added to a boundary in frames: it lies between the middles of the windows on its sides."""
PHONES = tuple(
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH".split()  # noqa: SIM905
)
"""Phones of the model, besides silence."""
MISFIT = -23.0
"""Mean score of a frame of words, as pocketsphinx counts it, below which the text is another's: the true texts of 55 recordings have −18 or more,
those of 196 pairs that do not belong together −33 or less, or no path at all. One to three words alone tell little: of 275 that are not said, 55 pass."""
_OPTIONS = {
    "loglevel": "FATAL",
    "bestpath": False,
    "cmn": "batch",
    "dither": False,
    "beam": 1e-100,
    "pbeam": 1e-100,
    "wbeam": 1e-80,
}
"""Beams are wide, so that it is the score that tells of another text."""


def model_files() -> dict[str, str]:
    """Return the sha256 of each file of the model and of the lexicon, by name."""
    import pocketsphinx

    folder = Path(pocketsphinx.get_model_path("en-us"))
    places = [*sorted((folder / "en-us").iterdir()), folder / "cmudict-en-us.dict"]
    return {place.name: file_sha256(place) for place in places if place.is_file()}


def align(
    waveform: NDArray[np.float32],
    words: Sequence[str],
    lexicon: Mapping[str, Pronunciation],
    *,
    min_score: float,
) -> Aligned:
    """Return where the words and their phones lie.

    Args:
        waveform: `(samples,)` at `RATE`, full scale is [-1, 1].
        words: words that the package's lexicon has, or `lexicon`.
        lexicon: further words; marks of stress are left aside.
        min_score: mean score of a frame of words that is needed.

    Raises:
        AnnotationError: when the words do not fit the audio, or a pronunciation has phones that the model does not know.
    """
    data = (np.clip(waveform, -1, 1) * 32767).astype("<i2").tobytes()
    pronounced = {
        word: _phones(word, lexicon[word]) for word in words if _decoder().lookup_word(word) is None
    }
    try:
        found = _two_passes(data, words, pronounced)
    except RuntimeError:
        _decoder.cache_clear()  # an utterance may be open in it
        raise AnnotationError(
            "The text does not fit the audio: pocketsphinx finds no path through it."
        ) from None
    parts = [phone for name, phones in found if _is_word(name) for phone in phones]
    mean = sum(phone.score for phone in parts) / max(1, sum(phone.duration for phone in parts))
    if mean < min_score:
        raise AnnotationError(
            f"The text does not fit the audio: a frame scores {mean:.0f} on average, and {min_score:g} is needed."
        )
    return _aligned(found)


def _two_passes(
    data: bytes, words: Sequence[str], pronounced: Mapping[str, Sequence[str]]
) -> list[tuple[str, list[Any]]]:
    """Return each word or filler with its phones.

    Raises:
        RuntimeError: when there is no path.
    """
    if not data:
        raise RuntimeError("there is no audio")
    decoder = _decoder()
    for word, phones in pronounced.items():
        decoder.add_word(word, " ".join(phones))
    decoder.reinit_feat()
    decoder.set_align_text(" ".join(words))
    _decode(decoder, data)
    if decoder.hyp() is None:
        raise RuntimeError("there is no path of words")
    decoder.reinit_feat()
    decoder.set_alignment()
    _decode(decoder, data)
    return [(word.name, list(word)) for word in decoder.get_alignment()]


def _decode(decoder: Any, data: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(data, full_utt=True)
    decoder.end_utt()


def _aligned(found: Sequence[tuple[str, Sequence[Any]]]) -> Aligned:
    """Return words and phones; what is no word is silence."""
    words: list[Interval] = []
    phones: list[Interval] = []
    for name, parts in found:
        is_word = _is_word(name)
        phones += [_interval(part.start, part.duration, part.name if is_word else "") for part in parts]
        if is_word and parts:
            length = sum(part.duration for part in parts)
            words.append(_interval(parts[0].start, length, re.sub(r"\(\d+\)$", "", name)))
    return Aligned(phones=tuple(phones), words=tuple(words))


def _is_word(name: str) -> bool:
    return name[0] not in "<[+"


def _interval(start: int, frames: int, label: str) -> Interval:
    begin, end = (round(frame / FRAME_RATE + OFFSET_SECONDS, 4) for frame in (start, start + frames))
    return Interval(start=begin, end=end, label=label)


def _phones(word: str, phones: Pronunciation) -> list[str]:
    found = [without_stress(phone) for phone in phones]
    for phone in found:
        if phone not in PHONES:
            raise AnnotationError(
                f"The lexicon gives '{word}' the phone {phone!r}, which pocketsphinx does not know; write it with {' '.join(PHONES)}."
            )
    return found


@cache
def _decoder() -> Any:
    from pocketsphinx import Decoder

    return Decoder(**_OPTIONS)
