"""Rows to listen to: which ones, the original recording and what the tokens give back."""

from __future__ import annotations

import base64
import io
import math
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from speechtok.corpora.originals import Originals
from speechtok.errors import AudioError
from speechtok.formats.intervals import Interval
from speechtok.report.aligned import read_intervals
from speechtok.shards.reader import TokenDataset

if TYPE_CHECKING:
    from speechtok.tokenizers.base import SpeechTokenizer

Samples = np.ndarray[Any, np.dtype[np.float64]]

MAX_SECONDS = 15.0
"""Longer rows are played from their beginning up to here."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One row to listen to."""

    id: str
    """Id of the row."""
    duration: float
    """Seconds of the row."""
    text: str | None
    """Transcript."""
    speaker: str | None
    """Speaker label."""
    language: str | None
    """Language tag."""
    sample_rate: int
    """Hz, of both waveforms."""
    reconstruction: Samples
    """`(samples,)`, what the tokens decode to, at most `MAX_SECONDS`."""
    original: Samples | None
    """`(samples,)`, the recording at the same rate and of the same length; None when it cannot be had."""
    missing: str | None
    """Why there is no original."""
    words: tuple[Interval, ...] = ()
    """Words with their times, where the row has an alignment."""
    phones: tuple[Interval, ...] = ()
    """Phones likewise."""

    @property
    def seconds(self) -> float:
        """Seconds that are played."""
        return len(self.reconstruction) / self.sample_rate


def choose_rows(durations: np.ndarray[Any, np.dtype[np.float64]], count: int) -> list[int]:
    """Return `count` row numbers spread evenly over the order of durations, short to long.

    Rows that can be played whole are preferred; equal durations go by row number.
    """
    order = np.argsort(durations, kind="stable")
    playable = order[durations[order] <= MAX_SECONDS]
    pool = playable if len(playable) >= count else order
    count = min(count, len(pool))
    return [int(pool[math.floor((place + 0.5) * len(pool) / count)]) for place in range(count)]


def make_examples(
    dataset: TokenDataset,
    rows: list[int],
    tokenizer: SpeechTokenizer,
    originals: Originals,
    *,
    voice: str | int | None = None,
) -> Iterator[Example]:
    """Yield the chosen rows, decoded, with their originals where these can be read.

    A decoder with a table of voices speaks each row in its own speaker's, or all in `voice`.

    Raises:
        TokensError: when the tokens were made by another tokenizer.
    """
    for index in rows:
        row = dataset[index]
        voiced = tokenizer.voice_options(row.get("speaker"), voice)
        reconstruction = _decode(dataset, index, tokenizer, voiced)
        original, missing = _original(row, originals, tokenizer.output_sample_rate, len(reconstruction))
        yield Example(
            id=row["id"],
            duration=row["num_samples"] / dataset.info.sample_rate,
            text=row.get("text"),
            speaker=row.get("speaker"),
            language=row.get("language"),
            sample_rate=tokenizer.output_sample_rate,
            reconstruction=reconstruction,
            original=original,
            missing=missing,
            words=read_intervals(row, "word"),
            phones=read_intervals(row, "phone"),
        )


def wav_uri(samples: Samples, sample_rate: int) -> str:
    """Return `(samples,)` in [-1, 1] as a data URI of a 16-bit WAV file, which every browser plays."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2").tobytes())
    return "data:audio/wav;base64," + base64.b64encode(buffer.getvalue()).decode()


def _decode(dataset: TokenDataset, index: int, tokenizer: SpeechTokenizer, voiced: dict[str, Any]) -> Samples:
    """Return the first `MAX_SECONDS` of a row as speech, `(samples,)`."""
    tokens = dataset.tokens(index)
    if int(tokens.num_samples[0]) > MAX_SECONDS * tokens.info.sample_rate:
        tokens = tokens.slice_seconds(0.0, MAX_SECONDS)
    return np.asarray(tokenizer.decode(tokens, **voiced)[0].cpu().numpy(), dtype=np.float64)


def _original(
    row: dict[str, Any], originals: Originals, sample_rate: int, num_samples: int
) -> tuple[Samples | None, str | None]:
    """Return the first `num_samples` of a row's recording, or the reason why there are none."""
    try:
        return originals.read(row["id"], row["audio"], sample_rate, num_samples), None
    except AudioError as error:
        return None, str(error)
