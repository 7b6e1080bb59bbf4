"""How many threads torch computes with.

A process that `fork` made has none of its parent's threads, but the OpenMP library that torch computes with still
counts on them, and waits for ever once it needs one. Children therefore compute in one thread, as the workers of
torch's own `DataLoader` do; more of them come from more processes, or from processes that are spawned.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread while the block runs.

    For work on small tensors, where more threads mostly wait for each other: on a busy machine that
    makes them many times slower than one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
