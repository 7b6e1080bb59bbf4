"""Segments of utterances, audio and codes cut alike.

Source: Polyak et al. 2021, arXiv:2104.00355; the rules are those of `facebookresearch/speech-resynthesis`, but that
pitch codes and speaker vectors are those of the whole utterance, as decoding sees them.

Contents: `Whole`, `Conditions`, `UnitExamples`, `evenly_spread`, `cut`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from speechtok.errors import AudioError, DatasetError
from speechtok.tokenizers.units import analysis
from speechtok.tokenizers.units.config import UnitConfig
from speechtok.tokenizers.units.jukebox import F0VqVae
from speechtok.tokenizers.units.voices import SpeakerEncoder
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


class UnitExamples:
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
        self._kept: dict[int, Whole] = {}
        self._room = cache_mb * 2**20

    def __len__(self) -> int:
        return len(self.rows)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": {}}  # processes that prepare batches keep their own

    def name(self, index: int) -> str:
        """Return the id of an utterance."""
        return self.rows[index].id

    def draw(self, index: int, random: np.random.Generator) -> dict[str, Array]:
        """Return a random segment: `waveform`, `units`, and `pitch` and `speaker` where the vocoder takes them.

        Raises:
            AudioError: when the recording is missing, silent, too short or another one.
        """
        return cut(self.whole(index), self.recordings.hop_length, self.segment_samples, random)

    def whole(self, index: int) -> Whole:
        """Return an utterance.

        Raises:
            AudioError: as for `draw`.
        """
        if index in self._kept:
            return self._kept[index]
        found = self._read(self.rows[index])
        if found.waveform.nbytes <= self._room:
            self._room -= found.waveform.nbytes
            self._kept[index] = found
        return found

    def _read(self, row: Row) -> Whole:
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


def evenly_spread(examples: UnitExamples, most: int, on_unusable: Callable[[str], None]) -> list[int]:
    """Return utterances from all over, those left out that cannot be used.

    Args:
        examples: the utterances.
        most: how many at most; 0 takes all.
        on_unusable: is told why, for each that is left out.

    Raises:
        DatasetError: when none of them can be used.
    """
    count = min(len(examples), most or len(examples))
    found, reason = [], ""
    for index in np.linspace(0, len(examples) - 1, count).round().astype(int).tolist():
        try:
            examples.whole(index)
        except AudioError as error:
            reason = str(error)
            on_unusable(reason)
        else:
            found.append(index)
    if not found:
        raise DatasetError(f"No utterance for validation can be used: {reason}")
    return found


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
