"""Band-pass, voicing energy and spectral pitch track of YAAPT.

Source: Zahorian and Hu 2008, JASA 123(6), sections II.A to II.C; released AMFM_decompy 1.0.12.

Conventions: signals are `(samples,)` float64 at 16 kHz, padded by half a frame; spectra have 8192 points, so bin
k is k · 1.953 Hz.

Contents: `band_pass`, `band_energy`, `spectral_track`.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from speechtok.audio.yaapt_path import Array, cheapest_path, median_filter, monotone_cubic

SAMPLE_RATE = 16_000
MIN_HZ, MAX_HZ = 60.0, 400.0
_HOP = 80
_FFT = 8192
_BIN_HZ = SAMPLE_RATE / _FFT
_TAPS, _LOW_HZ, _HIGH_HZ = 151, 50.0, 1500.0
_ENERGY_FRAME, _ENERGY_BINS = 320, range(60, 205)
_FRAME = 640
_HARMONICS = 4
_HALF_WINDOW = 10
"""Bins to each side that are summed around each harmonic (40 Hz in all)."""
_BINS = range(31, 257)
"""Bins for which harmonics are correlated: 60 to 500 Hz."""
_MEAN_BINS = range(17, 218)
_PEAK_BINS = range(31, 205)
_HALF_PEAK = 13
_MAX_PEAKS = 4
_MIN_BEST, _MIN_PEAK = 5.0, 1.25
"""How far above the mean the best peak, and any peak, must be."""
_DEFAULT_HZ, _LEAST_DEVIATION = 150.0, 0.05
_CHANGE_WEIGHT = 11.0
_MEDIAN = 5
_FRAMES_AT_ONCE, _SPECTRA_AT_ONCE = 256, 16
"""Frames that are worked on together, so that what is read again is still in the cache."""


@cache
def _band_pass_filter() -> Array:
    n = np.arange(_TAPS) - _TAPS // 2
    low, high = 2 * _LOW_HZ / SAMPLE_RATE, 2 * _HIGH_HZ / SAMPLE_RATE
    taps = (np.sinc(high * n) * high - np.sinc(low * n) * low) * np.hamming(_TAPS)
    gain = np.sum(taps * np.cos(np.pi * n * (low + high) / 2))  # one in the middle of the band
    return np.asarray(taps / gain)


def band_pass(signal: Array) -> Array:
    """Return the signal between 50 and 1500 Hz, 75 samples late."""
    return np.convolve(signal, _band_pass_filter())[: len(signal)]


@cache
def _energy_basis() -> Array:
    """Return cosines, then sines, of the bins that are summed, windowed: `(frame, 2 bins)`."""
    phase = 2 * np.pi / _FFT * np.outer(np.arange(_ENERGY_FRAME), np.asarray(_ENERGY_BINS))
    window = np.hanning(_ENERGY_FRAME + 2)[1:-1]
    return np.concatenate([np.cos(phase), np.sin(phase)], axis=1) * window[:, None]


def band_energy(signal: Array, num_frames: int) -> Array:
    """Return the magnitude between 117 and 400 Hz of each frame, relative to its mean over frames.

    Returns:
        `(num_frames,)`; zeros when the signal is silent.
    """
    parts = _frames(signal, _ENERGY_FRAME, num_frames) @ _energy_basis()
    half = len(_ENERGY_BINS)
    parts *= parts
    energy = np.sqrt(parts[:, :half] + parts[:, half:]).sum(axis=1)
    mean = energy.mean()
    return np.asarray(energy / mean) if mean > 0 else energy


def spectral_track(signal: Array, is_voiced: Array) -> tuple[Array, float]:
    """Return a smooth pitch track over all frames.

    Args:
        signal: `(samples,)`, the band-passed square.
        is_voiced: `(frames,)`; only these frames are looked at.

    Returns:
        The track `(frames,)` in Hz, and how far pitch deviates from its mean, in Hz.
    """
    frames, voiced = len(is_voiced), np.flatnonzero(is_voiced)
    pitch, merit = _harmonic_peaks(_frames(signal, _FRAME, frames), voiced)
    has_peak = pitch[0] > 0
    pitch, merit, voiced = pitch[:, has_peak], merit[:, has_peak], voiced[has_peak]
    if len(voiced) < 3:  # too few for the median filters
        return np.full(frames, _DEFAULT_HZ), _DEFAULT_HZ * _LEAST_DEVIATION
    mean, columns = pitch[0].mean(), np.arange(len(voiced))
    nearest = np.argmin(np.abs(pitch - 0.8 * mean) * (3.0 - merit), axis=0)
    weight = _CHANGE_WEIGHT * pitch[0].std() / mean
    pitch[nearest, columns] = median_filter(pitch[nearest, columns], _MEDIAN)
    jump = np.abs(pitch[:, None, :-1] - pitch[None, :, 1:]) / MIN_HZ
    path = cheapest_path(1.0 - merit, weight * (0.05 * jump + jump**2))
    best = median_filter(pitch[path, columns], _MEDIAN)
    mean = best.mean()
    deviation = max(float(best.std()), _LEAST_DEVIATION * float(mean))
    if voiced[0] != 0:
        voiced, best = np.concatenate([[0], voiced]), np.concatenate([[mean], best])
    if voiced[-1] != frames - 1:
        voiced, best = np.concatenate([voiced, [frames - 1]]), np.concatenate([best, [mean]])
    track = monotone_cubic(voiced, best, np.arange(frames))
    track = np.convolve(track, np.full(3, 1 / 3))[:frames]
    if frames > 3:
        track[:2] = track[2:4]
    return track, deviation


def _frames(signal: Array, width: int, count: int) -> Array:
    """Return a view of `count` frames, one per hop from sample 0, zeros beyond the end: `(count, width)`."""
    missing = (count - 1) * _HOP + width - len(signal)
    if missing > 0:
        signal = np.pad(signal, (0, missing))
    return np.lib.stride_tricks.sliding_window_view(signal, width)[: (count - 1) * _HOP + 1 : _HOP]


def _harmonic_peaks(frames: Array, chosen: Array) -> tuple[Array, Array]:
    """Return the peaks of the harmonic correlation of chosen frames: pitch and merit, `(4, chosen)` each."""
    window = np.kaiser(_FRAME, 0.5)
    pitch, merit = np.zeros((_MAX_PEAKS, len(chosen))), np.ones((_MAX_PEAKS, len(chosen)))
    for first in range(0, len(chosen), _FRAMES_AT_ONCE):
        part = slice(first, first + _FRAMES_AT_ONCE)
        frame = frames[chosen[part]] * window
        frame -= frame.mean(axis=1, keepdims=True)
        pitch[:, part], merit[:, part] = _peaks(_harmonic_correlation(frame))
    return pitch, merit


def _harmonic_correlation(frame: Array) -> Array:
    """Return how strongly each bin's multiples sound together, `(257, frames)`, 0 below bin 31."""
    highest = _HARMONICS * _BINS[-1] + _HALF_WINDOW + 1
    magnitude = np.empty((highest, len(frame)))
    for first in range(0, len(frame), _SPECTRA_AT_ONCE):
        part = slice(first, first + _SPECTRA_AT_ONCE)
        spectrum = torch.fft.rfft(torch.from_numpy(frame[part]), _FFT)[:, :highest].numpy()
        magnitude[:, part] = np.sqrt(spectrum.real**2 + spectrum.imag**2).T
    out = np.zeros((_BINS[-1] + 1, frame.shape[0]))
    for center in _BINS:
        product = magnitude[center - _HALF_WINDOW : center + _HALF_WINDOW + 1].copy()
        for harmonic in range(2, _HARMONICS + 1):
            middle = harmonic * center
            product *= magnitude[middle - _HALF_WINDOW : middle + _HALF_WINDOW + 1]
        out[center] = product.sum(axis=0)
    return out


