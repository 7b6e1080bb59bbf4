"""The pre-norm transformer with a convolutional feed-forward part that speech codecs use globally.

Source: Vaswani et al. 2017, arXiv:1706.03762, with layer norms first; feed-forward part with a
convolution as in Ren et al. 2021, FastSpeech 2, arXiv:2006.04558, section 2.2; style-adaptive norm as
in Min et al. 2021, Meta-StyleSpeech, arXiv:2106.03153, section 3.1. Entry names as in
`open-mmlab/Amphion`, `models/codec/ns3_codec/transformer.py`.

Conventions: features are `(batch, frames, channels)`; a style is `(batch, channels)`.

The released code adds row b of the position table to every frame of batch item b, so its results
depend on an item's place in the batch. It was published for, and is used with, one item at a time;
every item here gets row 0, as if it were alone. Attention then has no notion of time but through the
convolution.

Memory: attention never forms a frames × frames matrix, and everything else goes in blocks of frames,
so memory is about three tensors of the input's size. Time is quadratic in the number of frames.

Contents: `Transformer`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

BLOCK = 16_384
"""Frames per block; longer inputs also go through attention one head at a time."""


class _PositionRow(nn.Module):
    """Row 0 of the published table `pe` `(rows, 1, channels)`: zeros and ones in turn."""

    pe: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("pe", torch.tensor([0.0, 1.0]).repeat(channels // 2).view(1, 1, channels))


class _StyleNorm(nn.Module):
    """Layer norm whose scale and shift are linear in the style. Entry: `style`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.style = nn.Linear(channels, 2 * channels)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale, shift = self.style(style)[:, None].chunk(2, dim=-1)  # (batch, 1, channels) each
        normed: Tensor = functional.layer_norm(x, x.shape[-1:], eps=1e-5) * scale + shift
        return normed


class _SelfAttention(nn.Module):
    """Multi-head attention. Entries: `in_proj_weight`, `in_proj_bias` (query, key, value), `out_proj`."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_proj = nn.Linear(channels, channels)


class _ConvFeedForward(nn.Module):
    """Convolution, ReLU, linear. Entries: `ffn_1`, `ffn_2`."""

    def __init__(self, channels: int, hidden: int, kernel_size: int) -> None:
        super().__init__()
        self.ffn_1 = nn.Conv1d(channels, hidden, kernel_size)
        self.ffn_2 = nn.Linear(hidden, channels)


class _Layer(nn.Module):
    """Attention, then feed-forward, each added to what it was given after a norm."""

    def __init__(self, channels: int, num_heads: int, hidden: int, kernel_size: int, *, styled: bool) -> None:
        super().__init__()
        self.ln_1: nn.Module = _StyleNorm(channels) if styled else nn.LayerNorm(channels)
        self.self_attn = _SelfAttention(channels, num_heads)
        self.ln_2: nn.Module = _StyleNorm(channels) if styled else nn.LayerNorm(channels)
        self.ffn = _ConvFeedForward(channels, hidden, kernel_size)

    def forward(self, x: Tensor, style: tuple[Tensor, ...], inside: Tensor | None) -> Tensor:
        """Return the layer's output; without gradients, `x` is used as working memory."""
        attended = self._attend(x, style, inside)
        out = torch.empty_like(x) if torch.is_grad_enabled() else attended
        x = x.clone() if torch.is_grad_enabled() else x
        for block in _blocks(x.shape[1]):
            x[:, block] += self.self_attn.out_proj(attended[:, block])
        return self._feed_forward(x, style, inside, out)

    def _attend(self, x: Tensor, style: tuple[Tensor, ...], inside: Tensor | None) -> Tensor:
        """Return the heads' outputs side by side, `(batch, frames, channels)`, before `out_proj`."""
        attn, (batch, frames, channels) = self.self_attn, x.shape
        size = channels // attn.num_heads
        together = attn.num_heads if frames <= BLOCK else 1
        weight = attn.in_proj_weight.view(3, attn.num_heads, size, channels)
        bias = attn.in_proj_bias.view(3, attn.num_heads, size)
        mask = None if inside is None else inside[:, None, None]
        out = torch.empty_like(x)
        for head in range(0, attn.num_heads, together):
            heads = slice(head, head + together)
            parts = x.new_empty(3, batch, together, frames, size)
            for block in _blocks(frames):
                normed = self.ln_1(x[:, block], *style)
                for part in range(3):
                    y = functional.linear(
                        normed, weight[part, heads].flatten(0, 1), bias[part, heads].flatten()
                    )
                    parts[part, :, :, block] = y.view(batch, -1, together, size).transpose(1, 2)
            query, key, value = parts
            mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
            out[..., head * size : (head + together) * size] = mixed.transpose(1, 2).flatten(2)
        return out

    def _feed_forward(
        self, x: Tensor, style: tuple[Tensor, ...], inside: Tensor | None, out: Tensor
    ) -> Tensor:
        """Return `x` plus the feed-forward part, written to `out`."""
        frames, reach = x.shape[1], self.ffn.ffn_1.kernel_size[0] // 2
        for block in _blocks(frames):
            first, stop = max(0, block.start - reach), min(frames, block.stop + reach)
            y = self.ln_2(x[:, first:stop], *style)
            if inside is not None:
                y = y * inside[:, first:stop, None]
            y = functional.pad(
                y.transpose(1, 2), (reach - (block.start - first), reach - (stop - block.stop))
            )
            y = self.ffn.ffn_1(y).relu_().transpose(1, 2)
            out[:, block] = x[:, block] + self.ffn.ffn_2(y)
        return out


class Transformer(nn.Module):
    """The stack of layers with the position row before and a norm after.

    Entries: `position_emb.pe` (row 0 alone), `layers.N.{ln_1,self_attn,ln_2,ffn}`, `last_ln`.
    """

    def __init__(
        self,
        channels: int,
        *,
        num_layers: int,
        num_heads: int,
        hidden: int,
        kernel_size: int,
        styled: bool = False,
    ) -> None:
        super().__init__()
        self.position_emb = _PositionRow(channels)
        self.layers = nn.ModuleList(
            _Layer(channels, num_heads, hidden, kernel_size, styled=styled) for _ in range(num_layers)
        )
        self.last_ln: nn.Module = _StyleNorm(channels) if styled else nn.LayerNorm(channels)

    def forward(self, x: Tensor, *, style: Tensor | None = None, num_frames: Tensor | None = None) -> Tensor:
        """Return the transformed frames, each item computed as if it were alone.

        Args:
            x: `(batch, frames, channels)`.
            style: `(batch, channels)`, for a styled transformer; else None.
            num_frames: `(batch,)`, int64, valid frames; None when all are.

        Returns:
            `(batch, frames, channels)`; past `num_frames` the values mean nothing.
        """
        styles = () if style is None else (style,)
        inside = None
        if num_frames is not None:
            inside = torch.arange(x.shape[1], device=x.device) < num_frames[:, None]
        x = x + self.position_emb.pe[0]
        for layer in self.layers:
            x = layer(x, styles, inside)
        normed = torch.empty_like(x) if torch.is_grad_enabled() else x
        for block in _blocks(x.shape[1]):
            normed[:, block] = self.last_ln(x[:, block], *styles)
        return normed


def _blocks(frames: int) -> Iterator[slice]:
    for first in range(0, frames, BLOCK):
        yield slice(first, min(first + BLOCK, frames))
