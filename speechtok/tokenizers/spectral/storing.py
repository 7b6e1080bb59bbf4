"""How weights are stored: matrices in 8 bits with a scale per row, everything else in 16.

An 8-bit number times a scale of 11 significant bits is exact in float32, so what is computed does not depend on the float
type that the weights are brought to.

Contents: `pack`, `unpack`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = ".int8_scale"
"""End of the name of a matrix's scales."""
CODEBOOKS = "codebooks."
"""Beginning of the names of codebooks, which stay in 16 bits: codes follow from differences between their rows."""
_LARGEST = 127


def pack(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the entries that are stored.

    Args:
        weights: entry name → float tensor.

    Returns:
        For a matrix (or kernel) int8 under its name, and float16 `(rows,)` under its name and `SCALE`; for others float16.
    """
    stored: dict[str, Tensor] = {}
    for name, weight in weights.items():
        value = weight.detach().cpu().float()
        if value.dim() < 2 or name.startswith(CODEBOOKS):
            stored[name] = value.half()
            continue
        rows = value.flatten(1)
        scale = (rows.abs().amax(dim=1) / _LARGEST).half().clamp(min=torch.finfo(torch.float16).tiny)
        # a scale that was rounded down would make the largest weight 128
        stored[name] = (
            (rows / scale.float()[:, None]).round().clamp(-_LARGEST, _LARGEST).to(torch.int8).view_as(value)
        )
        stored[name + SCALE] = scale
    return stored


def unpack(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return entry name → float32 tensor of what `pack` made; float entries that have no scale come back as they are.

    Args:
        stored: entry name → tensor.
    """
    weights: dict[str, Tensor] = {}
    for name, value in stored.items():
        if name.endswith(SCALE) and name.removesuffix(SCALE) in stored:
            continue
        scale = stored.get(name + SCALE)
        weights[name] = (
            value.float()
            if scale is None
            else value.float() * scale.float().view(-1, *[1] * (value.dim() - 1))
        )
    return weights
