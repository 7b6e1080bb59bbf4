"""Samples that two processes share: one puts arrays in, the other takes them out in the same order.

Both map the same unnamed file, so an array costs two copies and no system call. The one that puts must be told
how far the other one has taken; while that is too little, there is no room, and the array has to go another way.
"""

from __future__ import annotations

import mmap
import os
import tempfile

import numpy as np
from numpy.typing import NDArray

CAPACITY = 1 << 21
"""Samples, 8 MB: what is read ahead of four batches of 20 s finds room at up to 24 kHz."""


class Ring:
    """One end.

    Args:
        file: descriptor of a file from `unnamed_file`, which both ends have.
    """

    def __init__(self, file: int) -> None:
        os.ftruncate(file, 4 * CAPACITY)
        self._samples = np.frombuffer(mmap.mmap(file, 4 * CAPACITY), np.float32)
        self._end = 0
        self.taken = 0
        """Place up to which all was taken."""

    def put(self, samples: NDArray[np.float32]) -> int | None:
        """Return the place of samples that were put in, counted from the first ever; None where there is no room."""
        begin, size = self._end, len(samples)
        if begin % CAPACITY + size > CAPACITY:
            begin += CAPACITY - begin % CAPACITY  # an array lies in one piece
        taken = begin if self.taken == self._end else self.taken
        if begin + size - taken > CAPACITY:
            return None
        self._samples[begin % CAPACITY :][:size] = samples
        self._end = begin + size
        return begin

    def take(self, place: int, size: int) -> NDArray[np.float32]:
        """Return a copy of what was put at a place; all before it counts as taken."""
        begin = place % CAPACITY
        self.taken = place + size
        return self._samples[begin : begin + size].copy()


def unnamed_file() -> int:
    """Return the descriptor of an empty file that vanishes when it is closed."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("samples")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
