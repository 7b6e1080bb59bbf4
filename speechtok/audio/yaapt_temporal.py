"""Pitch candidates of YAAPT from normalised correlation.

Source: Zahorian and Hu 2008, JASA 123(6), section II.D; released AMFM_decompy 1.0.12.

The released code removes the mean of each frame in place, and its frames overlap: a frame has lost the means of
the frames before it where they overlap. As a mean is linear, all those means follow from one recursion.

Contents: `correlation_candidates`.
"""

from __future__ import annotations

import numpy as np
import torch

from speechtok.audio.yaapt_path import Array
from speechtok.audio.yaapt_spectral import MAX_HZ, MIN_HZ, SAMPLE_RATE

_HOP = 80
_FRAME = 400
_OVERLAP = _FRAME // _HOP
_MARGIN = 2
"""Lags by which the range around the spectral track is widened, and neighbours a peak must exceed."""
_CANDIDATES = 3
_MIN_CORRELATION, _SURE_CORRELATION = 0.25, 0.9
_BOOST = 1.2
_FRAMES_AT_ONCE = 512


def correlation_candidates(signal: Array, track: Array, deviation: float) -> tuple[Array, Array]:
    """Return up to three candidates per frame, near a track.

    Args:
        signal: `(samples,)`, float64.
        track: `(frames,)`, Hz.
        deviation: in Hz; candidates lie within twice of it.

    Returns:
        Pitch in Hz, 0 for none, and merit, `(3, frames)` each, best first. Frames that do not lie wholly
        inside the signal have none.
    """
    pitch, merit = np.zeros((_CANDIDATES, len(track))), np.zeros((_CANDIDATES, len(track)))
    count = min(len(track), max(0, (len(signal) - _FRAME) // _HOP + 1))
    if not count:
        return pitch, merit
    blocks = signal[: (count + _OVERLAP - 1) * _HOP].reshape(-1, _HOP)
    frames = np.lib.stride_tricks.sliding_window_view(blocks, _OVERLAP, axis=0)[:count].transpose(0, 2, 1)
    lost = _lost_means(blocks.sum(axis=1), count)
    first = np.floor(SAMPLE_RATE / np.minimum(MAX_HZ, track + 2 * deviation)).astype(np.int64) - _MARGIN
    last = np.floor(SAMPLE_RATE / np.maximum(MIN_HZ, track - 2 * deviation)).astype(np.int64) + _MARGIN
    for start in range(0, count, _FRAMES_AT_ONCE):
        part = slice(start, min(start + _FRAMES_AT_ONCE, count))
        data = (frames[part] - lost[part, :, None]).reshape(-1, _FRAME)
        pitch[:, part], merit[:, part] = _peaks(data, first[part], last[part])
    scale = _BOOST * (1.0 - np.abs(pitch - track) / (5.0 * deviation))
    return pitch, np.where(pitch > 0, merit * scale, 0.0)


def _lost_means(sums: Array, count: int) -> Array:
    """Return what each block of each frame has lost to means, `(count, 5)`.

    Args:
        sums: `(count + 4,)`, sum of each block of 80 samples.
        count: frames; frame i holds blocks i to i + 4.
    """
    totals = np.convolve(sums, np.ones(_OVERLAP), mode="valid")[:count] / _FRAME
    means = [0.0] * (_OVERLAP - 1)  # of the frames before the first
    for total in totals.tolist():
        a, b, c, d = means[-4:]
        means.append(total - (4 * d + 3 * c + 2 * b + a) / 5)
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(means), _OVERLAP)  # frames i - 4 to i
    return np.cumsum(windows[:, ::-1], axis=1)[:, ::-1]


def _peaks(data: Array, first: Array, last: Array) -> tuple[Array, Array]:
    """Return pitch and merit of the three highest peaks between two lags, `(3, frames)` each.

    Args:
        data: `(frames, 400)`.
        first: `(frames,)`, lowest lag of the correlation.
        last: `(frames,)`, the lag past its highest; the first 400 - `last` samples are correlated.
    """
    low, high = int(first.min()), int(last.max())
    lags = np.arange(low, high)
    inside = (lags >= first[:, None]) & (lags < last[:, None])
    length = (_FRAME - last)[:, None]
    head = np.where(np.arange(_FRAME) < length, data, 0.0)
    # Lags below `last` never reach past the frame, so a transform of its own length does not wrap.
    spectra = torch.fft.rfft(torch.from_numpy(np.stack([head, data])))
    products = torch.fft.irfft(spectra[0].conj() * spectra[1], _FRAME)[:, low:high].numpy()
    power = np.zeros((len(data), _FRAME + 1))
    torch.cumsum(torch.from_numpy(data * data), 1, out=torch.from_numpy(power)[:, 1:])
    reach = np.minimum(lags + length, _FRAME)
    lagged = np.take_along_axis(power, reach, 1) - power[:, low:high]
    norm = np.take_along_axis(power, length, 1) * lagged
    usable = inside & (norm > 0)
    correlation = np.where(usable, products / np.sqrt(np.where(usable, norm, 1.0)), 0.0)
    return _highest(correlation, lags, first, last)


def _highest(correlation: Array, lags: Array, first: Array, last: Array) -> tuple[Array, Array]:
    """Return pitch and merit of the three highest peaks, or of only the highest where the correlation is high."""
    c = np.pad(correlation, ((0, 0), (_MARGIN, _MARGIN)))
    width = correlation.shape[1]
    is_sure = correlation.max(axis=1) > _SURE_CORRELATION
    above_neighbours = (correlation > c[:, 1 : width + 1]) & (correlation > c[:, 3 : width + 3])
    above_all = (correlation > c[:, :width]) & (correlation >= c[:, 4 : width + 4])
    is_peak = (
        (correlation > _MIN_CORRELATION)
        & above_neighbours
        & (above_all | is_sure[:, None])
        & (lags >= first[:, None] + _MARGIN)
        & (lags <= last[:, None] - _MARGIN)
    )
    pitch, merit = np.zeros((_CANDIDATES, len(is_peak))), np.zeros((_CANDIDATES, len(is_peak)))
    rows, columns = np.nonzero(is_peak)
    heights = correlation[rows, columns]
    order = np.lexsort((columns, -heights, rows))
    rows, columns, heights = rows[order], columns[order], heights[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
    kept = (rank == 0) | ((rank < _CANDIDATES) & ~is_sure[rows])
    pitch[rank[kept], rows[kept]] = SAMPLE_RATE / (lags[columns[kept]] + 1.0)
    merit[rank[kept], rows[kept]] = heights[kept]
    return pitch, merit
