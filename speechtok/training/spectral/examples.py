"""Short stretches of utterances, at random levels and speeds, with what is random about how they are coded.

All that is random is drawn here, from the example's own numbers, so that it does not matter which process computes it.

Contents: `SegmentExamples`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from speechtok.tokenizers.spectral.config import SpectralConfig
from speechtok.training.corpus import Speech, read_audio
from speechtok.training.examples import UtteranceExamples
from speechtok.training.spectral.settings import SpectralSettings

Array = np.ndarray[Any, np.dtype[Any]]
_MARGIN = 320
"""Samples around a segment whose speed changes, since the change bends what is near its ends."""


class SegmentExamples(UtteranceExamples[Array]):
    """The `Examples` of the codec; recordings that were read are kept up to a limit.

    Args:
        speech: the utterances.
        settings: of the run.
    """

    def __init__(self, speech: Speech, settings: SpectralSettings) -> None:
        self.speech, self.settings = speech, settings
        super().__init__([utterance.id for utterance in speech.utterances], settings.data.cache_mb)

    def draw(self, index: int, random: np.random.Generator) -> dict[str, Array]:
        """Return a random stretch, `waveform`.

        With it go `num_codebooks` that count for it, the sample it is `judged_from`, and the `noise` of a latent that is not
        quantized yet.

        Raises:
            AudioError: when the recording cannot be read any more, or is silent.
        """
        config, data, judges = self.settings.codec, self.settings.data, self.settings.judges
        samples = data.segment_frames * config.hop_length
        speed = random.uniform(*data.speed) if random.random() < 0.5 else 1.0
        waveform = stretch(self.whole(index), samples, speed, random)
        gain = random.choice((-1, 1)) * 10 ** (random.uniform(*data.gain_db) / 20)
        judged = min(samples, round(judges.seconds * config.sample_rate))
        noise = random.standard_normal((data.segment_frames, config.latent_channels))
        return {
            "waveform": (gain * waveform).clip(-1, 1).astype(np.float32),
            "num_codebooks": np.array(self._codebooks(random, config), dtype=np.int64),
            "judged_from": np.array(random.integers(samples - judged + 1), dtype=np.int64),
            "noise": noise.astype(np.float32),
        }

    def _codebooks(self, random: np.random.Generator, config: SpectralConfig) -> int:
        """Return how many codebooks count: half of the time `main_codebooks`, else all or any number."""
        kind = random.random()
        if kind < 0.5:
            return min(self.settings.losses.main_codebooks, config.num_codebooks)
        return config.num_codebooks if kind < 0.65 else int(random.integers(1, config.num_codebooks + 1))

    def _read(self, index: int) -> Array:
        return read_audio(self.speech, self.speech.utterances[index], self.settings.codec.sample_rate)

    def _waveform(self, whole: Array) -> Array:
        return whole


def stretch(waveform: Array, samples: int, speed: float, random: np.random.Generator) -> Array:
    """Return `(samples,)` from a random place of a waveform, played at a speed; silence where it is too short.

    Args:
        waveform: `(samples,)`.
        samples: how many.
        speed: 1 leaves it as it is, 2 is an octave higher and twice as fast.
        random: decides the place.
    """
    if speed == 1:
        return _cut(waveform, samples, random)
    long = samples + 2 * _MARGIN
    source = _cut(waveform, round(long * speed), random)
    spectrum = np.fft.rfft(source)
    played = np.zeros(long // 2 + 1, spectrum.dtype)
    kept = min(len(spectrum), len(played))
    played[:kept] = spectrum[:kept]
    # as many samples as asked for, of the same spectrum: a band-limited resampling of the stretch
    return np.asarray(np.fft.irfft(played, long) * (long / len(source)))[_MARGIN : _MARGIN + samples]


def _cut(waveform: Array, samples: int, random: np.random.Generator) -> Array:
    start = int(random.integers(max(0, len(waveform) - samples) + 1))
    part = waveform[start : start + samples]
    return np.pad(part, (0, samples - len(part)))
