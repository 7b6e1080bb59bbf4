"""The published weights against numbers that fairseq ships: the proof a user runs.

Put `features/hubert_base_ls960.pt` (or the Hugging Face folder), `kmeans/hubert_base_ls960_L9_km500.bin` and
`6313-76958-0021.flac` into a folder, and run

    SPEECHTOK_PUBLISHED=folder pytest -m online tests/tokenizers/units/test_published.py
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from speechtok import load_tokenizer
from speechtok.audio.io import read_waveform
from speechtok.audio.pitch import extract_pitch
from tests.tokenizers.units.conftest import GOLDENS

CLIP = "6313-76958-0021.flac"
VARIABLE = "SPEECHTOK_PUBLISHED"
pytestmark = [
    pytest.mark.online,
    pytest.mark.skipif(VARIABLE not in os.environ, reason=f"{VARIABLE} names no folder of published files"),
]


@pytest.fixture
def folder() -> Path:
    return Path(os.environ[VARIABLE])


def test_features_and_units(folder) -> None:
    want = np.load(GOLDENS / "real_hubert_sample.npz")
    tokenizer = load_tokenizer("hubert_base_l9_km500", checkpoint=folder)
    waveform = torch.from_numpy(read_waveform(folder / CLIP).samples)
    with torch.no_grad():
        features = tokenizer.parts.reader(waveform[None], torch.tensor([len(waveform)]))[0]
    # The published numbers are float32 of another processor.
    np.testing.assert_allclose(features[::6, ::12].numpy(), want["features_l9"], rtol=0, atol=3e-3)
    np.testing.assert_allclose(features.norm(dim=1).numpy(), want["frame_norm"], rtol=1e-3)
    units = tokenizer.encode(folder / CLIP)["content"][0, 0].numpy()
    assert units.shape == want["units_l9_km500"].shape
    assert (units != want["units_l9_km500"]).sum() <= 1


def test_pitch(folder) -> None:
    want = np.load(GOLDENS / "real_hubert_sample.npz")["f0"]
    got = extract_pitch(read_waveform(folder / CLIP).samples.astype(np.float64))
    assert np.array_equal(got > 0, want > 0)
    assert (np.abs(got - want) > 1e-6).sum() <= 4  # equally cheap paths, see `speechtok.audio.yaapt`
