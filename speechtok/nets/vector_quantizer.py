"""Vector quantizers with a low-dimensional codebook, chained into residual stages.

Source: van den Oord et al. 2017, arXiv:1711.00937 (VQ); Zeghidour et al. 2021, SoundStream,
arXiv:2107.03312, Algorithm 1 (residual stages); Yu et al. 2021, arXiv:2110.04627, section 3.2
(factorized, L2-normalised codes). Entry names as in `open-mmlab/Amphion`,
`models/codec/ns3_codec/quantize`, or as in `Plachtaa/FAcodec`.

Conventions: features are `(batch, frames, channels)`; codes `(batch, codebooks, frames)`, int64.

Contents: `nearest`, `half_norms_of`, `Table`, `FactorizedQuantizer`, `ResidualQuantizer`, `Quantized`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechtok.nets.weight_norm import WeightNormConv1d, WeightNormLinear


class Table(nn.Module):
    """Rows to look up. Entry: `weight` `(rows, channels)`.

    Unlike `torch.nn.Embedding` it is built on the meta device without loading torch's compiler, which
    would take a second and 75 MB.
    """

    def __init__(self, rows: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, channels))
        if not self.weight.is_meta:
            nn.init.normal_(self.weight)

    def forward(self, codes: Tensor) -> Tensor:
        """Return `(..., channels)`, the rows of int64 `codes` of shape `(...)`."""
        return functional.embedding(codes, self.weight)


class FactorizedQuantizer(nn.Module):
    """One codebook of unit-length search and un-normalised values, between two projections.

    Entries: `in_proj` (channels → codebook_dim), `_codebook.weight` `(codebook_size, codebook_dim)`,
    `out_proj` (codebook_dim → channels). Call `fold` before `encode` and `decode`.

    Args:
        channels: of the features.
        codebook_size: number of codes.
        codebook_dim: channels in which codes are looked up.
        convolutional: whether the projections are stored as convolutions of kernel 1, and the codebook as
            `codebook.weight`.
    """

    keys: Tensor
    values: Tensor

    def __init__(
        self, channels: int, codebook_size: int, codebook_dim: int, *, convolutional: bool = False
    ) -> None:
        super().__init__()
        if convolutional:
            self.in_proj: nn.Module = WeightNormConv1d(channels, codebook_dim, 1)
            self.out_proj: nn.Module = WeightNormConv1d(codebook_dim, channels, 1)
        else:
            self.in_proj = WeightNormLinear(channels, codebook_dim)
            self.out_proj = WeightNormLinear(codebook_dim, channels)
        self._table_name = "codebook" if convolutional else "_codebook"
        self.add_module(self._table_name, Table(codebook_size, codebook_dim))
        self.register_buffer("keys", torch.empty(codebook_dim, codebook_size), persistent=False)
        self.register_buffer("values", torch.empty(codebook_size, channels), persistent=False)

    @property
    def rows(self) -> Tensor:
        """The codebook, `(codebook_size, codebook_dim)`."""
        rows: Tensor = getattr(self, self._table_name).weight
        return rows

    def fold_constants(self) -> None:
        """Compute the unit-length codebook `keys` and `values`, each code's projected row."""
        rows = self.rows.detach()
        self.keys = functional.normalize(rows, dim=-1).t().contiguous()
        self.values = self.out_proj(rows[None])[0].detach()

    def encode(self, features: Tensor) -> Tensor:
        """Return the code whose direction is nearest to that of the projected feature, frame by frame.

        Nearest in angle is nearest in distance between unit vectors, so the feature's own length is
        left as it is. Ties fall to the lowest code on the CPU.

        Args:
            features: `(batch, frames, channels)`.

        Returns:
            `(batch, frames)`, int64, in [0, codebook_size).
        """
        return nearest(self.in_proj(features), self.keys)

    def decode(self, codes: Tensor) -> Tensor:
        """Return `(batch, frames, channels)`, the projected codebook rows of codes `(batch, frames)`."""
        return functional.embedding(codes, self.values)

    def forward(self, features: Tensor, used: Tensor | None = None) -> Quantized:
        """Return what the codes stand for, differentiable, with the losses of the codebook.

        Gradients pass the search unchanged (straight-through). Works on weights as stored, so not on
        what `fold` computed.

        Args:
            features: `(batch, frames, channels)`.
            used: `(batch,)`, 1 for items that count in the losses and 0 for others; None counts all.
        """
        projected = self.in_proj(features)
        keys = functional.normalize(self.rows.detach(), dim=-1)
        codes = nearest(projected.detach(), keys.t())
        rows = functional.embedding(codes, self.rows)
        return Quantized(
            features=self.out_proj(projected + (rows - projected).detach()),
            codes=codes,
            commitment_loss=_mean_square(projected - rows.detach(), used),
            codebook_loss=_mean_square(rows - projected.detach(), used),
        )


