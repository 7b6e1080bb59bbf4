"""The record that corpora yield: where one utterance lies and what is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

RESERVED_COLUMNS = (
    "id",
    "num_samples",
    "duration",
    "audio",
    "source_sample_rate",
    "text",
    "speaker",
    "language",
)
"""Columns every token dataset has, in their order; a manifest cannot redefine what they mean."""

CORPUS_FORMATS = (
    *("folder", "kaldi", "hugging_face", "webdataset", "fairseq", "lhotse", "manifest"),
    *("audiofolder", "common_voice", "ljspeech", "vctk", "librispeech", "libritts"),
)
"""Formats of corpora, by the names that a corpus and `--corpus-format` have for them."""
OVERSHOOT_SECONDS = 0.5
"""How far a segment, whose length its corpus states by begin and end alone, may reach beyond its recording and is
then cut there, as Kaldi's `extract-segments` does when nothing else is asked for."""


def cut_at_end(segment: float | None, seconds: float | None) -> float | None:
    """Return the length to read of a segment: None, which is to the end, if it reaches little beyond it.

    Args:
        segment: seconds, as the corpus says; None runs to the end.
        seconds: those there are of it; None if it is not known.
    """
    if segment is None or seconds is None or not seconds < segment <= seconds + OVERSHOOT_SECONDS:
        return segment
    return None


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One recording, or a segment of one, that becomes one row of a token dataset."""

    id: str
    """Unique in the corpus."""
    audio: str
    """Where the recording lies: a path, relative to the corpus root when it is below it, or a place inside a
    file, as `speechtok.audio.location` writes it."""
    start: float = 0.0
    """Seconds from the beginning of the recording where the utterance starts."""
    segment_seconds: float | None = None
    """Length of the segment in seconds; None runs to the end of the recording."""
    seconds: float | None = None
    """Length of the utterance as the corpus states it; None leaves that to the header of the recording."""
    split: str | None = None
    """Split of the dataset the corpus puts it in; None leaves that to the job."""
    text: str | None = None
    """Transcript."""
    speaker: str | None = None
    """Speaker label."""
    language: str | None = None
    """Language tag, such as "en-US"."""
    fault: str | None = None
    """Why it cannot be read, where the corpus shows that already; it goes to quarantine and is not opened."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Other columns of the corpus, as they came: strings, numbers, booleans or None."""
