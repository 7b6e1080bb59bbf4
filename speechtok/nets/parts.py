"""Means over sequences too long to be seen at once.

Contents: `MeanOfParts`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from speechtok.nets.precision import full_precision


class MeanOfParts:
    """Collects one sequence piece by piece, and applies a function to every so many frames of it.

    Args:
        function: `(1, frames, channels)` to a vector `(1, channels)`.
        size: most frames it sees at once.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], size: int) -> None:
        self._function, self._size = function, size
        self._held: list[Tensor] = []
        self._weighted: list[Tensor] = []
        self._num_frames = 0

    def add(self, frames: Tensor) -> None:
        """Take the next frames, `(1, frames, channels)`."""
        self._held.append(frames)
        while sum(part.shape[1] for part in self._held) > self._size:
            whole = torch.cat(self._held, dim=1)
            self._work_off(whole[:, : self._size])
            self._held = [whole[:, self._size :]]

    def vector(self) -> Tensor:
        """Return the vectors' mean, weighted by frames, `(1, channels)`, once all frames were added."""
        self._work_off(torch.cat(self._held, dim=1))
        return torch.stack(self._weighted).sum(dim=0) / self._num_frames

    def _work_off(self, frames: Tensor) -> None:
        with full_precision(frames.device):
            self._weighted.append(self._function(frames) * frames.shape[1])
        self._num_frames += frames.shape[1]
