"""Small numeric tools of the pitch tracker: cheapest path, median filter, monotone cubic interpolation.

Source of the interpolation: Fritsch and Butland 1984, A method for constructing local monotone piecewise cubic
interpolants, SIAM J. Sci. Stat. Comput. 5(2); three-point end slopes as in Moler 2004, Numerical Computing with
MATLAB, section 3.6.

Contents: `cheapest_path`, `median_filter`, `monotone_cubic`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def cheapest_path(cost: Array, change: Array) -> Array:
    """Return the state at each step of the cheapest path; among equals, the highest state.

    Args:
        cost: `(states, steps)`, of being in a state.
        change: `(states before, states after, steps - 1)`, of going from one to the next.

    Returns:
        `(steps,)`, int. A single step stays in state 0.
    """
    states, steps = cost.shape
    path = np.zeros(steps, dtype=np.int64)
    if steps == 1:
        return path
    # Reversed states, so that argmin finds the highest of equals; contiguous per step.
    cost = np.ascontiguousarray(cost[::-1].T)
    change = np.ascontiguousarray(change[::-1, ::-1].transpose(2, 1, 0))  # (steps - 1, after, before)
    came_from = np.empty((steps, states), dtype=np.int64)
    total, after = cost[0], np.arange(states)
    for step in range(1, steps):
        sums = change[step - 1] + total
        best = sums.argmin(axis=1)
        came_from[step] = best
        total = sums[after, best] + cost[step]
    state = int(total.argmin())
    for step in range(steps - 1, 0, -1):
        path[step] = state
        state = int(came_from[step, state])
    path[0] = state
    chosen: Array = np.subtract(states - 1, path)
    return chosen


def median_filter(values: Array, width: int) -> Array:
    """Return the running median of `(frames,)` values over an odd width, zeros beyond the ends."""
    if not len(values):
        return values
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, width // 2), width)
    median: Array = np.partition(windows, width // 2, axis=1)[:, width // 2]
    return median


def monotone_cubic(x: Array, y: Array, at: Array) -> Array:
    """Return a shape-preserving cubic through points, evaluated at other places.

    Args:
        x: `(points,)`, ascending, at least 2.
        y: `(points,)`.
        at: `(places,)`, within `x`.

    Returns:
        `(places,)`, float64.
    """
    step = np.diff(x).astype(np.float64)
    slope = np.diff(y) / step
    if len(x) == 2:
        line: Array = y[0] + slope[0] * (at - x[0])
        return line
    inner = np.zeros(len(x) - 2)
    same = slope[:-1] * slope[1:] > 0
    w1, w2 = 2 * step[1:] + step[:-1], step[1:] + 2 * step[:-1]
    mean = w1[same] / slope[:-1][same] + w2[same] / slope[1:][same]
    inner[same] = (w1 + w2)[same] / mean
    ends = [
        _end_slope(step[0], step[1], slope[0], slope[1]),
        _end_slope(step[-1], step[-2], slope[-1], slope[-2]),
    ]
    tangent = np.concatenate([ends[:1], inner, ends[1:]])
    i = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)
    s = at - x[i]
    quadratic = (3 * slope[i] - 2 * tangent[i] - tangent[i + 1]) / step[i]
    cubic = (tangent[i] + tangent[i + 1] - 2 * slope[i]) / step[i] ** 2
    values: Array = y[i] + s * (tangent[i] + s * (quadratic + s * cubic))
    return values


def _end_slope(h0: float, h1: float, d0: float, d1: float) -> float:
    slope = ((2 * h0 + h1) * d0 - h0 * d1) / (h0 + h1)
    if np.sign(slope) != np.sign(d0):
        return 0.0
    if np.sign(d0) != np.sign(d1) and abs(slope) > 3 * abs(d0):
        return 3 * d0
    return float(slope)
