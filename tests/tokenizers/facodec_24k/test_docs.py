"""Every example of the family's page runs, in order."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from speechtok import load_tokenizer
from tests.goldens import recipe

PAGE = Path(__file__).parents[3] / "docs" / "families" / "facodec_24k.md"


def test_examples_run(checkpoint, tmp_path, monkeypatch) -> None:
    soundfile = pytest.importorskip("soundfile")
    for seed, name in enumerate(("speech", "target")):
        signal = recipe.speechlike(16_000 + 999 * seed, 24_000, seed=seed).astype(np.float32)
        soundfile.write(tmp_path / f"{name}.wav", signal, 24_000, subtype="FLOAT")
    (tmp_path / "checkpoint").symlink_to(checkpoint)
    monkeypatch.chdir(tmp_path)
    small = str(checkpoint / "small.yaml")  # networks of the same build, in the same form
    monkeypatch.setattr("speechtok.load_tokenizer", lambda name, **options: load_tokenizer(small, **options))
    names: dict[str, object] = {}
    examples = re.findall(r"```python notest\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(examples) == 7
    for example in examples:
        exec(example, names)
    assert names["waveform"].shape == names["swapped"].shape == names["redone"].shape == (1, 16_000)
    frames = 16_000 // 24
    assert names["tokens"].codes.shape == (1, 6, frames)
    assert names["one"].codes.shape == (1, 5, frames)
    assert names["coarse"].codes.shape == (1, 3, frames)
    assert torch.equal(names["again"], names["swapped"])
    assert torch.equal(names["spoken"]["content"][:, 0], names["cleanest"])
    assert names["latents"].shape == names["content"].shape == (1, 16, frames)
