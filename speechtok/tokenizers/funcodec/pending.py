"""Results of convolutions whose norm, activation and padding are put off until somebody needs them.

Between two convolutions FunCodec normalises, adds the shortcut, applies ELU and mirrors the ends. Each of
these would go through memory once; `Pending` remembers them and does all in one pass.

Only one utterance in float32 on the CPU is put off, where `kernels.usable`; all else is computed at once.

Contents: `Pending`, `Signal`, `Layer`, `settled`, `added`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from speechtok.nets.padding import reflect_pad
from speechtok.tokenizers.funcodec import kernels
from speechtok.tokenizers.funcodec.kernels import Term


@dataclass(frozen=True, kw_only=True)
class Pending:
    """A sum of normalised convolutions, `(1, channels, …, frames)` once it is settled."""

    terms: tuple[Term, ...]
    """One or two."""
    is_image: bool
    """Whether it has a frequency axis."""
    is_active: bool = False
    """Whether the sum goes through ELU."""

    @classmethod
    def normed(cls, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Pending:
        """Put off the norm over all of `x`, `(1, channels, …, frames)`; its statistics are taken now."""
        signal = (x if x.dim() == 4 else x[:, :, None])[0].movedim(0, -1).contiguous()
        mean, variance = kernels.moments(signal)
        scale = weight * (variance + epsilon) ** -0.5
        term = Term(signal=signal, scale=scale, shift=torch.add(bias, scale, alpha=-mean))
        return cls(terms=(term,), is_image=x.dim() == 4)

    @property
    def frames(self) -> int:
        """Frames of the settled tensor."""
        return self.terms[0].signal.shape[1]

    def active(self) -> Pending:
        """Return this through ELU."""
        return replace(self, is_active=True)

    def narrow(self, axis: int, start: int, length: int) -> Pending:
        """Return a part along an axis of the settled tensor, 2 or 3."""
        axis -= 2 if self.is_image else 1
        terms = [replace(term, signal=term.signal.narrow(axis, start, length)) for term in self.terms]
        return replace(self, terms=tuple(terms))

    def settle(self, before: int = 0, after: int = 0, bands: tuple[int, int] = (0, 0)) -> Tensor:
        """Return the tensor, its ends mirrored as `nets.padding.reflect_pad` does, channels last in memory."""
        rows, columns, _ = self.terms[0].signal.shape
        if columns <= max(before, after) or rows <= max(bands):
            return reflect_pad(self.settle(), before, after, bands=bands)
        out = kernels.settle(self.terms, self.is_active, bands, (before, after)).movedim(-1, 0)[None]
        return out if self.is_image else out[:, :, 0]


Signal = Tensor | Pending
"""What goes from layer to layer."""


class Layer(nn.Module, ABC):
    """A layer over utterances; see `convolutions` for `x` and `lengths`."""

    @abstractmethod
    def run(self, x: Signal, lengths: Tensor | None) -> tuple[Signal, Tensor | None]:
        """Return the same as `forward`, of which the last steps may be pending."""

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return the layer's output and its lengths."""
        y, lengths = self.run(x, lengths)
        return settled(y), lengths


def settled(x: Signal) -> Tensor:
    """Return a signal as a tensor."""
    return x.settle() if isinstance(x, Pending) else x


def added(x: Signal, y: Signal) -> Signal:
    """Return the sum of two signals; a tensor `y` may be overwritten where no gradient is wanted."""
    if isinstance(x, Pending) and isinstance(y, Pending):
        is_plain = not (x.is_active or y.is_active) and len(x.terms) == len(y.terms) == 1
        if is_plain:
            return replace(x, terms=(*x.terms, *y.terms))
    a, b = settled(x), settled(y)
    return a + b if torch.is_grad_enabled() else b.add_(a)
