"""Computing at full precision on every device.

Contents: `exact`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Compute without gradients and, on an NVIDIA GPU, at full precision.

    Convolutions there round float32 to TF32's 10 bits unless told otherwise, which changes codes.
    """
    flags = torch.backends.cudnn
    with torch.no_grad():
        if device.type != "cuda":
            yield
            return
        with flags.flags(
            enabled=flags.enabled,
            benchmark=flags.benchmark,
            deterministic=flags.deterministic,
            allow_tf32=False,
        ):
            yield
