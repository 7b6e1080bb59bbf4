"""Networks before training have the values that PyTorch's own layers would have."""

import math

import pytest
import torch

from speechtok.nets.weight_norm import WeightNormConv1d
from speechtok.tokenizers.facodec_24k.config import Facodec24kConfig
from speechtok.tokenizers.facodec_24k.convert import BUILDERS
from speechtok.training.facodec_24k.initial import initialize
from tests.tokenizers.facodec_24k.conftest import SMALL


@pytest.mark.parametrize("part", list(BUILDERS))
def test_first_values(part) -> None:
    config = Facodec24kConfig(**SMALL)
    torch.manual_seed(0)
    network = initialize(BUILDERS[part](config), config)
    for layer in network.modules():
        if isinstance(layer, WeightNormConv1d):
            bound = 1 / math.sqrt(layer.effective_weight()[0].numel())
            assert 0 < layer.effective_weight().abs().max() <= max(bound, 1.0)
            assert 0 < layer.bias.abs().max() <= bound
            if hasattr(layer, "weight_v"):
                torch.testing.assert_close(layer.effective_weight(), layer.weight_v)
                assert layer.weight_v.abs().max() <= bound
    if part == "quantizer":
        scale, shift = network.timbre_linear.bias.chunk(2)
        assert (scale == 1).all()
        assert (shift == 0).all()
        attention = network.timbre_encoder.slf_attn
        assert torch.equal(attention.conv_q.weight, attention.conv_k.weight)
        assert torch.equal(attention.conv_q.bias, attention.conv_k.bias)
        assert not torch.equal(attention.conv_q.weight, attention.conv_v.weight)
        assert network.to_mel.mel_scale.fb.sum() > 0
