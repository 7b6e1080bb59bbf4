"""Residual vector quantization with Euclidean codebooks.

Source: Zeghidour et al. 2021, SoundStream, arXiv:2107.03312, Algorithm 1.

Conventions: features are `(batch, frames, channels)`; codes `(batch, codebooks, frames)`, int64.

Contents: `ResidualCodebooks`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechtok.nets.vector_quantizer import half_norms_of, nearest

BLOCK_FRAMES = 2048
"""Frames that are searched together."""


class ResidualCodebooks(nn.Module):
    """Codebooks, each coding what the ones before it left over. Entry `embed`. Call `fold` before `encode`.

    Args:
        num_codebooks: stages.
        codebook_size: codes per stage.
        channels: in which codes are looked up.
    """

    half_norms: Tensor

    def __init__(self, num_codebooks: int, codebook_size: int, channels: int) -> None:
        super().__init__()
        self.embed = nn.Parameter(torch.empty(num_codebooks, codebook_size, channels))
        self.register_buffer("half_norms", torch.empty(0), persistent=False)

    def fold_constants(self) -> None:
        """Compute half the squared length of every code."""
        self.half_norms = half_norms_of(self.embed)

    def encode(self, features: Tensor, num_codebooks: int | None = None) -> Tensor:
        """Return, for each frame, the nearest code of each stage.

        Ties fall to the lowest code on the CPU. Frames go through all stages in blocks, so the products with
        a codebook never take more than `BLOCK_FRAMES * codebook_size` values.

        Args:
            features: `(batch, frames, channels)`.
            num_codebooks: at most this many stages, the first; None runs all.

        Returns:
            `(batch, codebooks, frames)`, int64, in [0, codebook_size).
        """
        blocks = torch.split(features.flatten(0, 1), BLOCK_FRAMES)  # of (batch * frames, channels)
        codes = torch.cat([self._search(block, num_codebooks) for block in blocks], dim=1)
        return codes.view(-1, *features.shape[:2]).transpose(0, 1).contiguous()

    def _search(self, residual: Tensor, num_codebooks: int | None) -> Tensor:
        """Return the codes `(codebooks, frames)` of `(frames, channels)`."""
        codes: list[Tensor] = []
        for codebook, half_norm in list(zip(self.embed, self.half_norms, strict=True))[:num_codebooks]:
            code = nearest(residual, codebook.t(), half_norm)
            residual = residual - functional.embedding(code, codebook)
            codes.append(code)
        return torch.stack(codes)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the sum of the codes' vectors.

        Args:
            codes: `(batch, codebooks, frames)`; fewer codebooks than stages keep the coarse ones.

        Returns:
            `(batch, frames, channels)`.
        """
        total = functional.embedding(codes[:, 0], self.embed[0])
        for stage in range(1, codes.shape[1]):
            total = total + functional.embedding(codes[:, stage], self.embed[stage])
        return total

    def vectors(self, codes: Tensor) -> Tensor:
        """Return the codes' vectors one by one.

        Args:
            codes: `(batch, codebooks, frames)`.

        Returns:
            `(batch, codebooks, frames, channels)`.
        """
        stages = [functional.embedding(codes[:, q], self.embed[q]) for q in range(codes.shape[1])]
        return torch.stack(stages, dim=1)
