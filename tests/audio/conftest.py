from pathlib import Path

import numpy as np
import pytest
import soundfile


def voice(seconds, rate, seed=0):
    """A gliding tone with some noise, float32, peak near 0.5."""
    t = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(t))
    return (0.3 * np.sin(2 * np.pi * 200 * t * (1 + t / 5)) + 0.03 * noise).astype(np.float32)


def write(path: Path, samples, rate, **options):
    """Write in pieces of one second: libsndfile cannot take long Vorbis files at once."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with soundfile.SoundFile(path, "w", rate, channels, **options) as file:
        for start in range(0, len(samples), rate):
            file.write(samples[start : start + rate])
    return path


@pytest.fixture
def make(tmp_path):
    def make(name, samples, rate=16000, **options):
        return write(tmp_path / name, np.asarray(samples), rate, **options)

    return make


@pytest.fixture(name="voice")
def voice_fixture():
    return voice
