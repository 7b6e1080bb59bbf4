"""Does it say the same words? Word and character error rate, computed by the jiwer package.

Conventions: both texts are compared in lower case, without punctuation and with single spaces.

Contents: `plain_text`, `word_error_rate`, `character_error_rate`, `Transcriber`.
"""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np

from speechtok.audio.resample import resample
from speechtok.errors import AudioError, HubError
from speechtok.metrics.models import require_plain_config

Samples = np.ndarray[Any, np.dtype[np.float64]]


def plain_text(text: str) -> str:
    """Return a text in lower case, without punctuation and symbols, with single spaces.

    Apostrophes inside a word vanish with it kept whole: "don't" is "dont".
    """
    lowered = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(
        "" if char in "'’" else " " if unicodedata.category(char)[0] in "PSZC" else char for char in lowered
    )
    return " ".join(kept.split())


def word_error_rate(reference: str, heard: str) -> float:
    """Return wrong, missing and additional words per word of the reference; may exceed 1.

    Raises:
        AudioError: when the reference has no word.
        ImportError: when jiwer is not installed.
    """
    import jiwer

    return float(jiwer.wer(_words(reference), plain_text(heard)))


def character_error_rate(reference: str, heard: str) -> float:
    """Return wrong, missing and additional characters per character of the reference.

    Raises:
        AudioError: when the reference has no word.
        ImportError: when jiwer is not installed.
    """
    import jiwer

    return float(jiwer.cer(_words(reference), plain_text(heard)))


def _words(reference: str) -> str:
    text = plain_text(reference)
    if not text:
        raise AudioError("The error rate is undefined: the transcript holds no word.")
    return text


class Transcriber:
    """Speech to text with any speech recogniser of transformers.

    Args:
        model: Hub repository or local folder; weights are read from safetensors or weights-only files, and no code
            of the repository is run.
        device: where it runs.

    Raises:
        HubError: when the model cannot be loaded.
        ImportError: when transformers is not installed.
    """

    def __init__(self, model: str, *, device: str = "cpu") -> None:
        from transformers import pipeline

        try:
            require_plain_config(model)
            self._pipeline: Any = pipeline(
                "automatic-speech-recognition", model=model, device=device, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise HubError(f"The speech recogniser '{model}' cannot be loaded: {reason}") from error

    def __call__(self, samples: Samples, sample_rate: int) -> str:
        """Return what is said in `(samples,)`."""
        rate = self.sample_rate
        audio = resample(samples.astype(np.float32), sample_rate, rate)
        return str(self._pipeline({"raw": audio, "sampling_rate": rate})["text"])

    @property
    def sample_rate(self) -> int:
        """Rate the recogniser listens at, in Hz."""
        return int(self._pipeline.feature_extractor.sampling_rate)
