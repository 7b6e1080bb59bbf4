"""Long recordings as several utterances."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Literal

from speechtok.audio.blocks import SEGMENT_SLACK_SECONDS
from speechtok.audio.io import probe_audio, read_blocks
from speechtok.audio.segment import even_cuts, quiet_cuts
from speechtok.audio.vad import VAD_RATE, Span, speech_spans
from speechtok.corpora.corpus import Corpus, Unique
from speechtok.corpora.slices import Pairs
from speechtok.errors import AudioError, DatasetError
from speechtok.storage import join
from speechtok.utterances import Utterance, cut_at_end

SegmentWay = Literal["vad", "silence", "fixed"]
SEGMENT_ID = r"(.*)-(\d{8,})-(\d{8,})"
"""The id of a segment: that of the utterance, begin and end in ms."""
READ_THREADS = 8
"""Recordings read at the same time."""
READ_AHEAD = 64
"""Utterances looked at ahead of the one that is asked for."""
WITHOUT_SPEECH = "without speech"
"""How recordings in which nobody speaks are counted."""


def segment_corpus(
    corpus: Corpus,
    way: SegmentWay,
    max_seconds: float,
    *,
    known: Mapping[str, tuple[Span, ...]] | None = None,
    on_planning: Callable[[int], None] = lambda recordings: None,
    on_probe: Callable[[], None] = lambda: None,
) -> Corpus:
    """Return the corpus with every utterance longer than `max_seconds` in segments.

    A segment is called `<id>-<start ms>-<end ms>`, times from the beginning of the utterance, with eight
    digits so that names sort by time. It keeps the columns of the utterance but for `text`, of which nobody
    knows which part belongs where. Recordings that cannot be read are left as they are; the job will say what
    is wrong with them. Those without any speech are left out and counted.

    Args:
        corpus: what was read.
        way: "silence" cuts at quiet moments and "fixed" every `max_seconds`, and neither loses a sample;
            "vad" keeps only speech.
        max_seconds: longest utterance, at least 1.
        known: segments that were found before, by id of the utterance; empty for one that is whole.
        on_planning: called with the number of recordings that have to be looked at, as far as is known.
        on_probe: called after each of these was looked at.

    Raises:
        AudioError: when iterated, if the voice activity detector is not installed.
        DatasetError: when iterated, if a segment would have the id of another utterance, or nobody speaks.
    """
    found: dict[str, tuple[Span, ...] | None] = dict(known or {})
    if way == "vad":
        speech_spans([], max_seconds)  # says at once that it is not installed

    def read() -> Pairs:
        corpus.ignored.pop(WITHOUT_SPEECH, None)
        is_empty = True
        for utterance, spans in _with_spans(corpus, way, max_seconds, found, on_planning, on_probe):
            if spans is None:
                corpus.ignored[WITHOUT_SPEECH] += 1
            else:
                for item in _segments(utterance, spans):
                    yield item, item.audio
                    is_empty = False
        if is_empty and corpus.ignored[WITHOUT_SPEECH]:
            raise DatasetError(
                f"Nobody speaks in {corpus.name}, as far as the voice activity detector hears."
            )

    return replace(corpus, utterances=Unique(read, corpus.name))


Looked = tuple[Utterance, tuple[Span, ...] | None]
"""An utterance and its spans: none for a whole one, None for one without speech."""


def _with_spans(
    corpus: Corpus,
    way: SegmentWay,
    max_seconds: float,
    found: dict[str, tuple[Span, ...] | None],
    on_planning: Callable[[int], None],
    on_probe: Callable[[], None],
) -> Iterator[Looked]:
    """Yield each utterance with its spans, and keep those in `found`."""

    def look(utterance: Utterance) -> Looked:
        try:
            utterance, stated = _measured(corpus, utterance), utterance.seconds
            segment = utterance.segment_seconds
            if stated is None:
                segment = cut_at_end(segment, utterance.seconds)
            if segment is not None and segment > (utterance.seconds or 0.0) + SEGMENT_SLACK_SECONDS:
                return utterance, ()  # of which not all is there
            read = replace(utterance, segment_seconds=segment)
            found[utterance.id] = spans = _spans(corpus, read, way, max_seconds)
        except AudioError:
            return utterance, ()
        return utterance, spans

    def finish(future: Future[Looked]) -> Looked:
        looked = future.result()
        on_probe()
        return looked

    waiting, asked = deque[Callable[[], Looked]](), 0
    with ThreadPoolExecutor(READ_THREADS) as pool:
        for utterance in corpus.utterances:
            if utterance.id in found:
                waiting.append(partial(_looked, utterance, found[utterance.id]))
            elif utterance.fault is not None or (
                utterance.seconds is not None and utterance.seconds <= max_seconds
            ):
                waiting.append(partial(_looked, utterance, ()))
            else:
                asked += 1
                on_planning(asked)
                waiting.append(partial(finish, pool.submit(look, utterance)))
            if len(waiting) > READ_AHEAD:
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()


def _looked(utterance: Utterance, spans: tuple[Span, ...] | None) -> Looked:
    return utterance, spans


def _measured(corpus: Corpus, utterance: Utterance) -> Utterance:
    """Return the utterance with its length by the header of its recording."""
    seconds = probe_audio(join(corpus.root, utterance.audio)).duration - utterance.start
    if utterance.segment_seconds is not None:
        seconds = min(seconds, utterance.segment_seconds)
    return replace(utterance, seconds=seconds) if seconds > 0 else utterance


def _spans(
    corpus: Corpus, utterance: Utterance, way: SegmentWay, max_seconds: float
) -> tuple[Span, ...] | None:
    path, seconds = join(corpus.root, utterance.audio), utterance.seconds or 0.0
    if seconds <= max_seconds:
        return ()
    end = math.ceil(seconds * 1000 - 1e-6)  # a segment may end after its recording by that little
    start, duration = utterance.start, utterance.segment_seconds
    if way == "fixed":
        cuts = even_cuts(end, max_seconds)
    elif way == "silence":
        cuts = quiet_cuts(
            read_blocks(path, start=start, duration=duration), probe_audio(path).sample_rate, max_seconds
        )
    else:
        spans = speech_spans(
            read_blocks(path, sample_rate=VAD_RATE, start=start, duration=duration), max_seconds
        )
        return tuple((first, min(last, end)) for first, last in spans) or None
    return tuple(pairwise([0, *cuts, end])) if cuts else ()


def _segments(utterance: Utterance, spans: tuple[Span, ...]) -> Iterator[Utterance]:
    if not spans:
        yield utterance
        return
    for first, last in spans:
        seconds = (last - first) / 1000
        if utterance.segment_seconds is not None:
            seconds = min(seconds, utterance.segment_seconds - first / 1000)
        yield replace(
            utterance,
            id=f"{utterance.id}-{first:08d}-{last:08d}",  # as `SEGMENT_ID` reads it
            start=utterance.start + first / 1000,
            segment_seconds=seconds,
            seconds=seconds,
            text=None,
        )
