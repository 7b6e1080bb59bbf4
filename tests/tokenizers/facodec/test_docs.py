"""Every example of the family's page runs, in order."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.goldens import recipe

PAGE = Path(__file__).parents[3] / "docs" / "families" / "facodec.md"


def test_examples_run(checkpoint, tmp_path, monkeypatch) -> None:
    soundfile = pytest.importorskip("soundfile")
    for seed, name in enumerate(("speech", "target")):
        signal = recipe.speechlike(16_000 + 999 * seed, seed=seed).astype(np.float32)
        soundfile.write(tmp_path / f"{name}.wav", signal, 16_000, subtype="FLOAT")
    (tmp_path / "naturalspeech3_facodec").symlink_to(checkpoint)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    examples = re.findall(r"```python notest\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(examples) == 6
    for example in examples:
        exec(example, names)
    assert names["waveform"].shape == names["converted"].shape == (1, 16_000)
    assert names["tokens"].codes.shape == (1, 6, 80)
    assert names["coarse"].codes.shape == (1, 3, 80)
    assert torch.equal(names["again"], names["converted"])
    assert names["latents"].shape == names["content"].shape == (1, 256, 80)
