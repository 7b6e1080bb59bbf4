"""How loud a row is, and what is lost of it: loudness, peak, clipping, silence. Pure functions of `(samples,)` audio.

Conventions: full scale is 1.0; what does not exist, such as the level of digital silence, is None.

Contents: `loudness_lufs`, `peak_dbfs`, `clipping_share`, `silence_share`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechtok.errors import AnnotationError

Samples = NDArray[np.floating[Any]]
LOUDNESS_SECONDS = 0.4
"""Length of the blocks over which loudness is measured; what is shorter has none."""
FRAME_SECONDS = 0.02
"""Length of the frames that are silent or not."""
FLAT_SAMPLES = 3
"""Samples at the peak, one after the other, from which on they count as clipped."""
FLAT = 1e-4
"""How near to the peak they are, as a share of it."""


def loudness_lufs(samples: Samples, sample_rate: int) -> float | None:
    """Return the integrated loudness in LUFS; None for less than 0.4 s, or where no block passes the gate of −70 LUFS.

    Source: ITU-R BS.1770-4, by pyloudnorm (Steinmetz & Reiss 2021).

    Raises:
        AnnotationError: when the package is not installed.
    """
    try:
        import pyloudnorm
    except ImportError:
        raise AnnotationError(
            "Loudness needs the package pyloudnorm: pip install 'speechtok[quality]'."
        ) from None
    if len(samples) < LOUDNESS_SECONDS * sample_rate:
        return None
    meter = pyloudnorm.Meter(sample_rate, block_size=LOUDNESS_SECONDS)
    with np.errstate(divide="ignore"):
        value = float(meter.integrated_loudness(np.asarray(samples, np.float64)))
    return value if math.isfinite(value) else None


def peak_dbfs(samples: Samples) -> float | None:
    """Return the largest absolute sample in dB relative to full scale; None for digital silence."""
    peak = float(np.abs(samples).max(initial=0.0))
    return 20 * math.log10(peak) if peak > 0 else None


def clipping_share(samples: Samples) -> float:
    """Return the share of samples that stand in flat tops: 3 or more at the highest or the lowest value, one after the other.

    So clipping is found below full scale too, where a recording was made softer afterwards; not after lossy compression.
    """
    flat = 0
    for signed in (samples, -samples):
        peak = float(signed.max(initial=0.0))
        if peak > 0:
            flat += _in_runs(signed >= peak * (1 - FLAT))
    return flat / max(len(samples), 1)


def _in_runs(high: NDArray[np.bool_]) -> int:
    """Return how many of these stand in runs of `FLAT_SAMPLES` or more."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], high.astype(np.int8), [0]])))
    lengths = edges[1::2] - edges[::2]
    return int(lengths[lengths >= FLAT_SAMPLES].sum())


def silence_share(samples: Samples, sample_rate: int, below_db: float) -> float:
    """Return the share of frames of 20 ms that are more than `below_db` below the loudest one; 1.0 for digital silence."""
    size = max(1, round(FRAME_SECONDS * sample_rate))
    count = max(1, len(samples) // size)
    frames = np.resize(samples, count * size) if len(samples) < size else samples[: count * size]
    power = np.square(frames.reshape(count, -1), dtype=np.float64).mean(axis=1)
    if not power.max() > 0:
        return 1.0
    return float((power < power.max() * 10 ** (-below_db / 10)).mean())
