"""Long recordings as several utterances."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal

from speechtok.audio.blocks import SEGMENT_SLACK_SECONDS
from speechtok.audio.io import probe_audio, read_blocks
from speechtok.audio.segment import even_cuts, quiet_cuts
from speechtok.audio.vad import VAD_RATE, Span, speech_spans
from speechtok.corpora.corpus import Corpus, Unique
from speechtok.corpora.slices import Pairs
from speechtok.errors import AudioError, DatasetError
from speechtok.storage import AnyPath, join
from speechtok.utterances import Utterance, cut_at_end

SegmentWay = Literal["vad", "silence", "fixed"]
WITHOUT_SPEECH = "without speech"
"""How recordings in which nobody speaks are counted."""


class Segmenter:
    """Cuts utterances longer than `max_seconds` into segments.

    A segment is called `<id>-<start ms>-<end ms>`, times from the beginning of the utterance, with eight
    digits so that names sort by time. It keeps the columns of the utterance but for `text`, of which nobody
    knows which part belongs where. Recordings that cannot be read are left as they are; the job will say what
    is wrong with them.

    Args:
        root: folder that relative paths start from.
        way: "silence" cuts at quiet moments and "fixed" every `max_seconds`, and neither loses a sample;
            "vad" keeps only speech.
        max_seconds: longest utterance, at least 1.
        on_block: called before each block that is read.

    Raises:
        AudioError: if the voice activity detector is not installed.
    """

    def __init__(
        self, root: AnyPath, way: SegmentWay, max_seconds: float, on_block: Callable[[], None] = lambda: None
    ) -> None:
        self._root, self._way, self._max_seconds, self._on_block = root, way, max_seconds, on_block
        if way == "vad":
            speech_spans([], max_seconds)  # says at once that it is not installed

    def __call__(self, utterance: Utterance) -> list[Utterance]:
        """Return the segments of an utterance: itself if it is short, nothing if nobody speaks in it."""
        stated = utterance.seconds
        if utterance.fault is not None or (stated is not None and stated <= self._max_seconds):
            return [utterance]
        try:
            measured, segment = self._measured(utterance), utterance.segment_seconds
            if stated is None:
                segment = cut_at_end(segment, measured.seconds)
            if segment is not None and segment > (measured.seconds or 0.0) + SEGMENT_SLACK_SECONDS:
                return [measured]  # of which not all is there
            spans = self._spans(replace(measured, segment_seconds=segment))
        except AudioError:
            return [utterance]
        return [measured] if spans == () else _segments(measured, spans or ())

    def _measured(self, utterance: Utterance) -> Utterance:
        """Return the utterance with its length by the header of its recording."""
        seconds = probe_audio(join(self._root, utterance.audio)).duration - utterance.start
        if utterance.segment_seconds is not None:
            seconds = min(seconds, utterance.segment_seconds)
        return replace(utterance, seconds=seconds) if seconds > 0 else utterance

    def _spans(self, utterance: Utterance) -> tuple[Span, ...] | None:
        """Return the spans of an utterance in ms: none for a whole one, None for one without speech."""
        path, seconds = join(self._root, utterance.audio), utterance.seconds or 0.0
        if seconds <= self._max_seconds:
            return ()
        end = math.ceil(seconds * 1000 - 1e-6)  # a segment may end after its recording by that little
        reading: dict[str, Any] = {"start": utterance.start, "duration": utterance.segment_seconds}
        if self._way == "fixed":
            cuts = even_cuts(end, self._max_seconds)
        elif self._way == "silence":
            rate = probe_audio(path).sample_rate
            cuts = quiet_cuts(self._watched(read_blocks(path, **reading)), rate, self._max_seconds)
        else:
            blocks = self._watched(read_blocks(path, sample_rate=VAD_RATE, **reading))
            spans = speech_spans(blocks, self._max_seconds)
            return tuple((first, min(last, end)) for first, last in spans) or None
        return tuple(pairwise([0, *cuts, end])) if cuts else ()

    def _watched(self, blocks: Iterator[Any]) -> Iterator[Any]:
        self._on_block()
        for block in blocks:
            yield block
            self._on_block()


def segment_corpus(corpus: Corpus, way: SegmentWay, max_seconds: float) -> Corpus:
    """Return the corpus with every utterance longer than `max_seconds` in segments, as `Segmenter` cuts them.

    Utterances without any speech are left out and counted.

    Args:
        corpus: what was read.
        way: see `Segmenter`.
        max_seconds: see `Segmenter`.

    Raises:
        AudioError: if the voice activity detector is not installed.
        DatasetError: when iterated, if a segment would have the id of another utterance, or nobody speaks.
    """
    cut = Segmenter(corpus.root, way, max_seconds)

    def read() -> Pairs:
        is_empty = True
        for utterance in corpus.utterances:
            found = cut(utterance)
            if not found:
                corpus.ignored[WITHOUT_SPEECH] += 1
            for item in found:
                yield item, item.audio
                is_empty = False
        if is_empty and corpus.ignored[WITHOUT_SPEECH]:
            raise DatasetError(nobody_speaks(corpus))

    return replace(corpus, utterances=Unique(read, corpus.name))


def nobody_speaks(corpus: Corpus) -> str:
    """Return what is said of a corpus in which no utterance has speech."""
    return f"Nobody speaks in {corpus.name}, as far as the voice activity detector hears."


def _segments(utterance: Utterance, spans: tuple[Span, ...]) -> list[Utterance]:
    found = []
    for first, last in spans:
        seconds = (last - first) / 1000
        if utterance.segment_seconds is not None:
            seconds = min(seconds, utterance.segment_seconds - first / 1000)
        item = replace(
            utterance,
            id=f"{utterance.id}-{first:08d}-{last:08d}",
            start=utterance.start + first / 1000,
            segment_seconds=seconds,
            seconds=seconds,
            text=None,
        )
        found.append(item)
    return found
