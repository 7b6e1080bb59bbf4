"""Networks of FAcodec before training.

Source: `Plachtaa/FAcodec`, where nothing else is stated the defaults of PyTorch's layers (He et al. 2015,
arXiv:1502.01852, with slope √5).

Contents: `initialize`.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from speechtok.nets.mel import htk_filters
from speechtok.nets.weight_norm import WeightNormConv1d, WeightNormConvTranspose1d
from speechtok.tokenizers.facodec_24k.config import Facodec24kConfig
from speechtok.tokenizers.facodec_24k.quantizer import Quantizer
from speechtok.tokenizers.facodec_24k.timbre import TimbreEncoder


@torch.no_grad()
def initialize(network: nn.Module, config: Facodec24kConfig) -> nn.Module:
    """Give a new network its first values, from torch's random numbers, and return it.

    Codebooks, LSTMs, linear layers and activations have theirs from their constructors.

    Args:
        network: encoder, quantizer, decoder, redecoder or predictors.
        config: what it was built from.
    """
    for part in network.modules():
        if isinstance(part, (WeightNormConv1d, WeightNormConvTranspose1d)):
            _convolution(part)
    for part in network.modules():
        if isinstance(part, TimbreEncoder):
            _attention(part)
        elif isinstance(part, Quantizer):
            _quantizer(part, config)
    return network


def _convolution(layer: WeightNormConv1d | WeightNormConvTranspose1d) -> None:
    """Draw uniform weights and biases; with weight norm the length starts as that of the direction."""
    direction = layer.weight_v if hasattr(layer, "weight_v") else layer.weight
    nn.init.kaiming_uniform_(direction, a=math.sqrt(5))
    bound = 1 / math.sqrt(direction[0].numel())
    nn.init.uniform_(layer.bias, -bound, bound)
    if hasattr(layer, "weight_v"):
        layer.weight_g.copy_(torch.linalg.vector_norm(direction, dim=(1, 2), keepdim=True))


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
