"""Clips of a token dataset's utterances: audio, codes that say what is spoken, and the timbre of the whole utterance.

Source: `Plachtaa/FAcodec`; but codes are those of the whole utterance, cut afterwards, as voice conversion has them.

Contents: `CodeRow`, `read_rows`, `CodeExamples`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from speechtok.corpora.originals import Originals
from speechtok.errors import AudioError, DatasetError
from speechtok.shards.reader import TokenDataset
from speechtok.tokenizers.facodec_24k.config import Facodec24kConfig
from speechtok.training.examples import UtteranceExamples

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, kw_only=True)
class CodeRow:
    """One utterance."""

    id: str
    """Its name."""
    audio: str
    """Path of the recording."""
    content: Array
    """`(frames,)`, uint16, of the first content codebook."""
    speaker: Array
    """`(latent_channels,)`, float32, its timbre."""
    num_samples: int
    """Length of the audio at the codec's rate."""


def read_rows(dataset: TokenDataset, least_frames: int) -> list[CodeRow]:
    """Return the utterances of a split that are long enough.

    Raises:
        DatasetError: when there is none, or the dataset holds no timbre.
    """
    rows = [
        CodeRow(
            id=row["id"],
            audio=row["audio"],
            content=row["content"][0].astype(np.uint16),
            speaker=np.asarray(row["speaker_embedding"], dtype=np.float32),
            num_samples=int(row["num_samples"]),
        )
        for row in dataset
        if row["content"].shape[1] >= least_frames
    ]
    if not rows:
        raise DatasetError(
            f"None of the {len(dataset)} utterances of {dataset.path} that are to be used is as long as a clip of "
            f"{least_frames} frames; use longer recordings, or smaller data.clip_frames."
        )
    return rows


class CodeExamples(UtteranceExamples[Array]):
    """The `Examples` of the redecoder; recordings that were read are kept up to a limit.

    Args:
        rows: the utterances.
        originals: where their recordings lie.
        config: of the codec.
        clip_frames: of an example.
        cache_mb: audio that is kept.
    """

    def __init__(
        self,
        rows: list[CodeRow],
        originals: Originals,
        config: Facodec24kConfig,
        *,
        clip_frames: int,
        cache_mb: int = 0,
    ) -> None:
        self.rows, self.originals, self.config, self.clip_frames = rows, originals, config, clip_frames
        super().__init__([row.id for row in rows], cache_mb)

    def draw(self, index: int, random: np.random.Generator) -> dict[str, Array]:
        """Return a random clip: `waveform`, `content` `(1, frames)`, and `speaker`.

        Raises:
            AudioError: when the recording is missing, silent, or another than its codes are of.
        """
        row, hop = self.rows[index], self.config.hop_length
        start = int(random.integers(len(row.content) - self.clip_frames + 1))
        span = slice(start, start + self.clip_frames)
        return {
            "waveform": self.whole(index)[hop * span.start : hop * span.stop],
            "content": row.content[None, span].astype(np.int64),
            "speaker": row.speaker,
        }

    def _read(self, index: int) -> Array:
        row, rate = self.rows[index], self.config.sample_rate
        samples = self.originals.read(row.id, row.audio, rate, row.num_samples).astype(np.float32)
        if len(samples) != row.num_samples:
            raise AudioError(
                f"The recording of '{row.id}' has {len(samples):,} samples at {rate // 1000} kHz, but its codes are of "
                f"{row.num_samples:,}; it is another recording than was tokenized."
            )
        if not samples.any():
            raise AudioError(f"The recording of '{row.id}' is silent.")
        return samples

    def _waveform(self, whole: Array) -> Array:
        return whole
