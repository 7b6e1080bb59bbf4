"""The parts of training the spectral codec, against what is computed by hand."""

import numpy as np
import pytest
import torch

from speechtok.tokenizers.spectral.config import SpectralConfig
from speechtok.training.spectral.examples import stretch
from speechtok.training.spectral.losses import EnvelopeDistance, SpectralDistance
from speechtok.training.spectral.networks import Standardized, TrainedCodec
from tests.goldens import recipe
from tests.tokenizers.small import SPECTRAL


def signal(samples: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.asarray(recipe.speechlike(samples, 16000, seed=seed)))


def test_the_stored_codec_is_the_trained_one():
    torch.manual_seed(0)
    trained = TrainedCodec(SpectralConfig(**SPECTRAL), decay=0.99, least_use=0.05).double()
    x = torch.stack([signal(9600, seed) for seed in range(3)])
    for _ in range(4):
        trained(x, noise=torch.zeros(3, 30, 8, dtype=torch.float64))
    trained.eval()
    codec = trained.codec().double()
    torch.testing.assert_close(codec.encoder(x), trained.standardized(trained.encoder(x)), rtol=0, atol=1e-6)


def test_standardized_by_hand():
    torch.manual_seed(0)
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    norm = Standardized(3, momentum=0.25).double()
    rows = x.flatten(0, 1)
    torch.testing.assert_close(
        norm(x).flatten(0, 1), (rows - rows.mean(0)) / (rows.var(0, correction=0) + 1e-5).sqrt()
    )
    torch.testing.assert_close(norm.mean, 0.25 * rows.mean(0))
    torch.testing.assert_close(norm.variance, 0.75 + 0.25 * rows.var(0, correction=0))
    norm.eval()
    torch.testing.assert_close(norm(x), (x - norm.mean) / (norm.variance + 1e-5).sqrt())


def test_distances_are_zero_for_the_same_and_grow_with_noise():
    x = torch.stack([signal(16_000, 1), signal(16_000, 2)]).float()
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    for distance in (SpectralDistance(16_000), EnvelopeDistance(16_000)):
        assert float(distance(x, x)) == pytest.approx(0, abs=1e-5)
        values = [float(distance(x + level * noise, x)) for level in (0.001, 0.01, 0.1)]
        assert sorted(values) == values
        assert values[2] > 0.05


def test_envelopes_do_not_see_levels_and_need_speech():
    x = signal(16_000, 3).float()[None]
    distance = EnvelopeDistance(16_000)
    assert float(distance(0.3 * x, x)) == pytest.approx(0, abs=1e-3)
    assert float(distance(x, torch.zeros_like(x))) == 0


def test_distances_of_silence_have_finite_gradients():
    made = torch.zeros(1, 16_000, requires_grad=True)
    real = torch.zeros(1, 16_000)
    (SpectralDistance(16_000)(made, real) + EnvelopeDistance(16_000)(made, real)).backward()
    assert made.grad is not None
    assert torch.isfinite(made.grad).all()


@pytest.mark.parametrize("speed", [0.8, 1.0, 1.25])
def test_speed_changes_the_pitch(speed):
    tone = np.sin(2 * np.pi * 1000 * np.arange(40_000) / 16_000)
    played = stretch(tone, 8000, speed, np.random.default_rng(0))
    assert len(played) == 8000
    spectrum = np.abs(np.fft.rfft(played * np.hanning(8000)))
    assert spectrum.argmax() * 2 == pytest.approx(1000 * speed, abs=4)
    assert np.abs(played).max() == pytest.approx(1, abs=0.05)


def test_what_is_too_short_is_filled_with_silence():
    played = stretch(np.ones(100), 400, 1.0, np.random.default_rng(0))
    assert played.tolist() == [1.0] * 100 + [0.0] * 300
