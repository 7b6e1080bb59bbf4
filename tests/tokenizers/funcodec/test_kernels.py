"""The C kernels against plain torch and float64."""

from copy import deepcopy

import pytest
import torch
from torch.nn import functional

from speechtok.nets.padding import reflect_pad
from speechtok.nets.weight_norm import fold
from speechtok.tokenizers.funcodec import kernels
from speechtok.tokenizers.funcodec.convert import build_codec
from speechtok.tokenizers.funcodec.convolutions import Conv, ConvTranspose
from speechtok.tokenizers.funcodec.kernels import Term
from speechtok.tokenizers.funcodec.layers import Elu, Lstm, ResidualBlock
from speechtok.tokenizers.funcodec.network import Stack
from speechtok.tokenizers.funcodec.pending import Pending
from speechtok.tokenizers.funcodec.published_config import parse_config
from tests.tokenizers.funcodec.published import recipe_weights, signal, small_config


@pytest.fixture(autouse=True)
def compiled():
    if kernels.native_kernels() is None:
        pytest.skip("no C compiler")
    with torch.no_grad():
        yield


def stack(axes: int, *, causal: bool = False, true_skip: bool = False) -> Stack:
    def around(*sizes: int) -> list[int]:
        return [3, *sizes][-axes:]

    shared = {"causal": causal, "num_groups": 1}
    block = {"dilation": 2, "compress": 2, "true_skip": true_skip, "group_ratio": -1} | shared
    layers = [
        Conv(1, 32, around(7), **shared),
        ResidualBlock(32, around(3), **block),
        ResidualBlock(32, around(3), **block),
        Elu(),
        Conv(32, 64, [4] * axes, stride=[2] * axes, **shared),
        Elu(),
        ConvTranspose(64, 32, [2] * axes, **shared),
        Elu(),
        Conv(32, 3, around(5), **shared),
    ]
    torch.manual_seed(0)
    made = Stack(layers)
    for name, value in made.named_parameters():
        torch.nn.init.normal_(value, std=0.3) if "norm" in name else None
    fold(made)
    return made


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("frames", [1, 2, 3, 8, 41, 300])
@pytest.mark.parametrize("options", [{}, {"causal": True}, {"true_skip": True}])
def test_what_is_put_off_equals_what_is_done_at_once(axes, frames, options, monkeypatch) -> None:
    quick = stack(axes, **options)
    x = torch.randn(1, 1, *([9] if axes == 2 else []), frames)
    pending, _ = quick.model[0].run(x, None)
    assert isinstance(pending, Pending)
    mine, _ = quick(x)
    exact, _ = deepcopy(quick).double()(x.double())
    monkeypatch.setattr(kernels, "native_kernels", lambda: None)
    plain, _ = quick(x)
    assert mine.shape == plain.shape == exact.shape
    torch.testing.assert_close(mine.double(), exact, rtol=0, atol=2e-4)
    torch.testing.assert_close(mine, plain, rtol=0, atol=2e-4)


@pytest.mark.parametrize("ends", [(0, 0), (2, 1), (0, 6)])
def test_settling_sums_activates_and_mirrors(ends) -> None:
    terms = tuple(
        Term(signal=8 * torch.randn(4, 7, 32), scale=torch.randn(32), shift=torch.randn(32)) for _ in range(2)
    )
    total = sum(term.signal.double() * term.scale + term.shift for term in terms)
    wanted = reflect_pad(functional.elu(total).movedim(-1, 0)[None], *ends, bands=(1, 2))[0].movedim(0, -1)
    found = kernels.settle(terms, True, (1, 2), ends)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)


def test_elu_is_exact_near_zero_and_far_from_it() -> None:
    x = torch.cat([-torch.logspace(-12, 30, 500), torch.zeros(12), torch.logspace(-12, 30, 512)])
    term = Term(signal=x.view(1, 32, 32), scale=torch.ones(32), shift=torch.zeros(32))
    wanted = functional.elu(x.double())
    torch.testing.assert_close(kernels.settle((term,), True).flatten().double(), wanted, rtol=2e-7, atol=0)


@pytest.mark.parametrize("frames", [1, 127, 128, 129, 1000])
def test_moments_of_a_signal_far_from_zero(frames) -> None:
    x = torch.randn(1, frames, 32) + 100
    mean, variance = kernels.moments(x)
    assert mean == pytest.approx(float(x.double().mean()), rel=1e-7)
    assert variance == pytest.approx(float(x.double().var(correction=0)), rel=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 40])
@pytest.mark.parametrize("level", [1.0, 1000.0])
def test_the_packed_lstm_equals_torch(frames, level) -> None:
    torch.manual_seed(0)
    layer = Lstm(48, 2, True)
    fold(layer)
    assert layer.is_packed
    x = level * torch.randn(1, 48, frames)
    torch.testing.assert_close(
        layer(x)[0].double(), deepcopy(layer).double()(x.double())[0], rtol=1e-6, atol=2e-6
    )


@pytest.mark.parametrize("kind", ["time", "freq"])
def test_threads_and_company_change_no_bit(kind) -> None:
    content = small_config(kind, n_filters=16)
    config = parse_config(content, "test")
    unread = ("inited", "cluster_size", "embed_avg")
    weights = {name: value for name, value in recipe_weights(content).items() if not name.endswith(unread)}
    codec = build_codec(config, weights, dtype=torch.float32, source="test")
    items = [signal(length, length).float() for length in (32_000, 5_000)]
    batch = torch.nn.utils.rnn.pad_sequence(items, batch_first=True)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        several = codec.encode(batch, torch.tensor([32_000, 5_000])).items()
        torch.set_num_threads(1)
        for item, codes in zip(items, several, strict=True):
            alone = codec.encode(item[None], torch.tensor([len(item)])).items()[0]
            assert torch.equal(alone, codes)
    finally:
        torch.set_num_threads(threads)
