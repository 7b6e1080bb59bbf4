import pytest
import torch
from torch import nn
from torch.nn import functional

from speechtok.nets import transformer as transformer_module
from speechtok.nets.transformer import Transformer
from speechtok.nets.vector_quantizer import FactorizedQuantizer, ResidualQuantizer, half_norms_of, nearest
from speechtok.nets.weight_norm import (
    WeightNormConv1d,
    WeightNormConvTranspose1d,
    WeightNormLinear,
    fold,
    fold_weight_norm,
)
from speechtok.nets.windows import plan_windows


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("ours", "theirs", "shape"),
    [
        (
            WeightNormConv1d(8, 6, 4, stride=2, padding=1),
            lambda x, w, b: functional.conv1d(x.transpose(1, 2), w, b, 2, 1).transpose(1, 2),
            (2, 31, 8),
        ),
        (
            WeightNormConv1d(8, 8, 7, padding=9, dilation=3),
            lambda x, w, b: functional.conv1d(x.transpose(1, 2), w, b, 1, 9, 3).transpose(1, 2),
            (2, 31, 8),
        ),
        (
            WeightNormConvTranspose1d(8, 6, 10, stride=5, padding=3, output_padding=1),
            lambda x, w, b: functional.conv_transpose1d(x.transpose(1, 2), w, b, 5, 3, 1).transpose(1, 2),
            (2, 31, 8),
        ),
        (WeightNormLinear(8, 6), functional.linear, (2, 3, 8)),
    ],
)
def test_weight_norm_layers(ours, theirs, shape, dtype) -> None:
    torch.manual_seed(0)
    ours = ours.to(dtype)
    x = torch.randn(shape, dtype=dtype)
    if hasattr(ours, "weight_v"):
        nn.init.uniform_(ours.weight_g, 0.5, 2)
        axes = tuple(range(1, ours.weight_v.dim()))
        want = theirs(
            x, ours.weight_g * ours.weight_v / ours.weight_v.norm(dim=axes, keepdim=True), ours.bias
        )
        torch.testing.assert_close(ours(x), want, rtol=1e-5, atol=1e-5)
    want = ours(x)
    fold(ours)
    assert set(ours.state_dict()) == {"weight", "bias"}
    torch.testing.assert_close(ours(x), want)
    torch.testing.assert_close(theirs(x, ours.weight, ours.bias), want, rtol=1e-5, atol=1e-5)
    fold(ours)
    if isinstance(ours, WeightNormConv1d):
        assert ours.output_length(31) == want.shape[1]


def test_folding_on_the_meta_device_gives_the_folded_form() -> None:
    with torch.device("meta"):
        module = nn.Sequential(WeightNormConv1d(2, 3, 5), WeightNormLinear(3, 4))
    fold_weight_norm(module)
    assert {name: tuple(v.shape) for name, v in module.state_dict().items()} == {
        "0.bias": (3,),
        "0.weight": (3, 2, 5),
        "1.bias": (4,),
        "1.weight": (4, 3),
    }


def test_quantizer_takes_the_nearest_direction_and_the_first_of_equals() -> None:
    quantizer = FactorizedQuantizer(4, 16, 3).double()
    table = quantizer.get_parameter("_codebook.weight").data
    table[7] = 2 * table[3]
    fold(quantizer)
    codes = quantizer.encode(torch.randn(2, 50, 4, dtype=torch.float64))
    assert codes.shape == (2, 50)
    assert 7 not in codes
    assert 3 in codes
    want = quantizer.out_proj(quantizer.get_parameter("_codebook.weight")[codes])
    torch.testing.assert_close(quantizer.decode(codes), want)


def test_residual_stages_code_what_is_left() -> None:
    torch.manual_seed(1)
    quantizer = ResidualQuantizer(3, 8, 32, 4).double()
    fold(quantizer)
    x = torch.randn(1, 20, 8, dtype=torch.float64)
    codes = quantizer.encode(x)
    left = x
    for stage, layer in enumerate(quantizer.layers):
        assert torch.equal(layer.encode(left), codes[:, stage])
        left = left - layer.decode(codes[:, stage])
    torch.testing.assert_close(quantizer.decode(codes), x - left)
    assert torch.equal(quantizer.encode(x, 2), codes[:, :2])


@pytest.mark.parametrize("styled", [False, True])
def test_transformer_blocks_and_batches_change_nothing(monkeypatch, styled) -> None:
    torch.manual_seed(2)
    net = Transformer(16, num_layers=2, num_heads=4, hidden=32, kernel_size=5, styled=styled).double().eval()
    for value in net.parameters():
        nn.init.normal_(value, std=0.3)
    x = torch.randn(3, 41, 16, dtype=torch.float64)
    style = torch.randn(3, 16, dtype=torch.float64) if styled else None
    with torch.no_grad():
        kept = x.clone()
        want = net(x, style=style)
        assert torch.equal(x, kept)
        valid = torch.tensor([41, 5, 17])
        ragged = net(x, style=style, num_frames=valid)
        for item, count in enumerate(valid.tolist()):
            row = None if style is None else style[item : item + 1]
            torch.testing.assert_close(ragged[item, :count], net(x[item : item + 1, :count], style=row)[0])
        for block in (1, 3, 20, 41):
            monkeypatch.setattr(transformer_module, "BLOCK", block)
            torch.testing.assert_close(net(x, style=style), want)


def test_windows_keep_each_frame_once_with_full_context() -> None:
    for frames in (1, 7, 100):
        for size in (1, 3, 7, 50, 1000):
            windows = plan_windows(frames, size, 4)
            assert [i for w in windows for i in range(w.first, w.stop)] == list(range(frames))
            for w in windows:
                assert w.stop - w.first <= size
                assert w.start == max(0, w.first - 4)
                assert w.end == min(frames, w.stop + 4)
                assert list(range(w.start, w.end))[w.kept] == list(range(w.first, w.stop))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_nearest_code_is_that_of_the_least_distance(dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 30, 16, generator=generator, dtype=dtype)
    rows = torch.randn(50, 16, generator=generator, dtype=dtype)
    found = nearest(features, rows.t(), half_norms_of(rows))
    assert torch.equal(found, torch.cdist(features, rows[None]).argmin(dim=-1))
    assert torch.equal(nearest(rows, rows.t(), half_norms_of(rows)), torch.arange(50))
    # whole numbers add up exactly, whatever the order: of codes as near, the lowest
    whole, near = features.mul(3).round(), rows.mul(3).round()
    twice = torch.cat([near, near])
    found = nearest(whole, near.t(), half_norms_of(near))
    assert torch.equal(nearest(whole, twice.t(), half_norms_of(twice)), found)
    unit = torch.nn.functional.normalize(rows, dim=-1)
    assert torch.equal(nearest(features, unit.t()), nearest(features, unit.t(), half_norms_of(unit)))
