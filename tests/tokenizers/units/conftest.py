"""Networks of the unit family with recipe weights, built once per session."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from speechtok.tokenizers.units import convert
from speechtok.tokenizers.units.hubert import Hubert
from speechtok.tokenizers.units.hubert_extractor import HubertSettings
from speechtok.tokenizers.units.kmeans import KMeans
from tests.goldens import recipe

GOLDENS = Path(__file__).parents[2] / "goldens" / "units"
INVENTORY = json.loads((GOLDENS / "state_dict.json").read_text())


def recipe_weights(
    model: str, *, seed: int = 0, gains: Mapping[str, float] = {}, wanted: Callable[[str], bool] = bool
) -> dict[str, torch.Tensor]:
    """The state dict of one published model with recipe weights; the longest matching prefix gives the gain."""
    weights = {}
    for key, (shape, dtype) in INVENTORY[model].items():
        if wanted(key):
            prefix = max((p for p in gains if key.startswith(p)), key=len, default=None)
            gain = 1.0 if prefix is None else gains[prefix]
            kind = "float32" if dtype == "float64" else dtype
            weights[key] = torch.from_numpy(
                np.array(recipe.tensor(key, tuple(shape), kind, seed=seed, gain=gain))
            )
    return weights


@cache
def hubert_weights(layers: int) -> dict[str, torch.Tensor]:
    """HuBERT base under its published names, up to a layer, without what features do not need."""

    def wanted(key: str) -> bool:
        layer = int(key.split(".")[2]) if key.startswith("encoder.layers.") else 0
        return key != "masked_spec_embed" and layer < layers

    stored = recipe_weights("hubert_base_hf", gains={"encoder.layers.": 0.6}, wanted=wanted)
    return {convert.published_name(key): value for key, value in stored.items()}


@cache
def build_hubert(layers: int, dtype: torch.dtype = torch.float64) -> Hubert:
    settings = HubertSettings(num_layers=layers)
    weights = hubert_weights(layers)
    return convert.build_hubert(settings, weights, normalize=False, dtype=dtype, source="the recipe")


def recipe_centers(num_units: int, mu: np.ndarray) -> np.ndarray:
    """`(num_units, 768)` float32 centres around the mean `mu` of the features."""
    return mu + recipe.tensor("cluster_centers_", (num_units, 768), seed=0, gain=6.0)


def build_kmeans(centers: np.ndarray, dtype: torch.dtype = torch.float64) -> KMeans:
    kmeans = KMeans(*centers.shape).to(dtype)
    kmeans.load_state_dict({"cluster_centers_": torch.from_numpy(centers).to(dtype)})
    return kmeans


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def golden() -> Callable[[str], dict[str, np.ndarray]]:
    return lambda name: dict(np.load(GOLDENS / f"{name}.npz"))


@pytest.fixture
def signal() -> Callable[[int, int], torch.Tensor]:
    return lambda seed, samples: torch.from_numpy(recipe.speechlike(samples, seed=seed))
