"""Is it the same waveform? Scale-invariant ratio of signal to distortion.

Source: Le Roux et al. 2019, SDR – half-baked or well done?, arXiv:1811.02508, equation 5.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from speechtok.errors import AudioError

Samples = np.ndarray[Any, np.dtype[np.float64]]


def si_sdr(reference: Samples, decoded: Samples) -> float:
    """Return the ratio in dB; higher is better, infinity where only the level differs.

    Both are freed of their mean first.

    Raises:
        AudioError: when one of them is silent, and the ratio undefined.
    """
    reference, decoded = reference - reference.mean(), decoded - decoded.mean()
    energy = float(reference @ reference)
    if energy == 0 or not decoded.any():
        raise AudioError(
            "SI-SDR is undefined: "
            + ("the reference" if energy == 0 else "the decoded audio")
            + " is silent."
        )
    target = (decoded @ reference) / energy * reference
    noise = decoded - target
    distortion, signal = float(noise @ noise), float(target @ target)
    if distortion == 0:
        return math.inf
    return 10 * math.log10(signal / distortion) if signal else -math.inf
