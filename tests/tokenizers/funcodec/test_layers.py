"""Padding and transposed convolutions against the published implementation's exact vectors."""

from copy import deepcopy

import numpy as np
import pytest
import torch

from speechtok.nets.padding import reflect_pad
from speechtok.nets.weight_norm import fold
from speechtok.tokenizers.funcodec.convolutions import Conv, ConvTranspose, is_heavy
from speechtok.tokenizers.funcodec.layers import groups_for
from tests.goldens import recipe
from tests.tokenizers.funcodec.published import golden


def test_padding_over_time() -> None:
    arrays, meta = golden("conv_units")
    for index, case in enumerate(meta["sconv1d"]):
        layer = Conv(
            1,
            1,
            [case["kernel"]],
            stride=[case["stride"]],
            dilation=case["dilation"],
            causal=case["causal"],
            num_groups=0,
        )
        x = torch.arange(1.0, case["n"] + 1)[None, None]
        assert np.array_equal(layer.pad(x)[0, 0], arrays[f"pad{index}"]), case
        assert layer(x)[0].shape[-1] == case["out_len"]


def test_padding_over_time_of_unequal_items() -> None:
    arrays, meta = golden("conv_units")
    cases = list(enumerate(meta["sconv1d"]))
    kinds = {(c["kernel"], c["stride"], c["dilation"], c["causal"]) for _, c in cases}
    for kind in sorted(kinds):
        mine = [
            (i, c["n"]) for i, c in cases if (c["kernel"], c["stride"], c["dilation"], c["causal"]) == kind
        ]
        layer = Conv(1, 1, [kind[0]], stride=[kind[1]], dilation=kind[2], causal=kind[3], num_groups=0)
        x = torch.full((len(mine), 1, 40), 1e9)
        for row, (_, n) in enumerate(mine):
            x[row, 0, :n] = torch.arange(1.0, n + 1)
        padded = layer.pad(x, torch.tensor([n for _, n in mine]))
        for row, (index, _) in enumerate(mine):
            wanted = arrays[f"pad{index}"]
            assert np.array_equal(padded[row, 0, : len(wanted)], wanted), (kind, index)


def test_padding_over_frequency_and_time() -> None:
    arrays, meta = golden("conv_units")
    for case in meta["sconv2d"]:
        layer = Conv(1, 1, case["kernel"], stride=case["stride"], causal=case["causal"])
        x = torch.arange(1.0, case["F"] * case["T"] + 1).view(1, 1, case["F"], case["T"])
        one, several = (
            layer.pad(x)[0, 0],
            layer.pad(x.repeat(2, 1, 1, 1), torch.tensor([case["T"]] * 2))[1, 0],
        )
        assert list(one.shape) == case["padded"]
        assert torch.equal(one, several)
        name = f"pad2d{case['index']}"
        assert np.array_equal(one[0], arrays[f"{name}.row0"])
        assert np.array_equal(one[:12, 0], arrays[f"{name}.col0"][:12])
        assert np.array_equal(one[-1], arrays[f"{name}.last"])
        assert list(layer(x)[0].shape[2:]) == case["out"]


def test_transposed_convolutions() -> None:
    arrays, meta = golden("conv_units")
    for kind, shape in (("convtr1d", None), ("convtr2d", (1, 4, 5, 6))):
        for index, case in enumerate(meta[kind]):
            stride = case["stride"] if isinstance(case["stride"], list) else [case["stride"]]
            first = case["keys"]["convtr.convtr.weight"]
            layer = ConvTranspose(
                first[0],
                first[1] * case.get("groups", 1),
                stride,
                groups=case.get("groups", 1),
                causal=case["causal"],
                num_groups=int("convtr.norm.weight" in case["keys"]),
                trim_right_ratio=case.get("trim_right_ratio", 1.0),
                out_padding=case.get("out_padding") or None,
            ).double()
            layer.load_state_dict(
                {
                    k: torch.from_numpy(recipe.tensor(k, tuple(s), "float64", seed=case["seed"]))
                    for k, s in case["keys"].items()
                }
            )
            x = np.random.RandomState(case["input_seed"]).standard_normal(shape or (1, 2, case["n"]))
            wanted = arrays[f"{kind.removesuffix('1d')}{index}"]
            with torch.no_grad():
                alone, _ = layer(torch.from_numpy(x))
                longer = torch.nn.functional.pad(torch.from_numpy(x), (0, 3), value=7.0)
                ragged, lengths = layer(longer, torch.tensor([x.shape[-1]]))
            np.testing.assert_allclose(alone, wanted, rtol=0, atol=1e-12)
            assert lengths is not None
            assert lengths.tolist() == [wanted.shape[-1]]
            np.testing.assert_allclose(ragged[..., : wanted.shape[-1]], wanted, rtol=0, atol=1e-12)


def test_an_end_too_short_to_mirror_is_extended_by_zeros() -> None:
    assert reflect_pad(torch.tensor([[[5.0]]]), 3, 3).tolist() == [[[0, 0, 0, 5, 0, 0, 0]]]
    assert reflect_pad(torch.tensor([[[1.0, 2.0]]]), 0, 0).tolist() == [[[1, 2]]]


def test_groups() -> None:
    assert [groups_for(32, ratio) for ratio in (-1, 1, 8, 16)] == [1, 16, 2, 1]


@pytest.mark.parametrize("kernel", [(16, 8), (7, 1)])
@pytest.mark.parametrize("frames", [1, 8, 9, 40])
def test_heavy_convolutions_are_matrix_products_with_the_same_result(
    kernel: tuple[int, int], frames: int
) -> None:
    torch.manual_seed(0)
    size, stride = kernel
    for layer in (Conv(64, 96, [size], stride=[stride]), ConvTranspose(64, 48, [stride])):
        fold(layer)
        inner = layer.conv.conv if isinstance(layer, Conv) else layer.convtr.convtr
        x = torch.randn(1, frames, 64).transpose(1, 2)
        assert is_heavy(x, inner)
        exact = deepcopy(layer).double()
        with torch.no_grad():
            quick, wanted = layer(x)[0], exact(x.double())[0]
        assert not is_heavy(x.double(), inner)
        assert quick.shape == wanted.shape
        assert torch.allclose(quick.double(), wanted, rtol=0, atol=1e-5)
