"""Speech to train on: the utterances of a corpus, in two splits, and their audio.

Contents: `Splits`, `Speech`, `read_splits`, `read_audio`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from speechtok.audio.io import read_waveform
from speechtok.corpora import read_corpus
from speechtok.errors import AudioError, DatasetError
from speechtok.storage import AnyPath, join
from speechtok.training.splits import DEV, held_out
from speechtok.utterances import Utterance

Array = np.ndarray[Any, np.dtype[Any]]


class Splits(Protocol):
    """What settings say of splits."""

    @property
    def train_split(self) -> str:
        """Split that is trained on; what is in no split is too."""

    @property
    def dev_split(self) -> str | None:
        """Split that is looked at for validation; None takes `dev` where there is one, and else holds out a share."""

    @property
    def held_out(self) -> float:
        """That share."""


@dataclass(frozen=True, kw_only=True)
class Speech:
    """Utterances, and where their recordings lie."""

    root: AnyPath
    """Folder that relative paths start from."""
    utterances: tuple[Utterance, ...]
    """In the order of the corpus."""

    def of(self, kept: list[int]) -> Speech:
        """Return some of the utterances."""
        return replace(self, utterances=tuple(self.utterances[index] for index in kept))


def read_splits(
    corpus: str | AnyPath, settings: Splits, *, seed: int, columns: Mapping[str, str] | None = None
) -> tuple[Speech, Speech]:
    """Return what is trained on, and what is looked at for validation.

    Args:
        corpus: as for `read_corpus`.
        settings: names of splits, or a share.
        seed: decides which utterances the share holds.
        columns: as for `read_corpus`.

    Raises:
        DatasetError: when there is no such corpus or split, or too little in it.
    """
    found = read_corpus(corpus, columns=columns)
    utterances = list(found.utterances)
    splits = {item.split for item in utterances}
    dev_split = settings.dev_split or (DEV if DEV in splits else None)
    if dev_split is not None and dev_split not in splits:
        named = ", ".join(sorted(name for name in splits if name)) or "none"
        raise DatasetError(f"{corpus} has no split '{dev_split}'; it has: {named}.")
    own = [item for item in utterances if item.split in (None, settings.train_split)]
    if dev_split is not None:
        dev = [item for item in utterances if item.split == dev_split]
    else:
        own, dev = held_out(own, settings.held_out, seed)
    if not own:
        raise DatasetError(f"{corpus} has nothing to train on in its split '{settings.train_split}'.")
    return tuple(Speech(root=found.root, utterances=tuple(part)) for part in (own, dev))  # type: ignore[return-value]


def read_audio(speech: Speech, utterance: Utterance, sample_rate: int) -> Array:
    """Return `(samples,)` float32 audio of an utterance, channels averaged, at the level it has.

    Raises:
        AudioError: when the recording cannot be read, is silent, or holds what is no number.
    """
    samples = read_waveform(
        join(speech.root, utterance.audio),
        sample_rate=sample_rate,
        start=utterance.start,
        duration=utterance.segment_seconds,
    ).samples
    if not np.isfinite(samples).all():
        raise AudioError(f"The recording of '{utterance.id}' holds values that are no numbers.")
    if not samples.any():
        raise AudioError(f"The recording of '{utterance.id}' is silent.")
    return samples
