"""Silence at the ends of a recording, and padding to whole frames.

Source: the rule of librosa's `effects.trim` (librosa 0.11): a frame is heard when its root mean square lies less
than `top_db` below that of the loudest frame; frames are 2048 samples every 512, centred, the signal continued with
zeros. A silent recording has no loudest frame and is kept whole.

Contents: `trim_silence`, `pad_to_multiple`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FRAME_SAMPLES, HOP_SAMPLES = 2048, 512
_FLOOR = 1e-10
"""Power below which librosa takes every frame for equally silent."""

Samples = NDArray[np.floating[Any]]


def trim_silence(samples: Samples, *, top_db: float = 20.0) -> Samples:
    """Return `(samples,)` audio without the silence before and after what is heard.

    Args:
        samples: `(samples,)`, float.
        top_db: decibels below the loudest frame at which silence begins, above 0.

    Raises:
        ValueError: when `top_db` is not above 0.
    """
    if not top_db > 0:
        raise ValueError(f"`top_db` must be above 0, got {top_db}.")
    if not len(samples):
        return samples
    padded = np.pad(samples, FRAME_SAMPLES // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME_SAMPLES)[::HOP_SAMPLES]
    power = np.square(frames).mean(axis=1)  # (frames,)
    level = 10 * np.log10(np.maximum(power, _FLOOR))
    heard = np.flatnonzero(level - level.max() > -top_db)
    return samples[heard[0] * HOP_SAMPLES : (heard[-1] + 1) * HOP_SAMPLES]


def pad_to_multiple(samples: Samples, multiple: int) -> Samples:
    """Return `(samples,)` audio with zeros at its end up to a whole multiple; none when it is one already.

    Raises:
        ValueError: when `multiple` is less than 1.
    """
    if multiple < 1:
        raise ValueError(f"`multiple` must be at least 1, got {multiple}.")
    return np.pad(samples, (0, -len(samples) % multiple))
