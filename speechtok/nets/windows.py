"""Cutting long sequences into windows whose results equal those of the whole.

A network of convolutions has a finite reach: a frame depends on so many frames of input to each side,
its *context*. Computing frames `first` to `stop` from input that extends `context` frames further to
both sides, or to the true ends of the sequence, gives exactly what the whole would. Windows that fit
the processor's cache are also faster than one long pass, so they are used for every length.

A signal that arrives in blocks is cut the same way while it comes in.

What is a mean over a whole sequence is taken of parts of it, where the sequence is too long to be seen at once.

Contents: `Window`, `plan_windows`, `JoinedBlocks`, `MeanOfParts`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from speechtok.nets.precision import full_precision


@dataclass(frozen=True, kw_only=True)
class Window:
    """Frames `first` to `stop` are kept from a pass over frames `start` to `end`."""

    first: int
    stop: int
    start: int
    end: int

    @property
    def kept(self) -> slice:
        """Where the kept frames lie in the result of the pass."""
        return slice(self.first - self.start, self.stop - self.start)


def plan_windows(num_frames: int, size: int, context: int) -> list[Window]:
    """Return windows that keep each frame exactly once.

    Args:
        num_frames: Length of the sequence, at least 1.
        size: Frames to keep per window, at most; windows of one sequence differ by one frame at most.
        context: Frames that a frame depends on, to each side.
    """
    count = -(-num_frames // size)
    bounds = [num_frames * i // count for i in range(count + 1)]
    return [
        Window(first=a, stop=b, start=max(0, a - context), end=min(num_frames, b + context))
        for a, b in pairwise(bounds)
    ]


class JoinedBlocks:
    """Blocks as one signal, of which only the part still needed is held.

    Args:
        blocks: what it is taken from; more may be added.
    """

    def __init__(self, blocks: Iterable[Tensor] = ()) -> None:
        self._blocks: Iterator[Tensor] = iter(blocks)
        self._held: list[Tensor] = []
        self._start = 0
        self.stop = 0

    def fill(self, stop: int) -> bool:
        """Take blocks until sample `stop` is there; return whether the signal is that long."""
        while self.stop < stop:
            block = next(self._blocks, None)
            if block is None:
                return False
            self.add(block)
        return True

    def add(self, block: Tensor) -> None:
        """Take the next `(samples,)`."""
        self._held.append(block)
        self.stop += len(block)

    def read(self, start: int, stop: int) -> Tensor:
        """Return samples `start` to `stop`, or to the end of what was taken."""
        return self._joined()[start - self._start : stop - self._start]

    def forget(self, start: int) -> None:
        """Let go of the samples before `start`."""
        self._held = [self._joined()[start - self._start :].clone()]
        self._start = start

    def _joined(self) -> Tensor:
        if len(self._held) > 1:
            self._held = [torch.cat(self._held)]
        return self._held[0]


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
