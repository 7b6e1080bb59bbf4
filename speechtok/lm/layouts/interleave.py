"""Text and speech in one sequence, as alternating spans.

A sequence is a list of spans, `("text", ids)` or `("speech", ids)`; each starts with the mark of its kind:
`<text> t0 t1 <speech> s0 s1 s2 <text> …`.

Sources: Nguyen et al. 2024, Spirit LM, arXiv:2402.05755, section 3.2 (spans that change at word boundaries);
Du et al. 2024, CosyVoice 2, arXiv:2412.10117, section 2.3 (so many text tokens, so many of speech, in turn).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from speechtok.errors import TokensError
from speechtok.lm.arrays import ArrayT, concatenated, filled

Kind = Literal["text", "speech"]
"""What a span holds."""


def alternate(text: ArrayT, speech: ArrayT, num_text: int, num_speech: int) -> list[tuple[Kind, ArrayT]]:
    """Return text and speech in turn, `num_text` ids of one and `num_speech` of the other.

    When one of them ends, the other goes on in one last span. `gather` undoes it.

    Args:
        text: `(length,)` ids.
        speech: `(length,)` ids; give `num_speech` in whole frames of a flat layout.
        num_text: ids of a span of text, at least 1.
        num_speech: ids of a span of speech, at least 1.
    """
    if num_text < 1 or num_speech < 1:
        raise ValueError(f"`num_text` and `num_speech` must be at least 1, got {num_text} and {num_speech}.")
    both = min(-(-text.shape[0] // num_text), -(-speech.shape[0] // num_speech))
    spans: list[tuple[Kind, ArrayT]] = []
    for turn in range(both):
        last = turn == both - 1
        text_stop = None if last and both * num_speech >= speech.shape[0] else (turn + 1) * num_text
        spans.append(("text", text[turn * num_text : text_stop]))
        spans.append(("speech", speech[turn * num_speech : None if last else (turn + 1) * num_speech]))
    return spans or [("text", text), ("speech", speech)]


def alternate_at(
    text: ArrayT, speech: ArrayT, borders: Sequence[tuple[int, int]], is_speech: Sequence[bool]
) -> list[tuple[Kind, ArrayT]]:
    """Return each segment of an utterance in one of its two forms, as text or as speech.

    Neighbours of one kind become one span. What was left out is not in the sequence, so the inverse gives back
    the segments as they were chosen.

    Args:
        text: `(length,)` ids of the whole utterance.
        speech: `(length,)` ids of the whole utterance.
        borders: for each segment, such as a word, where it ends in `text` and in `speech`.
        is_speech: for each segment, whether to take its speech.
    """
    if len(borders) != len(is_speech):
        raise ValueError(
            f"`borders` and `is_speech` must be equally long, got {len(borders)} and {len(is_speech)}."
        )
    spans: list[tuple[Kind, ArrayT]] = []
    before = (0, 0)
    for border, chosen in zip(borders, is_speech, strict=True):
        if not (before[0] <= border[0] <= text.shape[0] and before[1] <= border[1] <= speech.shape[0]):
            raise TokensError(
                f"Borders must rise and stay within {text.shape[0]} text and {speech.shape[0]} speech ids, "
                f"got {border} after {before}."
            )
        kind: Kind = "speech" if chosen else "text"
        part = speech[before[1] : border[1]] if chosen else text[before[0] : border[0]]
        if spans and spans[-1][0] == kind:
            spans[-1] = (kind, concatenated([spans[-1][1], part]))
        else:
            spans.append((kind, part))
        before = border
    return spans


def join_spans(spans: Sequence[tuple[Kind, ArrayT]], text_mark: int, speech_mark: int) -> ArrayT:
    """Return the spans as one sequence, each behind the mark of its kind."""
    marks = {"text": text_mark, "speech": speech_mark}
    if not spans:
        raise ValueError("`spans` must hold at least one span.")
    parts = [part for kind, ids in spans for part in (filled(ids, (1,), marks[kind]), ids)]
    return concatenated(parts)


def split_spans(sequence: ArrayT, text_mark: int, speech_mark: int) -> list[tuple[Kind, ArrayT]]:
    """Return the spans that `join_spans` joined.

    Raises:
        TokensError: when the sequence does not start with a mark.
    """
    is_mark = (sequence == text_mark) | (sequence == speech_mark)
    starts: list[int] = [index for index, found in enumerate(is_mark.tolist()) if found]
    if sequence.shape[0] and (not starts or starts[0] != 0):
        raise TokensError(
            f"A sequence of text and speech must start with the mark {text_mark} or {speech_mark}, got {int(sequence[0])}."
        )
    stops = [*starts[1:], sequence.shape[0]]
    return [
        ("text" if int(sequence[start]) == text_mark else "speech", sequence[start + 1 : stop])
        for start, stop in zip(starts, stops, strict=True)
    ]


def gather(spans: Sequence[tuple[Kind, ArrayT]], like: ArrayT) -> tuple[ArrayT, ArrayT]:
    """Return all text and all speech of a list of spans: the inverse of `alternate`.

    Args:
        spans: the spans.
        like: any array of the kind that is wanted, for when there is no text or no speech.
    """
    found: dict[str, list[Any]] = {"text": [like[:0]], "speech": [like[:0]]}
    for kind, ids in spans:
        found[kind].append(ids)
    return concatenated(found["text"]), concatenated(found["speech"])
