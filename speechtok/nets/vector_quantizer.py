"""Vector quantizers with a low-dimensional codebook, chained into residual stages.

Source: van den Oord et al. 2017, arXiv:1711.00937 (VQ); Zeghidour et al. 2021, SoundStream,
arXiv:2107.03312, Algorithm 1 (residual stages); Yu et al. 2021, arXiv:2110.04627, section 3.2
(factorized, L2-normalised codes). Entry names as in `open-mmlab/Amphion`,
`models/codec/ns3_codec/quantize`.

Conventions: features are `(batch, frames, channels)`; codes `(batch, codebooks, frames)`, int64.

Contents: `Table`, `FactorizedQuantizer`, `ResidualQuantizer`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechtok.nets.weight_norm import WeightNormLinear


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
    `out_proj` (codebook_dim → channels). Call `fold` before use.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, channels: int, codebook_size: int, codebook_dim: int) -> None:
        super().__init__()
        self.in_proj = WeightNormLinear(channels, codebook_dim)
        self.out_proj = WeightNormLinear(codebook_dim, channels)
        self._codebook = Table(codebook_size, codebook_dim)
        self.register_buffer("keys", torch.empty(codebook_dim, codebook_size), persistent=False)
        self.register_buffer("values", torch.empty(codebook_size, channels), persistent=False)

    def fold_constants(self) -> None:
        """Compute the unit-length codebook `keys` and `values`, each code's projected row."""
        rows = self._codebook.weight.detach()
        self.keys = functional.normalize(rows, dim=-1).t().contiguous()
        self.values = self.out_proj(rows).detach()

    def encode(self, features: Tensor) -> Tensor:
        """Return the code whose direction is nearest to that of the projected feature, frame by frame.

        Nearest in angle is nearest in distance between unit vectors, so the feature's own length is
        left as it is. Ties fall to the lowest code on the CPU.

        Args:
            features: `(batch, frames, channels)`.

        Returns:
            `(batch, frames)`, int64, in [0, codebook_size).
        """
        return torch.matmul(self.in_proj(features), self.keys).argmax(dim=-1)

    def decode(self, codes: Tensor) -> Tensor:
        """Return `(batch, frames, channels)`, the projected codebook rows of codes `(batch, frames)`."""
        return functional.embedding(codes, self.values)


class ResidualQuantizer(nn.Module):
    """Stages of `FactorizedQuantizer`, each coding what the ones before it left over. Entries: `layers.N`."""

    def __init__(self, num_codebooks: int, channels: int, codebook_size: int, codebook_dim: int) -> None:
        super().__init__()
        self.layers: list[FactorizedQuantizer] = nn.ModuleList(  # type: ignore[assignment]
            FactorizedQuantizer(channels, codebook_size, codebook_dim) for _ in range(num_codebooks)
        )

    def encode(self, features: Tensor, num_codebooks: int | None = None) -> Tensor:
        """Return, for each frame, the code of each stage.

        Args:
            features: `(batch, frames, channels)`.
            num_codebooks: at most this many stages, the first; None runs all.

        Returns:
            `(batch, codebooks, frames)`, int64.
        """
        codes: list[Tensor] = []
        for layer in self.layers[:num_codebooks]:
            if codes:
                features = features - self.layers[len(codes) - 1].decode(codes[-1])
            codes.append(layer.encode(features))
        return torch.stack(codes, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the sum of the stages' values.

        Args:
            codes: `(batch, codebooks, frames)`; fewer codebooks than stages keep the coarse ones.

        Returns:
            `(batch, frames, channels)`.
        """
        out = self.layers[0].decode(codes[:, 0])
        for stage in range(1, codes.shape[1]):
            out = out + self.layers[stage].decode(codes[:, stage])
        return out
