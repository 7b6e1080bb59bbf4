import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from speechtok.nets import anti_aliased
from speechtok.nets.anti_aliased import AntiAliasedSnake
from speechtok.nets.weight_norm import fold

LENGTHS = [1, 2, 3, 6, 127, 128, 129, 131, 134, 257, 700]


@pytest.fixture(params=[1, 20, 32])
def activation(request) -> AntiAliasedSnake:
    torch.manual_seed(0)
    module = AntiAliasedSnake(request.param)
    torch.nn.init.normal_(module.act.alpha, std=0.3)
    torch.nn.init.normal_(module.act.beta, std=0.3)
    fold(module)
    return module.requires_grad_(False)


def by_definition(module: AntiAliasedSnake, x: torch.Tensor) -> torch.Tensor:
    """Zero-stuffing, filter, activation, filter, decimation, in float64."""
    x, channels = x.double().transpose(1, 2), x.shape[2]
    up, down = (taps.double().expand(channels, 1, 12) for taps in (module.up, module.down))
    padded = functional.pad(x, (5, 5), mode="replicate")
    u = 2 * functional.conv_transpose1d(padded, up, stride=2, groups=channels)[..., 15:-15]
    v = u + module.gain.double()[:, None] * torch.sin(u * module.scale.double()[:, None]) ** 2
    v = functional.pad(v, (5, 6), mode="replicate")
    return functional.conv1d(v, down, stride=2, groups=channels).transpose(1, 2)


@pytest.fixture(params=["native", "plain"])
def form(request, monkeypatch) -> str:
    if request.param == "plain":
        monkeypatch.setattr(anti_aliased, "native_kernel", lambda: None)
        monkeypatch.setattr(anti_aliased, "PIECE", 1000)
    elif anti_aliased.native_kernel() is None:
        pytest.skip("no C compiler")
    return request.param


@pytest.mark.parametrize("length", LENGTHS)
def test_both_forms_follow_the_definition(activation, form, length) -> None:
    x = 3 * torch.randn(2, length, activation.scale.shape[0])
    with torch.no_grad():
        torch.testing.assert_close(activation(x).double(), by_definition(activation, x), rtol=1e-5, atol=1e-5)
        if form == "plain":
            double = AntiAliasedSnake(activation.scale.shape[0]).double()
            double.load_state_dict(activation.state_dict())
            fold(double)
            torch.testing.assert_close(double(x.double()), by_definition(double, x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("length", LENGTHS[2:])
def test_a_ragged_batch_equals_each_alone(activation, form, length) -> None:
    x = torch.randn(3, length, activation.scale.shape[0])
    valid = torch.tensor([length, 1, length // 2])
    with torch.no_grad():
        got = activation(x, valid)
        for row, out, count in zip(x, got, valid.tolist(), strict=True):
            torch.testing.assert_close(out[:count], activation(row[None, :count])[0], rtol=1e-5, atol=1e-5)
            assert not out[count:].any()


def test_threads_change_nothing(activation, form, monkeypatch) -> None:
    x = torch.randn(2, 1000, activation.scale.shape[0])
    with torch.no_grad():
        want = activation(x)
        monkeypatch.setattr(anti_aliased, "THREAD_VALUES", 1)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
        assert torch.equal(activation(x), want)


def test_large_arguments_stay_accurate(form) -> None:
    module = AntiAliasedSnake(16).requires_grad_(False)
    fold(module)
    x = torch.linspace(-3e4, 3e4, 16).expand(1, 50, 16)
    with torch.no_grad():
        difference = (module(x).double() - by_definition(module, x)).abs()
    assert difference.max() < 3e-3 + 3e4 * 3e-7


def test_the_filter_is_the_published_one(activation) -> None:
    published = [0.0020290, 0.0093895, -0.0255435, -0.0576574, 0.1285726, 0.4432098]
    torch.testing.assert_close(activation.up[:6], torch.tensor(published), rtol=0, atol=1e-6)
    torch.testing.assert_close(activation.up.flip(0), activation.up)


def test_gradients_pass_through(activation) -> None:
    x = torch.randn(1, 9, activation.scale.shape[0], requires_grad=True)
    activation(x).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_the_module_imports_where_nothing_can_be_written() -> None:
    code = "import speechtok.nets.anti_aliased"
    root = str(Path(__file__).parents[2])
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        cwd=root,
        env={"PYTHONPATH": root, "HOME": "/nowhere"},
        timeout=300,
    )
