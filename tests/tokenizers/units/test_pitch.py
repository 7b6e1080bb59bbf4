"""Pitch and its quantizer against numbers of the published implementations."""

import json
import warnings

import numpy as np
import pytest
import torch

from speechtok.audio.pitch import extract_pitch, fill_gaps
from speechtok.audio.yaapt import track_pitch
from speechtok.errors import CheckpointError
from speechtok.tokenizers.units.jukebox import F0VqVae
from speechtok.tokenizers.units.pitch import (
    PitchStatistics,
    normalize_pitch,
    read_statistics,
)
from tests.goldens import recipe
from tests.tokenizers.units.conftest import GOLDENS, INVENTORY, recipe_weights

STORED = dict(np.load(GOLDENS / "f0_yaapt_vq.npz"))
META = json.loads(str(STORED["meta"]))
SIGNALS = {name: about for name, about in META["signals"].items() if name != "random"}


def make_signal(about: dict) -> np.ndarray:
    samples = about["samples"]
    if about["kind"] == "zeros":
        return np.zeros(samples)
    if about["kind"] == "noise":
        signal = np.random.RandomState(about["seed"]).standard_normal(samples)
    elif about["kind"] == "sine":
        signal = np.sin(2 * np.pi * about["hz"] * np.arange(samples) / 16000)
    elif about["kind"] == "impulse":
        signal = np.eye(1, samples, samples // 2)[0]
    else:
        signal = recipe.speechlike(samples, seed=about["seed"])
    return signal * about["scale"] if "scale" in about else signal * 0.95 / np.abs(signal).max()


@pytest.mark.parametrize("name", SIGNALS)
def test_contour(name: str) -> None:
    contour = extract_pitch(make_signal(SIGNALS[name]))
    np.testing.assert_allclose(contour, STORED[f"{name}_f0"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", SIGNALS)
def test_normalised(name: str) -> None:
    f0, stats = STORED[f"{name}_f0"], META["stats"]
    normal = normalize_pitch(f0, stats["mean"], stats["std"])
    np.testing.assert_allclose(normal, STORED[f"{name}_f0_norm"], rtol=0, atol=1e-12)
    if name != "silence":
        filled = normalize_pitch(f0, stats["mean"], stats["std"], fill_unvoiced=True)
        np.testing.assert_allclose(filled, STORED[f"{name}_f0_norm_median"], rtol=0, atol=1e-12)


def oracle(signal: np.ndarray) -> np.ndarray:
    """The contour of AMFM_decompy itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tracker = pytest.importorskip("amfm_decompy.pYAAPT")
        tools = pytest.importorskip("amfm_decompy.basic_tools")
        padded = tools.SignalObj(np.pad(signal, 160), 16000)
        options = {"frame_length": 20, "frame_space": 5, "nccf_thresh1": 0.25, "tda_frame_length": 25}
        return tracker.yaapt(padded, **options).samp_values


def test_same_as_the_released_tracker() -> None:
    """Equally cheap paths are told apart by the last bit of a sum, so a frame in a thousand may differ."""
    frames = other = 0
    for seed in range(24):
        samples = 241 + 377 * seed
        noise = np.random.default_rng(seed).standard_normal(samples) * 0.2
        signal = recipe.speechlike(samples, seed=seed) * (seed % 3 != 0) + noise * (seed % 3 != 1)
        ours, theirs = track_pitch(signal), oracle(signal)
        assert ours.shape == theirs.shape
        assert np.array_equal(ours > 0, theirs > 0)
        frames, other = frames + len(ours), other + int((np.abs(ours - theirs) > 1e-9).sum())
    assert other <= 3, (other, frames)


@pytest.fixture(scope="module")
def vqvae() -> F0VqVae:
    network = F0VqVae().double()
    network.load_state_dict(recipe_weights("f0_vq", seed=4, gains={"vq.": 4.0}))
    return network.eval()


def test_entries_of_the_quantizer(vqvae) -> None:
    shapes = {name: list(value.shape) for name, value in vqvae.state_dict().items()}
    assert shapes == {name: shape for name, (shape, _) in INVENTORY["f0_vq"].items()}


@pytest.mark.parametrize("name", [*SIGNALS, "random"])
@torch.no_grad()
def test_pitch_codes(vqvae, name: str) -> None:
    f0 = np.random.RandomState(5).standard_normal(1601) if name == "random" else STORED[f"{name}_f0_norm"]
    contour = torch.from_numpy(f0)[None]
    if f"{name}_vq_codes" not in STORED:
        with pytest.raises(ValueError, match="must have at least 16 frames to give a code"):
            vqvae.encode(contour)
        return
    codes = vqvae.encode(contour)
    assert np.array_equal(codes[0], STORED[f"{name}_vq_codes"])

    def close(ours, want):
        np.testing.assert_allclose(ours.numpy(), STORED[f"{name}_{want}"], rtol=1e-9, atol=1e-9)

    close(vqvae.encoder(contour[:, None])[0, ::8], "vq_hidden")
    close(vqvae.vq.decode(codes)[0, ::8, ::3], "vq_dequant")
    close(vqvae.decode(codes)[0], "vq_recon")


def test_statistics(tmp_path) -> None:
    torch.save({"f0_mean": 209.0, "f0_std": 58.0}, tmp_path / "lj.pth")
    assert read_statistics(tmp_path / "lj.pth") == PitchStatistics(mean_hz=209.0, std_hz=58.0)
    torch.save({0: {"f0_mean": 100.0, "f0_std": 10.0}}, tmp_path / "vctk.pth")
    assert read_statistics(tmp_path / "vctk.pth") == PitchStatistics(speakers={0: (100.0, 10.0)})
    torch.save({"mean": 1.0}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="holds no pitch statistics"):
        read_statistics(tmp_path / "other.pth")


def test_gaps_are_filled() -> None:
    voiced = np.array([0, 0, 100, 110, 120, 120, 120, 0, 0, 0, 200, 200, 200, 210, 220, 0], float)
    filled = fill_gaps(voiced)
    assert np.array_equal(filled[voiced > 0], voiced[voiced > 0])
    assert (filled[:2] == 100).all()
    assert filled[-1] == 220
    assert (np.diff(filled[6:11]) > 0).all()
    assert (fill_gaps(np.zeros(7)) == 100).all()
    assert fill_gaps(np.array([0.0, 0, 150, 0])).tolist() == [150.0, 150, 150, 150]


def test_nothing_voiced_cannot_be_filled() -> None:
    with pytest.raises(ValueError, match="needs at least one voiced frame"):
        normalize_pitch(np.zeros(4), 100.0, 10.0, fill_unvoiced=True)


def test_too_short() -> None:
    assert not extract_pitch(np.ones(100)).any()
    with pytest.raises(ValueError, match="must have at least"):
        track_pitch(np.ones(100))
