import numpy as np
import pytest

from speechtok.audio.io import read_waveform
from speechtok.demo.demonstration import CORPUS

CLIPS = ("en-us/ada-1.flac", "de/otto-1.flac", "es/ines-1.flac")
SNRS_DB = (40, 25, -5)
"""Copies of speech with this much noise, from good to bad."""


@pytest.fixture(scope="session")
def clips():
    """Three clips of speech at 16 kHz, float64."""
    return [
        read_waveform(CORPUS.parent / name, sample_rate=16000).samples.astype(np.float64) for name in CLIPS
    ]


@pytest.fixture(scope="session")
def damaged(clips):
    """Copies of each clip, with more and more of the same noise."""
    copies = []
    for clip in clips:
        noise = np.random.default_rng(5).standard_normal(len(clip))
        noise *= np.linalg.norm(clip) / np.linalg.norm(noise)
        copies.append([clip + noise * 10 ** (-snr / 20) for snr in SNRS_DB])
    return copies
