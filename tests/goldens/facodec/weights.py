"""Published FACodec files rebuilt: recipe weights under the published names, without the training heads."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import torch

from speechtok.tokenizers.facodec.convert import HEADS
from tests.goldens import recipe

GOLDENS = Path(__file__).parent
INVENTORY = json.loads((GOLDENS / "state_dict.json").read_text())
CONSTANTS = np.load(GOLDENS / "constants.npz")
GAINS = {
    "encoder": {"": 0.75, "block.6.": 0.2},
    "decoder": {"model.": 0.6},
    "redecoder": {"model.": 0.6},
    "decoder_v2": {"model.": 0.6}
    | {f"melspec_encoder.layers.{i}.self_attn.": 0.3 for i in range(4)}
    | {f"melspec_encoder.layers.{i}.ffn.": 3.0 for i in range(4)},
}
GAINS["encoder_v2"] = GAINS["encoder"]


def _constant(kind: str, shape: list[int]) -> np.ndarray:
    if kind != "pe":
        return CONSTANTS[kind].reshape(shape)
    return np.concatenate([CONSTANTS["pe_rows_0_7"], np.zeros((shape[0] - 8, shape[2]), np.float32)])[:, None]


@cache
def published_weights(model: str) -> dict[str, torch.Tensor]:
    """The state dict of one published file with recipe weights, without the heads."""
    weights = {}
    for key, entry in INVENTORY[model].items():
        if key.startswith(HEADS):
            continue
        if "constant" in entry:
            value = _constant(entry["constant"], entry["shape"])
        else:
            prefix = max((p for p in GAINS[model] if key.startswith(p)), key=len, default=None)
            gain = 1.0 if prefix is None else GAINS[model][prefix]
            value = recipe.tensor(key, tuple(entry["shape"]), gain=gain)
        weights[key] = torch.from_numpy(np.ascontiguousarray(value))
    return weights


def write_published(folder: Path, model: str) -> Path:
    """Write one published file with recipe weights, heads included (zeros that take no memory)."""
    weights = dict(published_weights(model))
    for key, entry in INVENTORY[model].items():
        if key.startswith(HEADS):
            weights[key] = torch.zeros(1).expand(entry["shape"])
    path = folder / f"ns3_facodec_{model}.bin"
    torch.save({key: weights[key] for key in INVENTORY[model]}, path)
    return path
