"""The redecoder: content codes spoken with another timbre, by networks of their own.

Source: `Plachtaa/FAcodec`, file `FAcodec-redecoder`. The released scripts give it the first content codebook and
a timbre; prosody and the second content codebook were masked in training.

Conventions: signals are `(batch, frames, channels)`; codes `(batch, codebooks, frames)`.

Contents: `Redecoder`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from speechtok.nets.vector_quantizer import Table
from speechtok.nets.weight_norm import WeightNormConv1d
from speechtok.tokenizers.facodec_24k.config import Facodec24kConfig
from speechtok.tokenizers.facodec_24k.network import Decoder
from speechtok.tokenizers.facodec_24k.wavenet import WaveNet


class _CodeEncoder(nn.Module):
    """Codes and timbre to latent. Entries: `prosody_embed.N`, `content_embed.N`, `encoder`, `conv_out`."""

    def __init__(self, config: Facodec24kConfig) -> None:
        super().__init__()
        size, channels = config.codebook_size, config.redecoder_channels
        self.prosody_embed = nn.ModuleList(Table(size, channels) for _ in range(config.num_prosody))
        self.content_embed = nn.ModuleList(Table(size, channels) for _ in range(config.num_content))
        self.encoder = WaveNet(
            channels, config.redecoder_layers, causal=False, condition_channels=config.latent_channels
        )
        self.conv_out = WeightNormConv1d(channels, config.latent_channels, 1, normed=False)

    def forward(self, codes: Mapping[str, Tensor], speaker: Tensor) -> Tensor:
        rows = [
            table(level)
            for name in ("prosody", "content")
            if name in codes
            for level, table in zip(codes[name].unbind(1), getattr(self, f"{name}_embed"), strict=False)
        ]
        latent: Tensor = self.conv_out(self.encoder(torch.stack(rows).sum(dim=0), speaker))
        return latent


class Redecoder(nn.Module):
    """Codes and timbre to waveform; looks to both sides. Entries: `encoder`, `decoder`."""

    def __init__(self, config: Facodec24kConfig) -> None:
        super().__init__()
        self.encoder = _CodeEncoder(config)
        self.decoder = Decoder(
            config.latent_channels,
            config.redecoder_decoder_channels,
            config.redecoder_decoder_strides,
            lstm_layers=0,
            causal=False,
        )

    def forward(self, codes: Mapping[str, Tensor], speaker: Tensor) -> Tensor:
        """Return the waveform.

        Args:
            codes: `content` and, where wanted, `prosody` → `(batch, codebooks, frames)`; the first
                codebooks, as many as given.
            speaker: `(batch, latent_channels)`.

        Returns:
            `(batch, hop_length * frames)`, in (-1, 1).
        """
        waveform: Tensor = self.decoder(self.encoder(codes, speaker))
        return waveform
