"""Audio of a corpus, one utterance after the other, for training.

Contents: `read_utterances`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from speechtok.audio.io import read_waveform
from speechtok.corpora import read_corpus
from speechtok.errors import AudioError, DatasetError
from speechtok.storage import AnyPath, join

SAMPLE_RATE = 16_000


def read_utterances(
    corpus: str | AnyPath, *, seed: int, share: float = 1.0, repeat: bool = False
) -> Iterator[np.ndarray[Any, np.dtype[Any]]]:
    """Yield `(samples,)` float32 audio at 16 kHz, channels averaged, in shuffled order.

    Recordings that cannot be read are passed over.

    Args:
        corpus: as for `read_corpus`.
        seed: decides the order, and which utterances are taken.
        share: part of the utterances that is taken, from 0 to 1; at least one.
        repeat: whether to go on for ever, newly shuffled each time.

    Raises:
        DatasetError: when there is no corpus, or none of its recordings can be read.
    """
    found = read_corpus(corpus)
    order = random.Random(seed)  # noqa: S311 - no secret
    chosen = list(found.utterances)
    order.shuffle(chosen)
    chosen = chosen[: max(1, round(share * len(chosen)))]
    while True:
        readable = 0
        for item in chosen:
            try:
                audio = read_waveform(
                    join(found.root, item.audio),
                    sample_rate=SAMPLE_RATE,
                    start=item.start,
                    duration=item.segment_seconds,
                )
            except AudioError:
                continue
            if np.isfinite(audio.samples).all():
                readable += 1
                yield audio.samples
        if not readable:
            raise DatasetError(f"None of the {len(chosen)} recordings taken from {corpus} can be read.")
        if not repeat:
            return
        order.shuffle(chosen)
