"""Does it have the same spectrum? Distances of mel and of several short-time spectra.

Sources: Kumar et al. 2023, High-Fidelity Audio Compression with Improved RVQGAN, arXiv:2306.06546, section 4.3 (the mel
distance as a measure); Yamamoto et al. 2020, Parallel WaveGAN, arXiv:1910.11480, equations 4 to 6 and table 1 (the
distance over several resolutions).

Contents: `mel_distance`, `stft_distance`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechtok.errors import AudioError
from speechtok.nets.mel import slaney_filters
from speechtok.nets.spectrum import centred, spectra

Samples = np.ndarray[Any, np.dtype[np.float64]]

MEL_BANDS = 80
MEL_WINDOW_SECONDS, MEL_HOP_SECONDS = 0.064, 0.016
"""1024 and 256 samples at 16 kHz; the same times at every rate."""
MEL_FLOOR = 1e-5
"""Mel magnitudes below this count as this: about 100 dB below a full-scale sine."""
RESOLUTIONS = ((1024, 600, 120), (2048, 1200, 240), (512, 240, 50))
"""Points of the transform, window and hop in samples."""
STFT_FLOOR = 1e-7
"""Power below this counts as this."""


def mel_distance(reference: Samples, decoded: Samples, sample_rate: int) -> float:
    """Return the mean absolute difference of two mel spectra in dB; 0 is best.

    80 mel bands from 0 Hz to half the sample rate, of magnitudes relative to a full-scale sine.
    """
    first, second = (_mel_db(samples, sample_rate) for samples in (reference, decoded))
    return float((first - second).abs().mean())


def stft_distance(reference: Samples, decoded: Samples) -> float:
    """Return the multi-resolution distance: spectral convergence plus the mean difference of log magnitudes.

    Averaged over three resolutions; 0 is best.

    Raises:
        AudioError: when the reference is silent, or shorter than 1024 samples.
    """
    if len(reference) <= RESOLUTIONS[1][0] // 2:
        raise AudioError(f"The multi-resolution distance needs more than 1024 samples, got {len(reference)}.")
    if not reference.any():
        raise AudioError("The multi-resolution distance is undefined: the reference is silent.")
    total = 0.0
    for points, window, hop in RESOLUTIONS:
        first, second = (_magnitude(samples, points, window, hop) for samples in (reference, decoded))
        convergence = torch.linalg.norm(first - second) / torch.linalg.norm(first)
        total += float(convergence + (first.log() - second.log()).abs().mean())
    return total / len(RESOLUTIONS)


def _mel_db(samples: Samples, sample_rate: int) -> Tensor:
    """Return `(bands, frames)`, dB."""
    window, hop = round(MEL_WINDOW_SECONDS * sample_rate), round(MEL_HOP_SECONDS * sample_rate)
    hann, filters = _mel_tables(window, sample_rate)
    padded = torch.nn.functional.pad(torch.from_numpy(samples), (window // 2, window - window // 2))
    mel = spectra(padded, hann, hop).abs() @ filters  # (frames, bands)
    levels: Tensor = 20 * mel.clamp(min=MEL_FLOOR).log10().T
    return levels


@lru_cache(maxsize=8)
def _mel_tables(window: int, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Return a Hann window that gives a full-scale sine the magnitude 1, and the filters."""
    hann = torch.hann_window(window, dtype=torch.float64)
    filters = slaney_filters(
        MEL_BANDS, fft_length=window, sample_rate=sample_rate, min_hz=0.0, max_hz=sample_rate / 2
    )
    return hann * (2 / hann.sum()), filters


def _magnitude(samples: Samples, points: int, window: int, hop: int) -> Tensor:
    """Return `(frames, bins)`, at least the root of `STFT_FLOOR`."""
    hann = torch.hann_window(window, dtype=torch.float64)
    waveform = centred(torch.from_numpy(samples)[None], window)[0]
    return spectra(waveform, hann, hop, fft_length=points).abs().square().clamp(min=STFT_FLOOR).sqrt()
