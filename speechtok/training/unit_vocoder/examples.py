"""Segments of utterances, audio and codes cut alike.

Source: Polyak et al. 2021, arXiv:2104.00355; the rules are those of `facebookresearch/speech-resynthesis`, but that
pitch codes and speaker vectors are those of the whole utterance, as decoding sees them.

Contents: `Whole`, `Conditions`, `UnitExamples`, `cut`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from speechtok.errors import AudioError
from speechtok.tokenizers.units import analysis
from speechtok.tokenizers.units.config import UnitConfig
from speechtok.tokenizers.units.jukebox import F0VqVae
from speechtok.tokenizers.units.voices import SpeakerEncoder
from speechtok.training.examples import UtteranceExamples
from speechtok.training.unit_vocoder.rows import Recordings, Row

Array = np.ndarray[Any, np.dtype[Any]]

PITCH_HOP = 1280
"""Samples per pitch code."""


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A whole utterance."""

    waveform: Array
    """`(samples,)`, float32, whole units and pitch codes."""
    units: Array
    """`(frames,)`."""
    pitch: Array | None
    """`(codes,)`, for a vocoder with pitch."""
    speaker: Array | None
    """Row `()`, int64, or vector `(512,)`, float32; for a vocoder with speakers."""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What a vocoder is told besides units."""

    config: UnitConfig
    """Of the tokenizer."""
    f0: F0VqVae | None
    """Quantizer of pitch, for a vocoder with pitch."""
    voices: Mapping[str, int] | None
    """Name → row, for a vocoder with a table of voices."""
    encoder: SpeakerEncoder | None
    """Recordings to vectors; for a vocoder that takes vectors."""


class UnitExamples(UtteranceExamples[Whole]):
    """The `Examples` of the unit vocoder; what was read and analysed is kept up to a limit.

    Args:
        rows: the utterances.
        recordings: reads their audio.
        conditions: what the vocoder is told.
        segment_samples: of an example.
        cache_mb: audio that is kept.
    """

    def __init__(
        self,
        rows: list[Row],
        recordings: Recordings,
        conditions: Conditions,
        *,
        segment_samples: int,
        cache_mb: int = 0,
    ) -> None:
        self.rows, self.recordings, self.conditions = rows, recordings, conditions
        self.segment_samples = segment_samples
        super().__init__([row.id for row in rows], cache_mb)

    def draw(self, index: int, random: np.random.Generator) -> dict[str, Array]:
        """Return a random segment: `waveform`, `units`, and `pitch` and `speaker` where the vocoder takes them.

        Raises:
            AudioError: when the recording is missing, silent, too short or another one.
        """
        return cut(self.whole(index), self.recordings.hop_length, self.segment_samples, random)

    def _read(self, index: int) -> Whole:
        row = self.rows[index]
        waveform, hop = self.recordings.read(row), self.recordings.hop_length
        frames = min(len(waveform) // hop, len(row.units))
        pitch = None
        if self.conditions.f0 is not None:
            pitch = row.pitch if row.pitch is not None else self._pitch(waveform[: frames * hop])
            codes = min(frames * hop // PITCH_HOP, len(pitch))
            frames, pitch = codes * PITCH_HOP // hop, pitch[:codes]
        if not frames:
            least = hop if pitch is None else PITCH_HOP
            raise AudioError(
                f"The recording of '{row.id}' is too short to train on: {len(waveform)} samples give no whole "
                f"{'unit' if pitch is None else 'pitch code'} of {least}."
            )
        return Whole(
            waveform=waveform[: frames * hop],
            units=row.units[:frames].astype(np.int64),
            pitch=None if pitch is None else pitch.astype(np.int64),
            speaker=self._speaker(row, waveform),
        )

    def _waveform(self, whole: Whole) -> Array:
        return whole.waveform

    def _pitch(self, waveform: Array) -> Array:
        assert self.conditions.f0 is not None  # noqa: S101 - the caller asked
        with torch.no_grad():
            codes = analysis.pitch_codes(
                self.conditions.f0, self.conditions.config, torch.from_numpy(waveform), None
            )
        return np.asarray(codes.numpy())

    def _speaker(self, row: Row, waveform: Array) -> Array | None:
        if self.conditions.voices is not None:
            return np.array(self.conditions.voices[row.speaker or ""], dtype=np.int64)
        if self.conditions.encoder is None:
            return None
        if row.vector is not None:
            return row.vector
        with torch.no_grad():
            vector = self.conditions.encoder(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]))
        return np.asarray(vector[0].float().numpy())


def cut(whole: Whole, hop_length: int, segment_samples: int, random: np.random.Generator) -> dict[str, Array]:
    """Return a random segment of an utterance; a shorter one is first doubled until it is long enough.

    Segments begin at multiples of what all streams have in common: a unit, or a pitch code of 80 ms.
    """
    waveform, units, pitch = whole.waveform, whole.units, whole.pitch
    while len(waveform) < segment_samples:
        waveform, units = np.tile(waveform, 2), np.tile(units, 2)
        pitch = None if pitch is None else np.tile(pitch, 2)
    step = hop_length if pitch is None else math.lcm(hop_length, PITCH_HOP)
    start = step * int(random.integers(len(waveform) // step - segment_samples // step + 1))
    stop = start + segment_samples
    example = {
        "waveform": waveform[start:stop],
        "units": units[start // hop_length : stop // hop_length],
    }
    if pitch is not None:
        example["pitch"] = pitch[start // PITCH_HOP : stop // PITCH_HOP]
    if whole.speaker is not None:
        example["speaker"] = whole.speaker
    return example
