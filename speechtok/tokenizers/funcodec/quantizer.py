"""FunCodec's residual vector quantizer: Euclidean codebooks, between projections where they are narrow.

Source: repository `modelscope/FunCodec`, `funcodec/modules/quantization`.

Conventions: features are `(batch, frames, channels)`; codes `(batch, codebooks, frames)`, int64.

Contents: `Quantizer`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechtok.nets.residual_codebooks import ResidualCodebooks


class Quantizer(nn.Module):
    """Codebooks, each coding what the ones before it left over. Entry `rq.model.embed`.

    A codebook narrower than the latent stands between two projections, entries `input_proj` and
    `output_proj`.

    Args:
        channels: of the latent.
        num_codebooks: stages.
        codebook_size: codes per stage.
        codebook_dim: channels in which codes are looked up.
        codec_range: bound r of the squashing r·tanh before the search; None for none.
    """

    def __init__(
        self,
        channels: int,
        num_codebooks: int,
        codebook_size: int,
        codebook_dim: int,
        codec_range: float | None = None,
    ) -> None:
        super().__init__()
        self.codec_range = codec_range
        self.rq = nn.Module()
        self.rq.model = ResidualCodebooks(num_codebooks, codebook_size, codebook_dim)
        if codebook_dim != channels:
            self.input_proj: nn.Linear | None = nn.Linear(channels, codebook_dim)
            self.output_proj: nn.Linear | None = nn.Linear(codebook_dim, channels)
        else:
            self.input_proj = self.output_proj = None

    @property
    def _codebooks(self) -> ResidualCodebooks:
        codebooks: ResidualCodebooks = self.rq.model  # type: ignore[assignment]
        return codebooks

    def encode(self, features: Tensor, num_codebooks: int | None = None) -> Tensor:
        """Return, for each frame, the nearest code of each stage, see `ResidualCodebooks.encode`.

        Args:
            features: `(batch, frames, channels)`.
            num_codebooks: at most this many stages, the first; None runs all.

        Returns:
            `(batch, codebooks, frames)`, int64, in [0, codebook_size).
        """
        if self.input_proj is not None:
            features = self.input_proj(features)
        if self.codec_range is not None:
            features = self.codec_range * torch.tanh(features)
        return self._codebooks.encode(features, num_codebooks)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the sum of the codes' vectors.

        Args:
            codes: `(batch, codebooks, frames)`; fewer codebooks than stages keep the coarse ones.

        Returns:
            `(batch, frames, channels)`.
        """
        total = self._codebooks.decode(codes)
        return total if self.output_proj is None else self.output_proj(total)

    def vectors(self, codes: Tensor) -> Tensor:
        """Return the codes' vectors one by one.

        Args:
            codes: `(batch, codebooks, frames)`.

        Returns:
            `(batch, codebooks, frames, codebook_dim)`.
        """
        return self._codebooks.vectors(codes)
