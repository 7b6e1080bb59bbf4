"""The parts of training against numbers of the published implementation, in float64."""

import json
from functools import cache

import numpy as np
import pytest
import torch

from speechtok.nets.mel import htk_filters
from speechtok.training.facodec_24k import losses
from speechtok.training.facodec_24k.discriminator import Discriminator
from speechtok.training.facodec_24k.pitch_network import UNUSED, PitchNetwork
from speechtok.training.facodec_24k.predictors import Predictors
from speechtok.training.facodec_24k.targets import TargetMel, energy_of, normalize_f0
from tests.goldens import recipe
from tests.goldens.facodec_24k.weights import GOLDENS, INVENTORY

TOLERANCE = 1e-6
SEED = 2


@cache
def golden():
    want = dict(np.load(GOLDENS / "training.npz"))
    return want, json.loads(str(want["meta"]))


def close(ours, name):
    """Compare with a stored array, which may be every so manieth value of ours."""
    want, meta = golden()
    values = ours.detach().reshape(-1).numpy()
    if f"{name}_s" in want:
        about = meta["strides"][name]
        assert list(ours.shape) == about["shape"]
        assert values.sum() == pytest.approx(about["sum"], rel=TOLERANCE, abs=TOLERANCE * about["abs_sum"])
        values, stored = values[:: about["stride"]], want[f"{name}_s"]
    else:
        stored = want[name].reshape(-1)
    np.testing.assert_allclose(values, stored, rtol=TOLERANCE, atol=TOLERANCE)


def recipe_weights(module, prefix, model):
    """Put recipe weights into a module, whose entries must be those of the published file."""
    start = f"{prefix}." if model == "facodec" else ""
    published = {
        key.removeprefix(start): shape
        for key, shape in INVENTORY[model].items()
        if key.startswith(start) and "global_f0" not in key and not key.startswith(UNUSED)
        if not key.endswith("num_batches_tracked")
    }
    weights = {
        key: torch.from_numpy(recipe.tensor(f"{prefix}.{key}", tuple(shape), seed=SEED))
        for key, shape in published.items()
        if ".filter" not in key
    }
    module = module.double()
    missing, unexpected = module.load_state_dict(weights, strict=False)
    assert not unexpected
    assert set(missing) == set(published) - set(weights)
    return module.eval()


@cache
def signals():
    real, other = (
        torch.stack([torch.from_numpy(recipe.speechlike(12_000, 24_000, seed=seed)) for seed in seeds])
        for seeds in ((41, 42), (43, 44))
    )
    return real, 0.7 * real + 0.2 * other


@pytest.mark.slow
def test_discriminator() -> None:
    _, meta = golden()
    real, fake = signals()
    network = recipe_weights(Discriminator(), "discriminator", "facodec")
    with torch.no_grad():
        judged, of_fake = network(real), network(fake)
    assert len(judged) == 8
    for number, (maps, made) in enumerate(zip(judged, of_fake, strict=True)):
        assert [list(part.shape) for part in maps] == meta["strides"][f"disc/{number}/feature_shapes"]
        close(maps[0], f"disc/{number}/real_feat0")
        close(made[-1], f"disc/{number}/fake_logits")
    stated = meta["gan_float64"]
    assert float(losses.discriminator_loss(of_fake, judged)) == pytest.approx(stated["loss_d"], rel=TOLERANCE)
    assert float(losses.adversarial_loss(of_fake)) == pytest.approx(stated["loss_g"], rel=TOLERANCE)
    assert float(losses.feature_loss(of_fake, judged)) == pytest.approx(stated["loss_feature"], rel=TOLERANCE)


def test_spectral_losses() -> None:
    real, fake = signals()
    stated = golden()[1]["losses_float64"]
    loss = losses.MelLoss(24_000)
    scales = [float(value) for value in loss.per_scale(fake, real)]
    np.testing.assert_allclose(scales, stated["mel_loss_per_scale"], rtol=TOLERANCE)
    assert float(loss(fake, real)) == pytest.approx(stated["mel_loss"], rel=TOLERANCE)
    assert float(losses.stft_distance(fake, real)) == pytest.approx(stated["stft_loss"], rel=TOLERANCE)


@pytest.mark.slow
def test_predictors() -> None:
    random, frames = np.random.RandomState(45), 24
    prosody, content, residual = (
        torch.from_numpy(random.standard_normal((2, 1024, frames))).transpose(1, 2) for _ in range(3)
    )
    speaker = torch.from_numpy(random.standard_normal((2, 1024)))
    logits = torch.from_numpy(random.standard_normal((2, 50, 11)))
    classes = torch.from_numpy(random.randint(0, 50, (2, 11)))
    want, _ = golden()
    np.testing.assert_array_equal(logits, want["focal_logits"])
    np.testing.assert_array_equal(classes, want["focal_target"])
    close(losses.focal_loss(logits.transpose(1, 2), classes), "focal_loss")
    with torch.device("meta"):
        network = Predictors(1024, 1024, 20_000)
    network = recipe_weights(network.to_empty(device="cpu"), "fa_predictors", "facodec")
    taps = torch.from_numpy(np.load(GOLDENS.parent / "facodec" / "constants.npz")["filter"])
    for name, buffer in network.named_buffers():
        if name.endswith(".filter"):
            buffer.copy_(taps)
    with torch.no_grad():
        got = network(prosody, content, residual, speaker)
    close(got.f0[..., None], "pred/f0")
    close(got.energy[..., None], "pred/uv")
    close(got.content, "pred/content")
    close(got.speaker, "pred/timbre")
    close(got.rev_f0[..., None], "pred/rev_f0")
    close(got.rev_energy[..., None], "pred/rev_uv")
    close(got.rev_content, "pred/rev_content")
    close(got.rev_speaker, "pred/x_timbre")


def test_filters_are_those_of_the_published_file() -> None:
    filters = htk_filters(80, fft_length=2048, sample_rate=24_000, min_hz=0, max_hz=12_000)
    assert np.array_equal(filters.numpy(), np.load(GOLDENS / "main.npz")["mel_fb"])


def test_targets() -> None:
    real, _ = signals()
    want, _ = golden()
    mel = TargetMel(300, 2048, 1200, 80)(real)
    close(mel.transpose(1, 2), "mel16k_filterbank_mel")
    close(energy_of(mel), "log_norm")
    close(normalize_f0(torch.from_numpy(want["f0_track"])), "f0_target")
    network = recipe_weights(PitchNetwork(), "jdc", "jdc")
    seen = {}
    network.pool_block[1].register_forward_hook(lambda module, inputs, output: seen.update(last=output))
    with torch.no_grad():
        close(network(mel[:, :36]), "jdc_f0")
    close(seen["last"].transpose(2, 3), "jdc_gan_feature")
