"""Statistics of pitch and normalised contours.

Source: Polyak et al. 2021, arXiv:2104.00355, section 2.2; the rules are those of the released
`facebookresearch/speech-resynthesis`.

Conventions: contours are in Hz, linear, 0 where unvoiced; normalised contours have voiced frames at zero mean and
unit variance of a speaker, and exactly 0 where unvoiced.

Contents: `PitchStatistics`, `read_statistics`, `normalize_pitch`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from speechtok.audio.yaapt_path import Array
from speechtok.checkpoints.read import load_plain
from speechtok.errors import CheckpointError


@dataclass(frozen=True, kw_only=True)
class PitchStatistics:
    """Mean and standard deviation of voiced pitch, in Hz."""

    mean_hz: float | None = None
    """Over all speakers, or None when only speakers are known."""
    std_hz: float | None = None
    """Likewise."""
    speakers: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    """Mean and deviation by speaker index."""


def read_statistics(path: Path) -> PitchStatistics:
    """Return the statistics in a published `f0_stats.pth` or `.th`, which maps speakers, or nobody, to mean and deviation.

    Raises:
        CheckpointError: if the file cannot be read or holds something else.
    """
    content = load_plain(path)
    try:
        if "f0_mean" in content:
            mean_hz, std_hz = _pair(content)
            return PitchStatistics(mean_hz=mean_hz, std_hz=std_hz)
        return PitchStatistics(speakers={int(name): _pair(item) for name, item in content.items()})
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise CheckpointError(
            f"'{path}' holds no pitch statistics: finite `f0_mean` and `f0_std` are needed, alone or by speaker."
        ) from error


def _pair(item: Any) -> tuple[float, float]:
    mean_hz, std_hz = float(item["f0_mean"]), float(item["f0_std"])
    if not (math.isfinite(mean_hz) and math.isfinite(std_hz) and std_hz > 0):
        raise ValueError("not finite")
    return mean_hz, std_hz


def normalize_pitch(f0_hz: Array, mean_hz: float, std_hz: float, *, fill_unvoiced: bool = False) -> Array:
    """Return a normalised contour.

    Args:
        f0_hz: `(frames,)`, 0 where unvoiced.
        mean_hz: Mean of voiced pitch, of a speaker or over all.
        std_hz: Its standard deviation.
        fill_unvoiced: Give unvoiced frames the median of the voiced ones first, instead of leaving them 0.

    Raises:
        ValueError: when unvoiced frames are to be filled and no frame is voiced.
    """
    voiced = f0_hz > 0
    if fill_unvoiced:
        if not voiced.any():
            raise ValueError("`fill_unvoiced` needs at least one voiced frame, but the contour has none.")
        return (np.where(voiced, f0_hz, np.median(f0_hz[voiced])) - mean_hz) / std_hz
    return np.where(voiced, (f0_hz - mean_hz) / std_hz, 0.0)
