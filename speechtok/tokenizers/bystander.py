"""A module that stands beside a model: it goes where the model goes, and is no part of what it trains, saves or casts.

Codes depend on weights and on their dtype, so neither may change because a model around them is trained, loaded from a
checkpoint or cast to half precision; and a checkpoint of a model need not hold the weights of what reads its training data.

Contents: `Bystander`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn


class Bystander(nn.Module):
    """A `torch.nn.Module` without parameters to an optimizer and without entries in a state dictionary.

    `to(device)` and the like on a model that it is part of move it; `train()`, and `half()` and the like on the model, leave
    it as it is. Its own `half()`, `float()` and so on cast it, as `to(dtype=...)` does.
    """

    device: torch.device
    """Where its tensors live."""
    dtype: torch.dtype
    """Float type of all that it computes."""

    def __init__(self) -> None:
        super().__init__()
        self.training = False

    def train(self, mode: bool = True) -> Self:
        """Return it as it is."""
        return self

    def half(self) -> Self:
        """Compute in float16."""
        return self.to(dtype=torch.float16)

    def bfloat16(self) -> Self:
        """Compute in bfloat16."""
        return self.to(dtype=torch.bfloat16)

    def float(self) -> Self:
        """Compute in float32."""
        return self.to(dtype=torch.float32)

    def double(self) -> Self:
        """Compute in float64."""
        return self.to(dtype=torch.float64)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)  # a module would register the networks

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Go where a model that it is part of goes."""
        there = fn(torch.empty(0, dtype=self.dtype, device=self.device)).device
        return self if there == self.device else self.to(there)
