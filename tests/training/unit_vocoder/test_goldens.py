"""Discriminators, losses and mel spectrum against numbers of the published implementation, in float64."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from speechtok.training.adversarial import adversarial_loss, discriminator_loss, feature_loss
from speechtok.training.unit_vocoder.convolutions import SpectralNormConv
from speechtok.training.unit_vocoder.discriminators import Discriminators
from speechtok.training.unit_vocoder.mel import LogMel
from tests.goldens import recipe

GOLDENS = Path(__file__).parents[2] / "goldens" / "units"
TOLERANCE = 1e-6
pytestmark = pytest.mark.slow


@cache
def golden():
    want = dict(np.load(GOLDENS / "discriminators_losses.npz"))
    return want, json.loads(str(want["meta"]))


@cache
def signals():
    _, meta = golden()
    return tuple(
        torch.from_numpy(recipe.speechlike(meta[name]["samples"], seed=meta[name]["speechlike_seed"]))[None]
        for name in ("real", "generated")
    )


@cache
def verdicts():
    """Feature maps of recipe weights for what is real and what is made; periods, then scales."""
    network = Discriminators().double()
    published = json.loads((GOLDENS / "state_dict.json").read_text())
    weights = {
        f"{group}.{key}": torch.from_numpy(recipe.tensor(key, tuple(shape), kind))
        for group in ("mpd", "msd")
        for key, (shape, kind) in published[group].items()
    }
    network.load_state_dict(weights, strict=True)
    network.eval()
    with torch.no_grad():
        return tuple(network(signal) for signal in signals())


@pytest.mark.parametrize("group", ["mpd", "msd"])
def test_discriminators(group) -> None:
    want, meta = golden()
    real, made = (maps[:5] if group == "mpd" else maps[5:] for maps in verdicts())
    for number, (true, fake) in enumerate(zip(real, made, strict=True)):
        name = f"{group}{number}"
        assert [list(part.shape) for part in true] == meta[f"{name}_fmap_shapes"]
        for maps, kind in ((true, "real"), (fake, "gen")):
            np.testing.assert_allclose(
                maps[-1].reshape(-1).numpy(), want[f"{name}_{kind}"], rtol=TOLERANCE, atol=TOLERANCE
            )
        means = [float(part.abs().mean()) for part in true]
        np.testing.assert_allclose(means, want[f"{name}_fmap_real_absmean"], rtol=TOLERANCE)
        apart = [float((a - b).abs().mean()) for a, b in zip(true, fake, strict=True)]
        np.testing.assert_allclose(apart, want[f"{name}_fmap_l1"], rtol=TOLERANCE)
    stated = meta["losses"][group]
    assert float(discriminator_loss(made, real)) == pytest.approx(stated["discriminator"], rel=TOLERANCE)
    assert float(adversarial_loss(made)) == pytest.approx(stated["generator_adv"], rel=TOLERANCE)
    assert 2 * float(feature_loss(made, real, with_verdicts=True)) == pytest.approx(
        stated["feature"], rel=TOLERANCE
    )


def test_mel() -> None:
    want, meta = golden()
    network = LogMel()
    np.testing.assert_allclose(
        network.filters.T.sum(dim=1).numpy(), want["mel_filterbank_rowsum"], rtol=TOLERANCE
    )
    mel, made = (network(signal) for signal in signals())
    assert [*mel.shape] == [1, *reversed(meta["mel_shape"])]
    for ours, name in ((mel, "mel_real"), (made, "mel_gen")):
        np.testing.assert_allclose(ours[0].T[::4].numpy(), want[name], rtol=TOLERANCE, atol=TOLERANCE)
    distance = 45 * float(torch.nn.functional.l1_loss(mel, made))
    assert distance == pytest.approx(meta["losses"]["mel_l1_times_45"], rel=TOLERANCE)


def test_totals() -> None:
    _, meta = golden()
    real, made = verdicts()
    mel, of_made = (LogMel()(signal) for signal in signals())
    total = (
        adversarial_loss(made)
        + 2 * feature_loss(made, real, with_verdicts=True)
        + 45 * torch.nn.functional.l1_loss(of_made, mel)
    )
    assert float(total) == pytest.approx(meta["losses"]["generator_total"], rel=TOLERANCE)
    judged = float(discriminator_loss(made, real))
    assert judged == pytest.approx(meta["losses"]["discriminator_total"], rel=TOLERANCE)


def test_spectral_norm_finds_the_largest_singular_value() -> None:
    torch.manual_seed(0)
    layer = SpectralNormConv(4, 6, (3,), (1,)).double()
    x = torch.randn(1, 4, 9, dtype=torch.float64)
    before = layer.weight_u.clone()
    for _ in range(200):
        y = layer(x)
    assert not torch.equal(before, layer.weight_u)
    largest = torch.linalg.matrix_norm(layer.weight_orig.flatten(1), 2)
    plain = torch.nn.functional.conv1d(x, layer.weight_orig / largest, layer.bias, padding=1)
    torch.testing.assert_close(y, plain)
    layer.eval()
    stored = layer.weight_u.clone()
    torch.testing.assert_close(layer(x), y)
    assert torch.equal(stored, layer.weight_u)


def test_sizes() -> None:
    with pytest.raises(ValueError, match="`scale_channels` must be 7 multiples of 16"):
        Discriminators(scale_channels=(8,) * 7)