def nearest(features: Tensor, keys: Tensor, half_norms: Tensor | None = None) -> Tensor:
    """Return the code that is nearest to each feature, the lowest of several on the CPU.

    Nearest is the greatest x·k - ‖k‖²/2, which orders codes as their distance to x does. Two equal rows may differ in the last bit of
    that, as the place of a row decides the order in which its products are added up.

    Args:
        features: `(..., channels)`.
        keys: `(channels, codes)`.
        half_norms: `(codes,)`, half the squared length of every code; None where all are equally long.

    Returns:
        `(...)`, int64.
    """
    with torch.no_grad():
        score = features @ keys
        return (score if half_norms is None else score.sub_(half_norms)).argmax(dim=-1)


def half_norms_of(rows: Tensor) -> Tensor:
    """Return half the squared length of each row, `(...)` of `(..., channels)`."""
    return rows.detach().square().sum(dim=-1) / 2


def _mean_square(difference: Tensor, used: Tensor | None) -> Tensor:
    each = difference.square().mean(dim=(1, 2))  # (batch,)
    return (each if used is None else each * used).mean()


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """What quantizing in training gives."""

    features: Tensor
    """`(batch, frames, channels)`."""
    codes: Tensor
    """`(batch, frames)` of one codebook, `(batch, codebooks, frames)` of several, int64."""
    commitment_loss: Tensor
    """Mean squared distance of the projected features from their rows, which moves the features."""
    codebook_loss: Tensor
    """The same distance, which moves the rows."""


class ResidualQuantizer(nn.Module):
    """Stages of `FactorizedQuantizer`, each coding what the ones before it left over.

    Entries: `layers.N`, or `quantizers.N` when the stages are `convolutional`; arguments as there.
    """

    def __init__(
        self,
        num_codebooks: int,
        channels: int,
        codebook_size: int,
        codebook_dim: int,
        *,
        convolutional: bool = False,
    ) -> None:
        super().__init__()
        self._stages_name = "quantizers" if convolutional else "layers"
        stages = nn.ModuleList(
            FactorizedQuantizer(channels, codebook_size, codebook_dim, convolutional=convolutional)
            for _ in range(num_codebooks)
        )
        self.add_module(self._stages_name, stages)

    @property
    def stages(self) -> list[FactorizedQuantizer]:
        """The stages, coarse first."""
        stages: list[FactorizedQuantizer] = getattr(self, self._stages_name)
        return stages

    def encode(self, features: Tensor, num_codebooks: int | None = None) -> Tensor:
        """Return, for each frame, the code of each stage.

        Args:
            features: `(batch, frames, channels)`.
            num_codebooks: at most this many stages, the first; None runs all.

        Returns:
            `(batch, codebooks, frames)`, int64.
        """
        codes: list[Tensor] = []
        for stage in self.stages[:num_codebooks]:
            if codes:
                features = features - self.stages[len(codes) - 1].decode(codes[-1])
            codes.append(stage.encode(features))
        return torch.stack(codes, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the sum of the stages' values.

        Args:
            codes: `(batch, codebooks, frames)`; fewer codebooks than stages keep the coarse ones.

        Returns:
            `(batch, frames, channels)`.
        """
        out = self.stages[0].decode(codes[:, 0])
        for stage in range(1, codes.shape[1]):
            out = out + self.stages[stage].decode(codes[:, stage])
        return out

    def forward(self, features: Tensor, num_codebooks: Tensor | None = None) -> Quantized:
        """Return the sum of what the stages make of the features, differentiable; losses are summed too.

        Args:
            features: `(batch, frames, channels)`.
            num_codebooks: `(batch,)`, int64, how many stages count for each item, the first; None counts all. The
                others run all the same, and are left out of sum and losses. (Kumar et al. 2023,
                arXiv:2306.06546, section 3.3, quantizer dropout.)
        """
        found: list[Quantized] = []
        total = torch.zeros_like(features)
        for number, stage in enumerate(self.stages):
            used = None if num_codebooks is None else (num_codebooks > number).to(features.dtype)
            found.append(stage(features, used))
            features = features - found[-1].features
            total = total + (found[-1].features if used is None else found[-1].features * used[:, None, None])
        return Quantized(
            features=total,
            codes=torch.stack([stage.codes for stage in found], dim=1),
            commitment_loss=torch.stack([stage.commitment_loss for stage in found]).sum(),
            codebook_loss=torch.stack([stage.codebook_loss for stage in found]).sum(),
        )
