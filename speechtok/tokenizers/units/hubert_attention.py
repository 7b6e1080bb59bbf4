"""Self-attention of HuBERT and wav2vec 2.0, and of WavLM with its gated relative positions.

Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2; Chen et al. 2022, WavLM, arXiv:2110.13900, section III.B,
whose buckets of distances are those of Raffel et al. 2020, T5, arXiv:1910.10683, section 2.1. Entry names as in
`facebook/hubert-base-ls960` and `microsoft/wavlm-base-plus` on the Hugging Face Hub.

Conventions: features are `(batch, frames, channels)`; a mask `(batch, 1, 1, frames)` is true for keys that count.

Contents: `Attention`, `GatedAttention`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechtok.tokenizers.units.hubert_extractor import HubertSettings

_GATE = 8
"""Numbers that decide the two gates of a frame and head, four each."""
_QUERIES = 512
"""Frames whose biases are held at once, so that memory does not grow with the square of the length."""


class Attention(nn.Module):
    """Multi-head self-attention. Entries: `q_proj`, `k_proj`, `v_proj`, `out_proj`."""

    def __init__(self, settings: HubertSettings) -> None:
        super().__init__()
        self.num_heads = settings.num_heads
        self.k_proj = nn.Linear(settings.channels, settings.channels)
        self.v_proj = nn.Linear(settings.channels, settings.channels)
        self.q_proj = nn.Linear(settings.channels, settings.channels)
        self.out_proj = nn.Linear(settings.channels, settings.channels)

    def forward(self, x: Tensor, mask: Tensor | None, bias: Tensor | None) -> Tensor:
        """Return `(batch, frames, channels)`; there is no `bias` here."""
        q, k, v = (self.heads(p(x)) for p in (self.q_proj, self.k_proj, self.v_proj))
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(x.shape))
        return out

    def heads(self, x: Tensor) -> Tensor:
        """Return `(batch, heads, frames, channels of a head)`."""
        return x.view(x.shape[0], x.shape[1], self.num_heads, -1).transpose(1, 2)


class GatedAttention(Attention):
    """Attention with a bias by distance that each frame and head weighs anew.

    Entries: those of `Attention`, `gru_rel_pos_linear`, `gru_rel_pos_const`, and in the first layer `rel_attn_embed`.

    Args:
        settings: sizes; `buckets` is above 0.
        has_table: whether this layer holds the biases that all layers use.
    """

    def __init__(self, settings: HubertSettings, *, has_table: bool) -> None:
        super().__init__(settings)
        self.max_distance = settings.max_distance
        if has_table:
            self.rel_attn_embed = nn.Embedding(settings.buckets, settings.num_heads)
        self.gru_rel_pos_linear = nn.Linear(settings.channels // settings.num_heads, _GATE)
        self.gru_rel_pos_const = nn.Parameter(torch.ones(1, settings.num_heads, 1, 1))

    def biases(self, frames: int) -> Tensor:
        """Return `(heads, 2 · frames - 1)`: the bias of a key `1 - frames` to `frames - 1` frames after its query."""
        distance = torch.arange(1 - frames, frames, device=self.gru_rel_pos_const.device)
        one_side = self.rel_attn_embed.num_embeddings // 2
        exact = one_side // 2
        # float32 whatever the network is, since rounding decides the bucket of a few distances
        far = torch.log(distance.abs().clamp(min=1).float() / exact) / math.log(self.max_distance / exact)
        far = (exact + (far * (one_side - exact)).long()).clamp(max=one_side - 1)
        bucket = torch.where(distance.abs() < exact, distance.abs(), far) + one_side * (distance > 0)
        out: Tensor = self.rel_attn_embed(bucket).T.contiguous()
        return out

    def forward(self, x: Tensor, mask: Tensor | None, bias: Tensor | None) -> Tensor:
        """Return `(batch, frames, channels)`; `bias` is that of the first layer's `biases`."""
        assert bias is not None  # noqa: S101 - the encoder gives it to every layer
        q, k, v = (self.heads(p(x)) for p in (self.q_proj, self.k_proj, self.v_proj))
        halves = self.gru_rel_pos_linear(self.heads(x)).unflatten(-1, (2, _GATE // 2)).sum(dim=-1).sigmoid()
        update, reset = halves[..., :1], halves[..., 1:]  # (batch, heads, frames, 1)
        gate = update * (reset * self.gru_rel_pos_const - 1) + 2
        frames = x.shape[1]
        windows = bias.unfold(1, frames, 1)  # (heads, frames, frames), the last query first; no copy
        mixed = torch.empty_like(q)
        for first in range(0, frames, _QUERIES):
            stop = min(first + _QUERIES, frames)
            own = gate[:, :, first:stop] * windows[:, frames - stop : frames - first].flip(1)
            if mask is not None:
                own = own.masked_fill(~mask, -torch.inf)
            mixed[:, :, first:stop] = functional.scaled_dot_product_attention(
                q[:, :, first:stop], k, v, attn_mask=own
            )
        out: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(x.shape))
        return out
