"""Residual codebooks that learn: each row is a moving mean of what it stands for.

Source: van den Oord et al. 2017, arXiv:1711.00937, appendix A.1 (moving means); Zeghidour et al. 2021, SoundStream,
arXiv:2107.03312, section III-C (k-means on the first features, rows that are hardly used replaced, residual stages of which
a random number counts).

With several processes all of them hold the same codebooks: counts and sums are added up over processes before they are used.

Contents: `LearntCodebooks`, `Coded`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechtok.nets.vector_quantizer import half_norms_of, nearest
from speechtok.training.processes import all_of, summed

_LLOYD_STEPS = 12
_LEAST = 1e-6


@dataclass(frozen=True, kw_only=True)
class Coded:
    """What quantizing in training gives."""

    features: Tensor
    """`(batch, frames, channels)`; gradients pass to what was quantized unchanged."""
    codes: Tensor
    """`(batch, codebooks, frames)`, int64."""
    commitment: Tensor
    """Mean squared distance of what each stage codes from its row, added up over the stages that count."""


class LearntCodebooks(nn.Module):
    """Residual codebooks in training. Entries: `embed` as in `nets.residual_codebooks`, `counts`, `sums`, `begun`, `first`.

    Args:
        num_codebooks: stages.
        codebook_size: codes per stage.
        channels: of the features.
        decay: of the moving means, per step.
        least_use: rows used less often than this, in features per step, become features of the batch.
        first_features: features that k-means begins with, the latest ones.
    """

    embed: Tensor
    counts: Tensor
    sums: Tensor
    first: Tensor
    begun: Tensor

    def __init__(
        self,
        num_codebooks: int,
        codebook_size: int,
        channels: int,
        *,
        decay: float = 0.99,
        least_use: float = 0.05,
        first_features: int = 0,
    ) -> None:
        super().__init__()
        self.decay, self.least_use = decay, least_use
        self.register_buffer("embed", torch.zeros(num_codebooks, codebook_size, channels))
        self.register_buffer("counts", torch.zeros(num_codebooks, codebook_size))
        self.register_buffer("sums", torch.zeros(num_codebooks, codebook_size, channels))
        self.register_buffer("first", torch.zeros(first_features or 16 * codebook_size, channels))
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def remember(self, features: Tensor) -> None:
        """Keep features `(batch, frames, channels)` for `begin`, and forget the oldest."""
        rows = all_of(features.flatten(0, 1))[-len(self.first) :]
        self.first.copy_(torch.cat([self.first[len(rows) :], rows.to(self.first.dtype)]))

    @torch.no_grad()
    def begin(self, features_per_step: int) -> None:
        """Fit every stage to what was kept by k-means, as if each step from now on had been of such features.

        Args:
            features_per_step: features of a step, over all processes.
        """
        left = self.first[self.first.abs().sum(dim=1) > 0]
        size = self.embed.shape[1]
        share = features_per_step / max(1, len(left))
        for stage in range(len(self.embed)):
            rows = left[_spread(len(left), min(size, len(left)), left)]
            rows = torch.cat([rows, rows.new_zeros(size - len(rows), rows.shape[1])])
            for _ in range(_LLOYD_STEPS):
                codes = nearest(left, rows.t(), half_norms_of(rows))
                counts, sums = _use(codes, left, size)
                rows = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp(min=1), rows)
            codes = nearest(left, rows.t(), half_norms_of(rows))
            counts, _ = _use(codes, left, size)
            self.embed[stage], self.counts[stage] = rows, counts * share
            self.sums[stage] = rows * self.counts[stage][:, None]
            left = left - rows[codes]
        self.begun.fill_(True)

    @torch.no_grad()
    def take(self, embed: Tensor, features_per_step: int) -> None:
        """Begin with rows `(codebooks, codes, channels)`, as if each had been used alike.

        Args:
            embed: the rows.
            features_per_step: as for `begin`.
        """
        self.embed.copy_(embed)
        self.counts.fill_(features_per_step / embed.shape[1])
        self.sums.copy_(self.embed * self.counts[..., None])
        self.begun.fill_(True)

    def forward(self, features: Tensor, num_codebooks: Tensor | None = None) -> Coded:
        """Return what the codes of features stand for; in training mode the codebooks follow the features.

        Args:
            features: `(batch, frames, channels)`.
            num_codebooks: `(batch,)`, how many stages count for each item, the first ones; None counts all. The codebooks of
                the others learn all the same.
        """
        left, total = features, torch.zeros_like(features)
        codes: list[Tensor] = []
        commitment = features.new_zeros(())
        for stage in range(len(self.embed)):
            rows = self.embed[stage].to(features.dtype)
            found = nearest(left.detach(), rows.t(), half_norms_of(rows))
            values = functional.embedding(found, rows)
            if self.training:
                self._follow(stage, found.flatten(), left.detach().flatten(0, 1))
            if num_codebooks is None:
                used = features.new_ones(len(features), 1, 1)
            else:
                used = (num_codebooks > stage).to(features.dtype)[:, None, None]
            commitment = commitment + ((left - values).square() * used).mean()
            total = total + values * used
            left = left - values
            codes.append(found)
        return Coded(
            features=features + (total - features).detach(),
            codes=torch.stack(codes, dim=1),
            commitment=commitment,
        )

    @torch.no_grad()
    def _follow(self, stage: int, codes: Tensor, features: Tensor) -> None:
        counts, sums = _use(codes, features.to(self.sums.dtype), self.embed.shape[1])
        self.counts[stage].lerp_(summed(counts), 1 - self.decay)
        self.sums[stage].lerp_(summed(sums), 1 - self.decay)
        unused = self.counts[stage] < self.least_use
        if bool(unused.any()):
            others = all_of(features).to(self.sums.dtype)
            chosen = others[_spread(len(others), int(unused.sum()), others)]
            self.counts[stage, unused] = (
                6 * self.least_use
            )  # used for a while, until it is known whether they are
            self.sums[stage, unused] = chosen * (6 * self.least_use)
        self.embed[stage] = self.sums[stage] / self.counts[stage][:, None].clamp(min=_LEAST)


def _spread(length: int, count: int, like: Tensor) -> Tensor:
    """Return `count` places from all over `length`, the same in every process."""
    return torch.arange(count, device=like.device) * length // max(1, count) % length


def _use(codes: Tensor, features: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return how often each code stands for a feature, and the sums of what it stands for."""
    counts = torch.bincount(codes, minlength=size).to(features.dtype)
    sums = features.new_zeros(size, features.shape[1]).index_add_(0, codes, features)
    return counts, sums
