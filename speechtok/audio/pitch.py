"""The pitch contour of speech of any level and length, by YAAPT.

Source: see `speechtok.audio.yaapt`; the level rule is that of the released `facebookresearch/speech-resynthesis`.

Conventions: audio is at 16 kHz; contours are `(frames,)` in Hz, 0 where unvoiced, one frame per 5 ms.

Contents: `level_peak`, `extract_pitch`.
"""

from __future__ import annotations

import numpy as np

from speechtok.audio.yaapt import MIN_SAMPLES, num_pitch_frames, track_pitch
from speechtok.audio.yaapt_path import Array

PEAK = 0.95
"""Level audio is brought to before pitch is tracked and a vocoder trained."""


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