def _peaks(correlation: Array) -> tuple[Array, Array]:
    """Return pitch and merit of the peaks of `(bins, frames)`, `(4, frames)` each, pitch 0 where there is none.

    Frames with more than three peaks have none: there is no telling which is the pitch.
    """
    frames = correlation.shape[1]
    pitch, merit = np.zeros((_MAX_PEAKS, frames)), np.ones((_MAX_PEAKS, frames))
    # Bin k of the correlation is taken for (k - 1) times the bin width, as in the released code.
    values = correlation[1:]
    mean = values[_MEAN_BINS.start : _MEAN_BINS.stop].mean(axis=0)
    values = values / np.where(mean > 0, mean, 1.0)
    inner = values[_PEAK_BINS.start : _PEAK_BINS.stop]
    first, last = _PEAK_BINS.start - _HALF_PEAK, _PEAK_BINS.stop + _HALF_PEAK
    around = np.lib.stride_tricks.sliding_window_view(values[first:last], _HALF_PEAK, axis=0)
    left = around[: len(inner)].max(axis=2)
    right = around[_HALF_PEAK + 1 : _HALF_PEAK + 1 + len(inner)].max(axis=2)
    is_peak = (inner > _MIN_PEAK) & (inner > left) & (inner >= right)
    count = is_peak.sum(axis=0)
    heights = np.where(is_peak, inner, -np.inf)
    good = (count > 0) & (count < _MAX_PEAKS) & (heights.max(axis=0) >= _MIN_BEST)
    if not good.any():
        return pitch, merit
    heights = heights[:, good]
    order = np.argsort(-heights, axis=0, kind="stable")[:_MAX_PEAKS]
    height = np.take_along_axis(heights, order, 0)
    missing = np.isinf(height)
    hz = (order + _PEAK_BINS.start) * _BIN_HZ
    pitch[:, good] = np.where(missing, hz[:1], hz)
    merit[:, good] = np.where(missing, 1.0, height / height[:1])
    return pitch, merit
