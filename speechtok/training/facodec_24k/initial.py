"""Networks of FAcodec before training.

Source: `Plachtaa/FAcodec`, where nothing else is stated the defaults of PyTorch's layers.

Contents: `initialize`.
"""

from __future__ import annotations

import torch
from torch import nn

from speechtok.nets.mel import htk_filters
from speechtok.tokenizers.facodec_24k.config import Facodec24kConfig
from speechtok.tokenizers.facodec_24k.quantizer import Quantizer
from speechtok.tokenizers.facodec_24k.timbre import TimbreEncoder
from speechtok.training.initial import draw_convolutions


@torch.no_grad()
def initialize(network: nn.Module, config: Facodec24kConfig) -> nn.Module:
    """Give a new network its first values, from torch's random numbers, and return it.

    Codebooks, LSTMs, linear layers and activations have theirs from their constructors.

    Args:
        network: encoder, quantizer, decoder, redecoder or predictors.
        config: what it was built from.
    """
    draw_convolutions(network)
    for part in network.modules():
        if isinstance(part, TimbreEncoder):
            _attention(part)
        elif isinstance(part, Quantizer):
            _quantizer(part, config)
    return network


def _attention(encoder: TimbreEncoder) -> None:
    attention = encoder.slf_attn
    query, key, value = (getattr(attention, name) for name in ("conv_q", "conv_k", "conv_v"))
    for layer in (query, value):
        nn.init.xavier_uniform_(layer.weight)
    for name in ("weight", "bias"):
        getattr(key, name).copy_(getattr(query, name))


def _quantizer(quantizer: Quantizer, config: Facodec24kConfig) -> None:
    scale, shift = quantizer.timbre_linear.bias.chunk(2)
    scale.fill_(1.0)
    shift.zero_()
    quantizer.to_mel.mel_scale.fb.copy_(  # type: ignore[operator]
        htk_filters(
            config.num_mels,
            fft_length=config.fft_length,
            sample_rate=config.sample_rate,
            min_hz=0.0,
            max_hz=config.sample_rate / 2,
        )
    )
