"""Can it be understood? STOI and extended STOI, computed by the pystoi package.

Sources: Taal et al. 2011, An Algorithm for Intelligibility Prediction of Time-Frequency Weighted Noisy Speech, IEEE TASLP
19(7); Jensen and Taal 2016, An Algorithm for Predicting the Intelligibility of Speech Masked by Modulated Noise
Maskers, IEEE/ACM TASLP 24(11).
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from speechtok.errors import AudioError

Samples = np.ndarray[Any, np.dtype[np.float64]]


def stoi(reference: Samples, decoded: Samples, sample_rate: int, *, extended: bool = False) -> float:
    """Return STOI, or extended STOI; 1 is perfect.

    Raises:
        AudioError: when less than about 0.4 s is left once silent frames are removed.
        ImportError: when pystoi is not installed.
    """
    from pystoi import stoi as pystoi

    if not reference.any() or not decoded.any():
        raise AudioError("STOI is undefined: one of the two is silent.")
    with warnings.catch_warnings():
        # in place of too short a pair's result the package warns and returns 1e-5
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(pystoi(reference, decoded, sample_rate, extended=extended))
        except RuntimeWarning as warning:
            raise AudioError(f"STOI is undefined: {str(warning).split('.')[0]}.") from warning
        except ValueError as error:  # shorter than one frame
            raise AudioError(
                f"STOI is undefined for {len(reference) / sample_rate:.3f} s of audio."
            ) from error
