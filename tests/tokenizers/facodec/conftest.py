"""FACodec networks with recipe weights, built once per session."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from speechtok.tokenizers.facodec.codec import Codec
from speechtok.tokenizers.facodec.config import FacodecConfig
from speechtok.tokenizers.facodec.convert import build_part, file_parts
from tests.goldens import recipe
from tests.goldens.facodec.weights import GOLDENS, INVENTORY, published_weights, write_published


@cache
def build_codec(version: int, dtype: torch.dtype = torch.float64) -> Codec:
    config = FacodecConfig(version=version)
    parts = {}
    for role, names in file_parts(config).items():
        stored = published_weights(role + ("_v2" if version == 2 else ""))
        for name in names:
            tops = {
                "factors": ("quantizer", "timbre_encoder", "melspec"),
                "generator": ("timbre_linear", "model."),
            }
            tops |= {"encoder": ("block.",), "mel": ("mel_transform.",), "redecoder": ("",)}
            own = {
                k: v[:1] if k.endswith(".pe") else v for k, v in stored.items() if k.startswith(tops[name])
            }
            parts[name] = build_part(config, name, own, dtype=dtype, source=role)
    return Codec(config, parts)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def codec() -> Callable[..., Codec]:
    return build_codec


@pytest.fixture
def golden() -> Callable[[str], dict[str, np.ndarray]]:
    return lambda name: dict(np.load(GOLDENS / f"{name}.npz"))


@pytest.fixture
def signal() -> Callable[[int, int], torch.Tensor]:
    return lambda seed, samples: torch.from_numpy(recipe.speechlike(samples, seed=seed))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the five published files, recipe weights in them, heads included (empty inside)."""
    folder = tmp_path_factory.mktemp("naturalspeech3_facodec")
    for model in INVENTORY:
        write_published(folder, model)
    return folder
