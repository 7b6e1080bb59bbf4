"""Signals that resemble speech, made of harmonics, noise and pauses."""

from collections.abc import Callable

import numpy as np
import pytest


def make_speech(num_samples: int, seed: int = 0, rms_db: float = -26.0) -> np.ndarray:
    """Syllables of 0.1 to 0.3 s, voiced or hissing, with pauses between some of them, at 16 kHz."""
    random = np.random.default_rng(seed)
    waveform = np.zeros(num_samples)
    position = int(random.integers(0, 800))
    while position < num_samples:
        length = int(random.integers(1600, 4800))
        time = np.arange(length) / 16000
        envelope = np.sin(np.pi * np.arange(length) / length) ** 2
        if random.random() < 0.7:
            f0 = random.uniform(90, 220) * (1 + random.uniform(-0.5, 0.5) * time)
            phase = 2 * np.pi * np.cumsum(f0) / 16000
            formants = random.uniform((300, 900, 2200), (800, 2000, 3400))
            syllable = np.zeros(length)
            for harmonic in range(1, 36):
                distance = (harmonic * f0.mean() - formants) / (100, 150, 250)
                syllable += np.sum((1, 0.5, 0.25) / (1 + distance**2)) * np.cos(harmonic * phase)
        else:
            noise = np.fft.rfft(random.standard_normal(length))
            hz = np.fft.rfftfreq(length, 1 / 16000)
            syllable = np.fft.irfft(
                noise * np.exp(-(((hz - random.uniform(2000, 6000)) / 1500) ** 2)), length
            )
        syllable = syllable / np.std(syllable) * random.uniform(0.3, 1)
        room = min(length, num_samples - position)
        waveform[position : position + room] += (syllable * envelope)[:room]
        position += int(length * random.uniform(0.7, 1)) + int(random.choice((0, 0, 0, 3200)))
    waveform += 1e-3 * random.standard_normal(num_samples)
    return waveform / np.sqrt(np.mean(waveform**2)) * 10 ** (rms_db / 20)


@pytest.fixture(scope="session")
def speech() -> Callable[..., np.ndarray]:
    return make_speech
