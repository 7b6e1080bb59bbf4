"""Forced alignment by a CTC model of transformers that the user has: a folder with its weights as safetensors.

Conventions: what the model writes are characters or phones, the entries of `vocab.json`. With phones the row's column `phones` is aligned, with characters its
text in the case that the vocabulary has, words joined by the model's delimiter. Nothing of the folder is run.

Contents: `CtcModel`, `load_model`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechtok.annotations.aligned import Aligned
from speechtok.annotations.ctc_path import best_path, symbol_spans
from speechtok.annotations.lexicon import spoken_words
from speechtok.errors import AnnotationError, HubError
from speechtok.formats.intervals import Interval
from speechtok.limits import read_json
from speechtok.metrics.models import require_plain_config

PAUSE_SECONDS = 0.25
"""A run of blanks from this length on is a pause."""


@dataclass(frozen=True, eq=False)
class CtcModel:
    """A model with its symbols."""

    network: Any
    extractor: Any
    vocabulary: dict[str, int]
    """Symbol → class."""
    blank: int
    """Class of the blank."""
    delimiter: str
    """Symbol between words."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """What it writes, besides the blank, the delimiter and marks in brackets, in the order of the classes."""
        return tuple(
            symbol
            for symbol, number in sorted(self.vocabulary.items(), key=lambda item: item[1])
            if number != self.blank and symbol != self.delimiter and not (symbol[0] in "<[" and symbol[1:])
        )

    def align_phones(self, waveform: NDArray[np.float32], phones: Sequence[str]) -> Aligned:
        """Return where phones lie in `(samples,)` at the rate of `extractor`.

        Raises:
            AnnotationError: naming a phone that the model does not know, or when there are more than fit the audio.
        """
        return Aligned(phones=tuple(self._align(waveform, phones)))

    def align_text(self, waveform: NDArray[np.float32], text: str) -> Aligned:
        """Return where the words of a text and their characters lie.

        Raises:
            AnnotationError: naming a character that the model does not know, or when there are more than fit the audio.
        """
        is_upper = "e" not in self.vocabulary and "E" in self.vocabulary
        words = [word.upper() if is_upper else word for word in spoken_words(text)]
        if not words:
            raise AnnotationError("The text has no words.")
        found = self._align(
            waveform, list(self.delimiter.join(words) if self._has_delimiter else "".join(words))
        )
        characters = [item for item in found if item.label != self.delimiter]
        spoken, place = [], 0
        for word in words:
            parts = characters[place : place + len(word)]
            spoken.append(Interval(start=parts[0].start, end=parts[-1].end, label=word))
            place += len(word)
        return Aligned(phones=tuple(characters), words=tuple(spoken))

    @property
    def _has_delimiter(self) -> bool:
        return self.delimiter in self.vocabulary

    def _align(self, waveform: NDArray[np.float32], symbols: Sequence[str]) -> list[Interval]:
        for symbol in symbols:
            if symbol not in self.vocabulary:
                raise AnnotationError(
                    f"The model has no symbol {symbol!r}; it has {' '.join(self.symbols[:80])}. Give phones or a text of these."
                )
        log_probs = self.log_probs(waveform)
        path = best_path(log_probs, [self.vocabulary[symbol] for symbol in symbols], self.blank)
        if path is None:
            raise AnnotationError(
                f"The text does not fit the audio: {len(symbols)} symbols need more than the {len(log_probs)} frames it has."
            )
        frame = len(waveform) / self.extractor.sampling_rate / len(log_probs)
        spans = symbol_spans(path, max(1, round(PAUSE_SECONDS / frame)))
        return [
            Interval(start=start * frame, end=end * frame, label=symbol)
            for (start, end), symbol in zip(spans, symbols, strict=True)
        ]

    def log_probs(self, waveform: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return `(frames, classes)`, natural logarithms of probabilities."""
        import torch

        made = self.extractor(waveform, sampling_rate=self.extractor.sampling_rate, return_tensors="pt")
        with torch.inference_mode():
            try:
                logits = self.network(made[self.extractor.model_input_names[0]]).logits[0]
            except (RuntimeError, ValueError) as error:
                raise AnnotationError(f"The model cannot take {len(waveform)} samples: {error}") from error
        return np.asarray(logits.double().log_softmax(dim=-1).numpy())


@cache
def load_model(folder: str) -> CtcModel:
    """Return the model of a local folder.

    Raises:
        AnnotationError: when it is not there, is no CTC model, or its config chooses code to run.
    """
    from transformers import AutoFeatureExtractor, AutoModelForCTC

    place = Path(folder)
    if not place.is_dir():
        raise AnnotationError(f"There is no folder '{folder}' with a CTC model; give alignment.checkpoint.")
    try:
        require_plain_config(folder)
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        extractor = AutoFeatureExtractor.from_pretrained(folder, **local)  # type: ignore[no-untyped-call]
        network = AutoModelForCTC.from_pretrained(folder, use_safetensors=True, **local).eval()
        vocabulary = _vocabulary(place)
    except (OSError, ValueError, KeyError, HubError) as error:
        raise AnnotationError(f"The CTC model in '{folder}' cannot be loaded: {error}") from error
    config = network.config
    if max(vocabulary.values()) >= config.vocab_size:
        raise AnnotationError(
            f"'{folder}' has a vocab.json of another model: it has more symbols than classes."
        )
    blank = config.pad_token_id
    if not isinstance(blank, int) or not 0 <= blank < config.vocab_size:
        raise AnnotationError(
            f"'{folder}' does not say which class is the blank: its config.json lacks pad_token_id."
        )
    return CtcModel(network, extractor, vocabulary, blank, _delimiter(place))


def _vocabulary(folder: Path) -> dict[str, int]:
    values = read_json(folder / "vocab.json", error=AnnotationError)
    if not (isinstance(values, dict) and values and all(isinstance(item, int) for item in values.values())):
        raise AnnotationError(f"'{folder / 'vocab.json'}' must map each symbol to its number.")
    return {symbol: number for symbol, number in values.items() if symbol}


def _delimiter(folder: Path) -> str:
    """Return the symbol between words that the tokenizer's config states, or that of wav2vec 2.0."""
    place = folder / "tokenizer_config.json"
    stated = read_json(place, error=AnnotationError) if place.is_file() else {}
    found = stated.get("word_delimiter_token") if isinstance(stated, dict) else None
    return found if isinstance(found, str) and found else "|"
