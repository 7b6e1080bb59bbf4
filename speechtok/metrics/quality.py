"""How good would listeners find it? PESQ, computed by the pesq package.

Sources: ITU-T P.862 (narrow band, with the mapping of P.862.1) and P.862.2 (wide band).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from speechtok.audio.resample import resample
from speechtok.errors import AudioError

Samples = np.ndarray[Any, np.dtype[np.float64]]

RATES = {"wb": 16_000, "nb": 8_000}
"""Rate at which each band is compared."""


def pesq(
    reference: Samples, decoded: Samples, sample_rate: int, *, band: Literal["wb", "nb"] = "wb"
) -> float:
    """Return the listening quality, from about 1 (bad) to 4.6.

    Raises:
        AudioError: when the pair is shorter than 0.25 s, or no speech is found in it.
        ImportError: when pesq is not installed.
    """
    from pesq import BufferTooShortError, NoUtterancesError
    from pesq import pesq as measure

    if not reference.any() or not decoded.any():
        raise AudioError("PESQ is undefined: one of the two is silent.")
    rate = RATES[band]
    first, second = (resample(samples, sample_rate, rate) for samples in (reference, decoded))
    try:
        return float(measure(rate, first, second, band))
    except BufferTooShortError as error:
        raise AudioError(f"PESQ needs at least 0.25 s, got {len(first) / rate:.3f} s.") from error
    except NoUtterancesError as error:
        raise AudioError("PESQ is undefined: it finds no speech in the pair.") from error
