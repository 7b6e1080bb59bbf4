"""Speaker vectors, the vocoder and whole chains against numbers of the published implementations, in float64."""

import json
from functools import cache

import numpy as np
import pytest
import torch

from speechtok.nets.weight_norm import fold
from speechtok.tokenizers.units.jukebox import VqVaeSettings
from speechtok.tokenizers.units.vocoder import UnitVocoder, VocoderSettings
from speechtok.tokenizers.units.xvector import XVector
from tests.goldens import recipe
from tests.tokenizers.units.conftest import GOLDENS, INVENTORY, recipe_weights

HOP_160 = {"rates": (5, 4, 2, 2, 2), "kernels": (11, 8, 4, 4, 4)}
UNIT_VQ = VqVaeSettings(strides=(2, 2, 2, 2, 2, 5), codebook_size=256)
SETTINGS = {
    "code_generator_fb_vctk_hubert100": VocoderSettings(),
    "code_generator_fb_lj_hubert100": VocoderSettings(),
    "code_generator_fb_vctk_cpc100": VocoderSettings(**HOP_160),
    "code_generator_fb_vctk_vqvae256": VocoderSettings(num_units=256, **HOP_160),
    "code_generator_xvector_vctk_hubert100": VocoderSettings(speaker="xvector"),
    "code_generator_xvector_hylee_hubert500": VocoderSettings(
        num_units=500, speaker="xvector", f0=None, **HOP_160
    ),
    "code_vqvae256_librilight": VocoderSettings(f0=None, speaker=None, unit_encoder=UNIT_VQ, **HOP_160),
}


@cache
def build_vocoder(model: str, weights: str) -> UnitVocoder:
    about = json.loads(weights)
    network = UnitVocoder(SETTINGS[model]).double()
    network.load_state_dict(
        recipe_weights(model, seed=about["recipe_seed"], gains=about["gain_by_key_prefix"])
    )
    fold(network)
    return network.eval()


@pytest.mark.parametrize("model", SETTINGS)
def test_entries(model: str) -> None:
    with torch.device("meta"):
        network = UnitVocoder(SETTINGS[model])
    shapes = {name: list(value.shape) for name, value in network.state_dict().items()}
    assert shapes == {name: shape for name, (shape, _) in INVENTORY[model].items()}


def close(ours: torch.Tensor, want: np.ndarray) -> None:
    np.testing.assert_allclose(ours.numpy(), want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "name",
    [
        "fb_lj_hubert100",
        "fb_vctk_cpc100",
        "fb_vctk_hubert100",
        "xvector_hylee_hubert500",
        "xvector_vctk_hubert100",
    ],
)
@torch.no_grad()
def test_vocoder(name: str) -> None:
    want = dict(np.load(GOLDENS / f"codegen_{name}.npz"))
    meta = json.loads(str(want["meta"]))
    network = build_vocoder(f"code_generator_{name}", json.dumps(meta["weights"]))
    s, seed, frames = network.settings, meta["input_seed"], meta["T"]
    random = np.random.RandomState(seed)
    units = torch.from_numpy(random.randint(0, s.num_units, (1, frames)))
    assert np.array_equal(units[0], want["code"])
    pitch = None
    if s.f0 is not None:
        contour = random.standard_normal((1, 1, frames * s.hop_length // 80))
        contour[contour < -0.6] = 0
        pitch = network.quantizer.encode(torch.from_numpy(contour[0]))
        assert np.array_equal(pitch[0], want["f0_codes"])
    if s.speaker == "table":
        speaker = torch.tensor([seed % 200])
    else:
        speaker = torch.from_numpy(np.random.RandomState(1000 + seed).standard_normal((1, 512)))
    voice = network.voice(speaker)
    wave = network(units, pitch, voice)[0]
    assert len(wave) == meta["samples"]
    close(wave[:1500], want["wave_first"])
    close(wave[-1500:], want["wave_last"])
    close(wave[::7], want["wave_strided"])
    assert float(wave.abs().sum()) == pytest.approx(float(want["wave_sum_abs"]), rel=1e-9)


@pytest.mark.slow
@torch.no_grad()
def test_windows_change_nothing(monkeypatch) -> None:
    for name in ("fb_vctk_hubert100", "fb_vctk_cpc100"):
        meta = json.loads(str(np.load(GOLDENS / f"codegen_{name}.npz")["meta"]))
        network = build_vocoder(f"code_generator_{name}", json.dumps(meta["weights"]))
        generator = torch.Generator().manual_seed(0)
        units = torch.randint(100, (1, 152), generator=generator)
        pitch = torch.randint(20, (1, 152 * network.settings.hop_length // 1280), generator=generator)
        voice = network.voice(torch.tensor([3]))
        whole = network.generate(network.stack(units, pitch, voice))
        monkeypatch.setattr("speechtok.tokenizers.units.vocoder._BLOCK", 24)
        close(network(units, pitch, voice), whole.numpy())


@torch.no_grad()
def test_units_of_the_learned_encoder() -> None:
    want = dict(np.load(GOLDENS / "vqvae256_units.npz"))
    meta = json.loads(str(want["meta"]))
    network = build_vocoder("code_vqvae256_librilight", json.dumps(meta["weights"]))
    signal = torch.from_numpy(recipe.speechlike(16000, seed=0))
    hidden = network.code_encoder(signal[None, None])
    close(hidden[0, ::16, ::3], want["hidden"])
    codes = network.code_vq.encode(hidden)
    assert np.array_equal(codes[0], want["codes"])
    wave = network(codes)[0]
    close(wave[:800], want["wave_first"])
    close(wave[::9], want["wave_strided"])


def test_lengths_that_do_not_divide() -> None:
    network = UnitVocoder(VocoderSettings(channels=32))
    with pytest.raises(ValueError, match="got 41 and 10"):
        network.stack(torch.zeros(1, 41, dtype=torch.long), torch.zeros(1, 10, dtype=torch.long), None)


@torch.no_grad()
def test_xvector() -> None:
    want = dict(np.load(GOLDENS / "xvector.npz"))
    network = XVector().double().eval()
    network.load_state_dict(recipe_weights("xvector"))
    cases = json.loads(str(want["meta"]))["cases"]
    signals = [torch.from_numpy(recipe.speechlike(c["samples"], seed=c["seed"])) for c in cases.values()]
    lengths = torch.tensor([len(signal) for signal in signals])
    vectors = network(torch.nn.utils.rnn.pad_sequence(signals, batch_first=True), lengths)
    for name, signal, vector in zip(cases, signals, vectors, strict=True):
        mel = network.log_mel(signal[None])[0].T
        close(mel[::4], want[f"{name}_fbank"])
        close((mel - mel.mean(dim=0))[::8], want[f"{name}_fbank_norm"])
        close(vector, want[f"{name}_xvector"])
