"""Networks before training have the values that PyTorch's own layers would have."""

import math

import pytest
import torch

from speechtok.nets.weight_norm import WeightNormConv1d
from speechtok.tokenizers.facodec_24k.config import Facodec24kConfig
from speechtok.tokenizers.facodec_24k.convert import BUILDERS
from speechtok.training.facodec_24k.initial import initialize
from speechtok.training.facodec_24k.predictors import Predictors
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


def test_reversal() -> None:
    """Predictors learn alike however strong the reversal; features are driven the other way, as strongly as asked."""
    features, speaker = torch.randn(3, 2, 20, 8), torch.randn(2, 8)
    found = {}
    for strength in (-1.0, 0.5):
        torch.manual_seed(0)
        predictors = initialize(Predictors(8, 5, 3, reversal=strength), Facodec24kConfig())
        parts = features.clone().requires_grad_()
        said = predictors(*parts, speaker)
        loss = said.rev_f0.sum() + said.rev_content.square().sum() + said.rev_speaker.square().sum()
        loss.backward()
        found[strength] = parts.grad, {name: p.grad for name, p in predictors.named_parameters()}
    (plain, learnt), (weak, same) = found.values()
    torch.testing.assert_close(weak, -0.5 * plain)
    for name, gradient in learnt.items():
        assert (gradient is None and same[name] is None) or torch.equal(gradient, same[name]), name
