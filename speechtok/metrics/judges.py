"""The measures that need a model the user names, which is loaded once.

Contents: `Judges`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from speechtok.errors import AudioError
from speechtok.metrics.measures import Scores
from speechtok.metrics.speaker import SpeakerModel, speaker_similarity
from speechtok.metrics.transcript import Transcriber, character_error_rate, word_error_rate

Samples = np.ndarray[Any, np.dtype[np.float64]]

ERROR_RATES = {"wer": word_error_rate, "cer": character_error_rate}


class Judges:
    """Measures pairs with models.

    Args:
        names: measures wanted; those that need no model are none of its business.
        asr: speech recogniser of transformers, for "wer" and "cer".
        speaker_model: x-vector model of transformers, for "speaker_similarity".
        device: where they run.

    Raises:
        HubError: when a model cannot be loaded.
    """

    def __init__(
        self, names: Sequence[str], *, asr: str | None, speaker_model: str | None, device: str
    ) -> None:
        self._rates = [name for name in ERROR_RATES if name in names]
        self._hear = Transcriber(asr, device=device) if asr and self._rates else None
        wants_voice = speaker_model and "speaker_similarity" in names
        self._voice = SpeakerModel(speaker_model, device=device) if speaker_model and wants_voice else None

    def __call__(self, reference: Samples, decoded: Samples, sample_rate: int, text: str | None) -> Scores:
        """Return the scores of one pair; one that fails leaves its reason.

        Args:
            reference: `(samples,)`, the recording.
            decoded: `(samples,)`, what is judged.
            sample_rate: Hz, of both.
            text: transcript.
        """
        scores = Scores()
        if self._voice is not None:
            scores |= self._similarity(self._voice, reference, decoded, sample_rate)
        if self._hear is not None:
            scores |= self._errors(self._hear, decoded, sample_rate, text)
        return scores

    def _similarity(
        self, voice: SpeakerModel, reference: Samples, decoded: Samples, sample_rate: int
    ) -> Scores:
        try:
            first, second = voice(reference, sample_rate), voice(decoded, sample_rate)
            return Scores(values={"speaker_similarity": speaker_similarity(first, second)})
        except AudioError as error:
            return Scores(failures={"speaker_similarity": str(error)})

    def _errors(self, hear: Transcriber, decoded: Samples, sample_rate: int, text: str | None) -> Scores:
        if not text:
            reason = "The error rate needs a transcript, and the row has none."
            return Scores(failures=dict.fromkeys(self._rates, reason))
        try:
            heard = hear(decoded, sample_rate)
            return Scores(values={name: ERROR_RATES[name](text, heard) for name in self._rates})
        except AudioError as error:
            return Scores(failures=dict.fromkeys(self._rates, str(error)))
