import pytest
import torch
from torch import nn
from torch.nn import functional

from speechtok.nets import fast_conv
from speechtok.nets.fast_conv import FastConv1d
from speechtok.nets.weight_norm import fold


@pytest.fixture(params=["native", "plain"])
def form(request, monkeypatch) -> str:
    if request.param == "plain":
        monkeypatch.setattr(fast_conv, "native_kernels", lambda: None)
    elif fast_conv.native_kernels() is None:
        pytest.skip("no C compiler")
    monkeypatch.setattr(fast_conv, "PIECE", 500)
    monkeypatch.setattr(fast_conv, "SHORTEST", 1)
    monkeypatch.setattr(fast_conv, "FEWEST_CHANNELS", 16)
    return request.param


def layer(kernel: int, dilation: int) -> FastConv1d:
    torch.manual_seed(0)
    module = FastConv1d(16, kernel, dilation=dilation, slope=0.1)
    nn.init.uniform_(module.weight_g, 0.5, 2)
    nn.init.normal_(module.bias)
    fold(module)
    return module.requires_grad_(False)


def by_definition(module: FastConv1d, x: torch.Tensor) -> torch.Tensor:
    rectified = functional.leaky_relu(x.double(), 0.1).transpose(1, 2)
    weight, bias = module.weight.double(), module.bias.double()
    return functional.conv1d(rectified, weight, bias, 1, module.padding, module.dilation).transpose(1, 2)


@pytest.mark.parametrize("kernel", [1, 3, 5, 7, 11])
@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("length", [1, 2, 11, 12, 13, 100, 131])
def test_both_forms_follow_the_definition(form, kernel, dilation, length) -> None:
    module = layer(kernel, dilation)
    x, added = torch.randn(2, 2, length, 16)
    want = by_definition(module, x)
    with torch.no_grad():
        assert module.is_native == (form == "native")
        torch.testing.assert_close(module(x).double(), want, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(module(x, added).double(), want + added, rtol=1e-5, atol=1e-5)
        doubled = module.double()(x.double(), added.double())
    torch.testing.assert_close(doubled, want + added, rtol=1e-12, atol=1e-12)


def test_float32_is_as_exact_as_the_usual_convolution(form) -> None:
    module = layer(11, 5)
    x = torch.randn(1, 4000, 16)
    want = by_definition(module, x)
    usual = functional.conv1d(
        functional.leaky_relu(x, 0.1).transpose(1, 2), module.weight, module.bias, 1, module.padding, 5
    )
    with torch.no_grad():
        error = (module(x) - want).std()
    assert error < 3 * (usual.transpose(1, 2) - want).std()


def test_gradients_flow(form) -> None:
    module = layer(7, 3)
    x = torch.randn(1, 50, 16, requires_grad=True)
    module(x, x).square().sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(module(x).double(), by_definition(module, x), rtol=1e-5, atol=1e-5)
