"""Long recordings as several utterances, for tokenizers whose codes depend on the whole of an utterance."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

from speechtok.audio.io import probe_audio, read_blocks
from speechtok.audio.segment import quiet_cuts
from speechtok.corpora.corpus import Corpus, Unique
from speechtok.errors import AudioError
from speechtok.storage import join
from speechtok.utterances import Utterance

READ_THREADS = 8
"""Recordings read at the same time."""


def cut_long(corpus: Corpus, max_seconds: float) -> Corpus:
    """Return the corpus with every utterance longer than `max_seconds` cut at quiet moments.

    The pieces are called `<id>-<start ms>-<end ms>`, times from the beginning of the utterance. They
    keep its columns but for `text`, of which nobody knows which part belongs where. Recordings that
    cannot be read are left as they are; the job will say what is wrong with them.

    Args:
        corpus: what was read.
        max_seconds: longest utterance, at least 1.

    Raises:
        DatasetError: when a piece would have the id of another utterance.
    """

    def pieces(utterance: Utterance) -> list[Utterance]:
        try:
            return list(_pieces(corpus, utterance, max_seconds))
        except AudioError:
            return [utterance]

    with ThreadPoolExecutor(READ_THREADS) as pool:
        found = [item for group in pool.map(pieces, corpus.utterances) for item in group]
    return replace(corpus, utterances=Unique(lambda: ((item, item.audio) for item in found), corpus.name))


def _pieces(corpus: Corpus, utterance: Utterance, max_seconds: float) -> Iterator[Utterance]:
    path = join(corpus.root, utterance.audio)
    info = probe_audio(path)
    seconds = info.duration - utterance.start
    if utterance.segment_seconds is not None:
        seconds = min(seconds, utterance.segment_seconds)
    if seconds <= max_seconds:
        yield utterance
        return
    blocks = read_blocks(path, start=utterance.start, duration=utterance.segment_seconds)
    cuts = quiet_cuts(blocks, info.sample_rate, max_seconds)
    if not cuts:
        yield utterance
        return
    end = round(seconds * 1000)
    for first, last in pairwise([0, *cuts, end]):
        rest = None if utterance.segment_seconds is None else utterance.segment_seconds - first / 1000
        yield replace(
            utterance,
            id=f"{utterance.id}-{first}-{last}",
            start=utterance.start + first / 1000,
            segment_seconds=rest if last == end else (last - first) / 1000,
            text=None,
        )
