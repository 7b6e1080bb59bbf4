"""Clips of utterances, audio and targets cut alike, each with the whole utterance for its timbre.

Source: `Plachtaa/FAcodec`; but F0 and classes are those of the whole utterance, cut afterwards.

Contents: `ClipExamples`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from speechtok.errors import AudioError
from speechtok.training.corpus import Speech, read_audio
from speechtok.training.examples import UtteranceExamples

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What the parts must tell, by utterance."""

    f0_hz: Sequence[Array]
    """`(frames,)` each, 0 where unvoiced."""
    energy: Sequence[Array]
    """`(frames,)` each."""
    content: Sequence[Array]
    """`(frames,)` each, classes."""
    speaker: Array
    """`(utterances,)`, int64, classes."""


class ClipExamples(UtteranceExamples[Array]):
    """The `Examples` of the codec; recordings that were read are kept up to a limit.

    Args:
        speech: the utterances.
        targets: what must be told; None for validation.
        sample_rate: Hz.
        hop_length: samples per frame.
        clip_frames: of an example.
        max_seconds: most of an utterance that goes with a clip.
        cache_mb: audio that is kept.
    """

    def __init__(
        self,
        speech: Speech,
        targets: Targets | None,
        *,
        sample_rate: int,
        hop_length: int,
        clip_frames: int,
        max_seconds: float,
        cache_mb: int = 0,
    ) -> None:
        self.speech, self.targets = speech, targets
        self.sample_rate, self.hop_length, self.clip_frames = sample_rate, hop_length, clip_frames
        self.max_frames = max(clip_frames, int(max_seconds * sample_rate) // hop_length)
        super().__init__([utterance.id for utterance in speech.utterances], cache_mb)

    def draw(self, index: int, random: np.random.Generator) -> dict[str, Array]:
        """Return a random clip `waveform` with its targets and the `utterance` it is from.

        `utterance` is zero from `num_samples` on.

        Raises:
            AudioError: when the recording cannot be read any more, or is too short.
        """
        waveform, hop = self.whole(index), self.hop_length
        frames = len(waveform) // hop
        around = min(frames, self.max_frames)
        left = int(random.integers(frames - around + 1))
        start = left + int(random.integers(around - self.clip_frames + 1))
        span = slice(start, start + self.clip_frames)
        utterance = np.zeros(hop * self.max_frames, dtype=waveform.dtype)
        utterance[: hop * around] = waveform[hop * left : hop * (left + around)]
        example = {
            "waveform": waveform[hop * span.start : hop * span.stop],
            "utterance": utterance,
            "num_samples": np.array(hop * around, dtype=np.int64),
        }
        if self.targets is not None:
            example["f0"] = self.targets.f0_hz[index][span]
            example["energy"] = self.targets.energy[index][span]
            example["content"] = self.targets.content[index][span].astype(np.int64)
            example["speaker"] = self.targets.speaker[index]
        return example

    def _read(self, index: int) -> Array:
        waveform = read_audio(self.speech, self.speech.utterances[index], self.sample_rate)
        frames = len(waveform) // self.hop_length
        if frames < self.clip_frames:
            raise AudioError(
                f"The recording of '{self.name(index)}' has {frames} frames, fewer than a clip of {self.clip_frames}."
            )
        return waveform

    def _waveform(self, whole: Array) -> Array:
        return whole
