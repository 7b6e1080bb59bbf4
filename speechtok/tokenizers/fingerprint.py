"""The fingerprint: a hash of everything that decides what a code means."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

LENGTH = 32
"""Hexadecimal digits kept: 128 bits."""


def fingerprint(method: str, settings: Mapping[str, Any], weights: Mapping[str, Tensor] | None = None) -> str:
    """Return the hash that identifies a tokenizer's codes.

    It depends on values only: the file format the weights came in, the card's name and the device
    change nothing.

    Args:
        method: family and version of the method, such as "dmel/1"; the version rises when code
            changes the codes.
        settings: architecture values, plain.
        weights: tensors by name, as stored.
    """
    digest = hashlib.sha256(json.dumps([method, settings], sort_keys=True).encode())
    for name, tensor in sorted((weights or {}).items()):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        # as bytes, since numpy knows no bfloat16
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:LENGTH]
