"""The most probable path of symbols through the output of a CTC model.

Source: Graves et al. 2006, "Connectionist Temporal Classification", ICML; Kürzinger et al. 2020, "CTC-Segmentation", arXiv:2007.09127, for its use in
alignment.

Conventions: a path gives each frame a symbol or the blank; symbols follow each other in the order of the text, each for one frame or more, with
any number of blanks between them, and at least one between two that are equal.

Contents: `best_path`, `symbol_spans`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def best_path(log_probs: Array, symbols: Sequence[int], blank: int) -> list[int] | None:
    """Return for each frame the place of its symbol, or -1 for the blank; None when there are too few frames.

    Of paths that are equally probable, the one that stays longest in what comes first is taken.

    Args:
        log_probs: `(frames, classes)`, natural logarithms.
        symbols: classes of the text, in order, without blanks; at least one.
        blank: the class of the blank.
    """
    states = np.full(2 * len(symbols) + 1, blank)
    states[1::2] = symbols
    skips = np.zeros(len(states), dtype=bool)  # from one symbol to the next, over the blank between them
    skips[3::2] = states[3::2] != states[1:-2:2]
    frames = len(log_probs)
    score = np.full(len(states), -np.inf)
    score[:2] = log_probs[0, states[:2]] if frames else -np.inf
    steps = np.zeros((frames, len(states)), dtype=np.int8)
    for frame in range(1, frames):
        ways = np.full((3, len(states)), -np.inf)
        ways[0] = score
        ways[1, 1:] = score[:-1]
        ways[2, 2:] = np.where(skips[2:], score[:-2], -np.inf)
        steps[frame] = ways.argmax(axis=0)
        score = ways.max(axis=0) + log_probs[frame, states]
    last = len(states) - 1 - int(score[-1] < score[-2])
    if not np.isfinite(score[last]):
        return None
    path = []
    for frame in range(frames - 1, -1, -1):
        path.append(last)
        last -= int(steps[frame, last])
    return [(state - 1) // 2 if state % 2 else -1 for state in reversed(path)]


def symbol_spans(path: Sequence[int], pause_frames: int) -> list[tuple[int, int]]:
    """Return where each symbol of a path begins and ends, in frames.

    CTC models spike: a symbol lasts until the next one, and blanks between are halved. Longer runs of blanks, and those at both ends, are pauses, in no span.

    Args:
        path: what `best_path` gives.
        pause_frames: blanks in a run from which on it is a pause.
    """
    spans: list[tuple[int, int]] = []
    for frame, place in enumerate(path):
        if place < 0:
            continue
        if place == len(spans):
            blanks = frame - spans[-1][1] if spans else 0
            if spans and blanks < pause_frames:
                middle = spans[-1][1] + blanks // 2
                spans[-1] = (spans[-1][0], middle)
                spans.append((middle, frame + 1))
                continue
            spans.append((frame, frame + 1))
        spans[place] = (spans[place][0], frame + 1)
    return spans
