"""Codebooks in training: which codes are in use, and what becomes of those that are not.

Sources: Dhariwal et al. 2020, Jukebox, arXiv:2005.00341, section 3.1 (codes without use become encoder outputs of the
batch); Salimans and Kingma 2016, Weight Normalization, arXiv:1602.07868, section 3 (layers that begin with outputs of
mean 0 and deviation 1). The released training of FAcodec does without both.

Contents: `CodeUse`, `standardize`, `usage`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechtok.nets.vector_quantizer import FactorizedQuantizer, ResidualQuantizer
from speechtok.training.processes import all_of, summed

_LEAST_DEVIATION = 1e-6
"""Channels that vary less are scaled as if they varied by this."""


class CodeUse(nn.Module):
    """Remembers which codes of each codebook occurred, and replaces the others now and then.

    Before the first batch the projections into the codebooks are standardised too, so that what is looked up spreads to
    all sides: codes are compared by angle, and new projections make nearly the same angle of everything. Its counts are entries of the state, `count` and `STREAM`, so that a run goes on with them.

    Args:
        quantizers: stream → its codebooks.
        every: calls of `observe` between two replacements; the first call is one.
    """

    count: Tensor

    def __init__(self, quantizers: dict[str, ResidualQuantizer], every: int) -> None:
        super().__init__()
        self.every = every
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        for name, quantizer in quantizers.items():
            size = len(quantizer.stages[0].rows)
            self.register_buffer(name, torch.zeros(len(quantizer.stages), size, dtype=torch.int64))

    @property
    def is_first(self) -> bool:
        """Whether nothing was observed yet."""
        return int(self.count) == 0

    @property
    def is_due(self) -> bool:
        """Whether codes are to be replaced before the next batch."""
        return int(self.count) % self.every == 0

    @torch.no_grad()
    def replace(self, name: str, quantizer: ResidualQuantizer, features: Tensor) -> Tensor:
        """Replace codes of a stream that did not occur, and return what its codebooks then make of features.

        Args:
            name: stream.
            quantizer: of the stream.
            features: `(batch, frames, channels)`.
        """
        counts, total = getattr(self, name), torch.zeros_like(features)
        for number, (stage, count) in enumerate(zip(quantizer.stages, counts, strict=True)):
            if self.is_first:
                standardize(stage.in_proj, stage.in_proj(features))
            _replace(stage, count == 0, features, seed=int(self.count) * len(counts) + number)
            made = stage(features).features
            features, total = features - made, total + made
        counts.zero_()
        return total

    @torch.no_grad()
    def observe(self, codes: dict[str, Tensor]) -> None:
        """Count the codes `(batch, codebooks, frames)` of a batch."""
        self.count += 1
        for name, values in codes.items():
            counts: Tensor = getattr(self, name)
            for row, found in zip(counts, values.unbind(1), strict=True):
                row += summed(torch.bincount(found.flatten(), minlength=len(row)))


def _replace(stage: FactorizedQuantizer, is_unused: Tensor, features: Tensor, *, seed: int) -> None:
    projected = all_of(stage.in_proj(features).flatten(0, 1))
    unused = is_unused.nonzero()[:, 0]
    # the same in every process, and others each time and in each stage
    order = torch.randperm(len(projected), generator=torch.Generator().manual_seed(seed))
    chosen = order[torch.arange(len(unused)) % len(order)].to(projected.device)
    stage.rows[unused] = projected[chosen]


@torch.no_grad()
def standardize(layer: nn.Module, made: Tensor) -> None:
    """Scale and shift a linear layer so that each channel of what it made has mean 0 and deviation 1.

    Args:
        layer: with weight norm or without.
        made: `(batch, frames, channels)`.
    """
    rows = all_of(made.flatten(0, 1))
    mean, deviation = rows.mean(dim=0), rows.std(dim=0).clamp(min=_LEAST_DEVIATION)
    weight = layer.get_parameter("weight_g" if hasattr(layer, "weight_g") else "weight")
    weight.div_(deviation.view(-1, *[1] * (weight.dim() - 1)))
    bias = layer.get_parameter("bias")
    bias.sub_(mean).div_(deviation)


def usage(codes: Tensor, size: int) -> Tensor:
    """Return how often each code occurs, `(codebooks, size)`, of codes `(batch, codebooks, frames)`."""
    return functional.one_hot(codes.transpose(0, 1).flatten(1), size).sum(dim=1)
