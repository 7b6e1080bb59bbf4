"""The timbre encoder: one vector for the voice of an utterance.

Source: Min et al. 2021, Meta-StyleSpeech, arXiv:2106.03153, section 3.1 (mel-style encoder): spectral
processing, temporal processing, self-attention, average over time; Misra 2019, Mish, arXiv:1908.08681. Entry
names as in `Plachtaa/FAcodec`.

Conventions: signals are `(batch, frames, channels)`.

Contents: `TimbreEncoder`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechtok.nets.weight_norm import WeightNormConv1d

KERNEL_SIZE = 5
"""Frames that a gated convolution sees."""
DROPOUT = 0.1
"""Part of the spectral values that training hides."""


class TimbreEncoder(nn.Module):
    """Mel spectrogram to vector. Entries: `spectral.0`, `spectral.3`, `temporal.N.conv1`, `slf_attn`, `fc`.

    Args:
        num_mels: bands of the spectrogram.
        channels: inside.
        out_channels: of the vector.
        num_heads: of the attention.
    """

    def __init__(self, num_mels: int, channels: int, out_channels: int, num_heads: int) -> None:
        super().__init__()
        self.spectral = nn.Sequential(
            _convolution(num_mels, channels),
            nn.Mish(),
            nn.Dropout(DROPOUT),
            _convolution(channels, channels),
            nn.Mish(),
            nn.Dropout(DROPOUT),
        )
        self.temporal = nn.Sequential(_GatedConvolution(channels), _GatedConvolution(channels))
        self.slf_attn = _SelfAttention(channels, num_heads)
        self.fc = _convolution(channels, out_channels)

    def forward(self, mel: Tensor, num_frames: Tensor | None = None) -> Tensor:
        """Return the vector of whole utterances, each as if alone.

        The released training lets frames past the end of an utterance into the average; here they change nothing.

        Args:
            mel: `(batch, frames, num_mels)`.
            num_frames: `(batch,)`, int64, frames of each utterance; None when all are of equal length.

        Returns:
            `(batch, out_channels)`.
        """
        if num_frames is None:
            x = self.temporal(self.spectral(mel))
            frames: Tensor = self.fc(x + self.slf_attn(x))
            return frames.mean(dim=1)
        inside = torch.arange(mel.shape[1], device=mel.device) < num_frames[:, None]  # (batch, frames)
        mask = inside[..., None].to(mel.dtype)
        x = self.spectral(mel) * mask
        for layer in self.temporal:
            x = layer(x) * mask
        frames = self.fc(x + self.slf_attn(x, inside[:, None, None])) * mask
        return frames.sum(dim=1) / mask.sum(dim=1)


class _GatedConvolution(nn.Module):
    """x + a · sigmoid(b), a and b halves of a convolution of x. Entries: `conv1`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = WeightNormConv1d(
            channels, 2 * channels, KERNEL_SIZE, padding=KERNEL_SIZE // 2, normed=False
        )

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = x + functional.glu(self.conv1(x), dim=-1)
        return added


class _SelfAttention(nn.Module):
    """Attention over all frames, without positions. Entries: `conv_q`, `conv_k`, `conv_v`, `conv_o`."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        for name in ("conv_q", "conv_k", "conv_v", "conv_o"):
            self.add_module(name, _convolution(channels, channels))

    def forward(self, x: Tensor, may_see: Tensor | None = None) -> Tensor:
        query, key, value = (
            getattr(self, name)(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for name in ("conv_q", "conv_k", "conv_v")
        )  # (batch, heads, frames, channels / heads) each
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=may_see)
        attended: Tensor = self.conv_o(mixed.transpose(1, 2).flatten(2))  # type: ignore[operator]
        return attended


def _convolution(in_channels: int, out_channels: int) -> WeightNormConv1d:
    return WeightNormConv1d(in_channels, out_channels, 1, normed=False)
