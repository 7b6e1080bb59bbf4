"""The pitch contour of speech of any level and length, by YAAPT.

Source: see `speechtok.audio.yaapt`; the level rule is that of the released `facebookresearch/speech-resynthesis`.

Conventions: audio is at 16 kHz; contours are `(frames,)` in Hz, 0 where unvoiced, one frame per 5 ms.

Contents: `level_peak`, `extract_pitch`, `fill_gaps`.
"""

from __future__ import annotations

import numpy as np

from speechtok.audio.yaapt import MIN_SAMPLES, num_pitch_frames, track_pitch
from speechtok.audio.yaapt_path import Array, median_filter, monotone_cubic

PEAK = 0.95
"""Level audio is brought to before pitch is tracked and a vocoder trained."""
_TYPICAL_HZ, _SMOOTHING = 100.0, 5
"""Pitch of a recording without any; frames of the median filter before gaps are filled."""


def level_peak(waveform: Array) -> Array:
    """Return `(samples,)` audio with its peak at 0.95, or as it is when it is silent."""
    peak = np.abs(waveform).max(initial=0.0)
    return waveform * (PEAK / peak) if peak > np.finfo(np.float64).tiny else waveform


def extract_pitch(waveform: Array) -> Array:
    """Return the pitch contour of `(samples,)` audio of any level, `ceil(samples / 80)` frames, in Hz.

    Audio too short for a single correlation is unvoiced.
    """
    if len(waveform) < MIN_SAMPLES:
        return np.zeros(num_pitch_frames(len(waveform)))
    return track_pitch(level_peak(np.asarray(waveform, dtype=np.float64)))


def fill_gaps(f0_hz: Array) -> Array:
    """Return a contour without unvoiced frames: a smooth curve through gaps, and level before and after.

    The curve goes through the median of five frames, so that a stray frame at the edge of a gap does not bend it.
    AMFM_decompy extrapolates such a curve to where it has no meaning, up to hundreds of kHz; this one does not.

    Args:
        f0_hz: `(frames,)`, 0 where unvoiced.

    Returns:
        `(frames,)`, Hz, above 0. An unvoiced contour becomes 100 Hz throughout.
    """
    filled = f0_hz.copy()
    voiced, steady = f0_hz > 0, median_filter(f0_hz, _SMOOTHING)
    known = np.flatnonzero(steady)
    if len(known) < 2:
        filled[~voiced] = _TYPICAL_HZ
    else:
        places = np.clip(np.flatnonzero(~voiced), known[0], known[-1])
        filled[~voiced] = monotone_cubic(known, steady[known], places)
    if voiced.any():
        first, last = np.flatnonzero(voiced)[[0, -1]]
        filled[:first], filled[last + 1 :] = f0_hz[first], f0_hz[last]
    return filled
