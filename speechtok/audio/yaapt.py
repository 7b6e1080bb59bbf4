"""Pitch by YAAPT, all frames of an utterance at once.

Source: Zahorian and Hu 2008, A spectral/temporal method for robust fundamental frequency tracking, JASA 123(6).
The result follows the released AMFM_decompy 1.0.12 (MIT), whose codes trained pitch quantizers expect, frame by
frame, with the parameters of Polyak et al. 2021, arXiv:2104.00355.

Conventions: signals are `(samples,)` float64 at 16 kHz; a contour is `(frames,)` in Hz, 0 where unvoiced, one
frame per 80 samples, frame i centred on sample 80 i.

Steps: band-pass of the signal and of its square; voicing from the energy between 60 and 400 Hz (`nlfer`); a
smooth track from spectral harmonics of the squared signal; candidates of both signals from normalised
correlation near that track; the cheapest path through the candidates.

A rising or falling contour has paths of exactly equal cost (a candidate and the smoothed candidate of the frame
before), which the released code tells apart by the rounding of its sums. There a frame may be given the other of
two candidates: 4 of 9,261 frames of synthetic and 248 of 428,770 (0.06 %) of recorded speech, voicing in one.
The released code differs from itself in 129 of the latter when samples are moved by one rounding error.

Contents: `track_pitch`, `num_pitch_frames`.
"""

from __future__ import annotations

import numpy as np

from speechtok.audio.yaapt_path import Array, cheapest_path, median_filter
from speechtok.audio.yaapt_spectral import band_energy, band_pass, spectral_track
from speechtok.audio.yaapt_temporal import correlation_candidates

HOP = 80
"""Samples per frame."""
MIN_SAMPLES = 241
"""Fewer samples give fewer than the four frames the released code needs."""
_HALF_FRAME = 160
_VOICED_ENERGY, _SILENT_ENERGY = 0.75, 0.1
_MEDIAN = 7
_WEIGHT_VOICED, _WEIGHT_CHANGE, _WEIGHT_UNVOICED, _WEIGHT_LOCAL = 0.15, 0.5, 0.1, 0.9
_UNVOICED_MERIT = 0.99


def num_pitch_frames(num_samples: int) -> int:
    """Return `ceil(num_samples / 80)`."""
    return -(-num_samples // HOP)


def track_pitch(signal: Array) -> Array:
    """Return the pitch contour.

    Args:
        signal: `(samples,)`, any level; at least `MIN_SAMPLES` samples.

    Returns:
        `(frames,)`, float64, Hz, 0 where unvoiced; `num_pitch_frames(samples)` frames.

    Raises:
        ValueError: when the signal is too short.
    """
    if len(signal) < MIN_SAMPLES:
        raise ValueError(f"`signal` must have at least {MIN_SAMPLES} samples for pitch, got {len(signal)}.")
    frames = num_pitch_frames(len(signal))
    padded = np.pad(np.asarray(signal, dtype=np.float64), _HALF_FRAME)
    linear, squared = band_pass(padded), band_pass(padded * padded)
    energy = band_energy(linear, frames)
    if not energy.any():
        return np.zeros(frames)
    is_voiced = energy > _VOICED_ENERGY
    track, deviation = spectral_track(squared, is_voiced)
    pitch, merit = zip(
        *(correlation_candidates(branch, track, deviation) for branch in (linear, squared)), strict=True
    )
    candidates, merits = _refined(np.concatenate(pitch), np.concatenate(merit), track, energy, is_voiced)
    return _best(candidates, merits, energy)


def _refined(
    pitch: Array, merit: Array, track: Array, energy: Array, is_voiced: Array
) -> tuple[Array, Array]:
    """Order candidates by merit and add the spectral track, the smoothed best candidate and "unvoiced".

    Args:
        pitch: `(6, frames)`, Hz, 0 for none.
        merit: `(6, frames)`.
        track: `(frames,)`, Hz.
        energy: `(frames,)`, relative to its mean.
        is_voiced: `(frames,)`.

    Returns:
        Pitch and merit, `(6, frames)` each.
    """
    order = np.argsort(-merit, axis=0, kind="stable")
    pitch, merit = np.take_along_axis(pitch, order, 0), np.take_along_axis(merit, order, 0)
    smoothed = median_filter(pitch[0], _MEDIAN) * is_voiced
    spectral = np.minimum(1.0, energy / 2)
    merit = np.where(pitch > 0, merit, 0.0)
    merit[5], pitch[5] = 1.0 - merit[0], 0.0
    none = pitch[0] == 0
    pitch[1:, none], merit[1:, none] = 0.0, 1.0 - spectral[none]
    pitch[0, none], merit[0, none] = track[none], spectral[none]
    silent = energy <= _SILENT_ENERGY
    pitch[:, silent], merit[:, silent] = 0.0, _UNVOICED_MERIT
    pitch[4], merit[4] = smoothed, np.where(smoothed > 0, merit[0], 1.0 - spectral)
    pitch[3], merit[3] = track, energy / 5
    return pitch, merit


def _best(pitch: Array, merit: Array, energy: Array) -> Array:
    """Return the pitch along the path of best merit and least change."""
    smoothed = pitch[4][pitch[4] > 0]
    # Without any smoothed candidate the released code divides by the mean of nothing. What follows from NaN
    # (two frames of the default pitch at the start) is kept, as in the codes of silent or tiny recordings.
    mean = smoothed.mean() if len(smoothed) else np.nan
    before, after = pitch[:, None, :-1], pitch[None, :, 1:]  # (from, to, frames - 1)
    similarity = 1.0 - np.minimum(1.0, np.abs(np.diff(energy)))
    change = np.where(
        (before > 0) & (after > 0),
        _WEIGHT_VOICED * (np.abs(after - before) / mean),
        np.where((before > 0) != (after > 0), _WEIGHT_CHANGE * similarity, _WEIGHT_UNVOICED),
    )
    path = cheapest_path(1.0 - merit, change / _WEIGHT_LOCAL)
    return pitch[path, np.arange(pitch.shape[1])]
