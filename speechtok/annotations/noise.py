"""How noisy a row is and how far its spectrum reaches. Pure functions of `(samples,)` audio.

Contents: `wada_snr_db`, `bandwidth_hz`.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.floating[Any]]
SHAPE = 0.4
"""Shape of the gamma distribution of the amplitudes of clean speech."""
LOWEST_DB, HIGHEST_DB = -20, 100
"""Where the estimate ends."""
WINDOW_SECONDS = 0.032
"""Length of the windows of a spectrum."""
STRONG = 95
"""Percentile of the windows by which a frequency is as strong as it gets: single clicks do not count."""


def wada_snr_db(samples: Samples) -> float | None:
    """Return the signal-to-noise ratio that the distribution of amplitudes tells, from −20 to 100 dB; None for digital silence.

    Clean speech is taken for gamma-distributed with shape 0.4 and noise for Gaussian; then `ln E|z| − E ln|z|` falls steadily as noise
    is added. Samples that are 0 are left out of the logarithm.

    Source: Kim & Stern 2008, Robust signal-to-noise ratio estimation based on waveform amplitude distribution analysis, Interspeech.
    """
    amplitude = np.abs(samples).astype(np.float64)
    amplitude = amplitude[amplitude > 0]
    if not len(amplitude):
        return None
    statistic = math.log(amplitude.mean()) - float(np.log(amplitude).mean())
    ratios, statistics = _curve()
    return float(np.interp(statistic, statistics, ratios))


@cache
def _curve() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return SNRs in dB, and the statistic that each of them has, both rising."""
    rng = np.random.default_rng(2008)
    speech = rng.gamma(SHAPE, size=1 << 18) * rng.choice((-1.0, 1.0), 1 << 18)
    noise = rng.standard_normal(1 << 18)
    speech, noise = speech / np.sqrt((speech**2).mean()), noise / np.sqrt((noise**2).mean())
    ratios = np.arange(LOWEST_DB, HIGHEST_DB + 1, 2, dtype=np.float64)
    mixed = (np.abs(speech + noise * 10 ** (-ratio / 20)) for ratio in ratios)
    statistics = np.array([math.log(item.mean()) - np.log(item).mean() for item in mixed])
    return ratios, np.maximum.accumulate(statistics)


def bandwidth_hz(samples: Samples, sample_rate: int, below_db: float) -> float | None:
    """Return the highest frequency that is less than `below_db` weaker than the strongest one; None for digital silence.

    How strong a frequency is, is percentile 95 of its power over windows of 32 ms. What was recorded at a low rate, or went through a
    telephone, ends where that ended, whatever the rate of the file.
    """
    size = round(WINDOW_SECONDS * sample_rate)
    padded = np.pad(samples.astype(np.float64), (0, max(0, size - len(samples))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[:: max(1, size // 2)]
    hann = np.hanning(size)
    power = np.concatenate(
        [
            np.abs(np.fft.rfft(windows[start : start + 1024] * hann)) ** 2
            for start in range(0, len(windows), 1024)
        ]
    )
    strong = np.percentile(power, STRONG, axis=0)
    if not strong.max() > 0:
        return None
    place = np.flatnonzero(strong >= strong.max() * 10 ** (-below_db / 10))[-1]
    return float(place * sample_rate / size)
