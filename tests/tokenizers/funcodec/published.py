"""FunCodec networks and published folders with recipe weights."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechtok.tokenizers.funcodec.codec import Codec
from speechtok.tokenizers.funcodec.config import FuncodecConfig, parse_config
from speechtok.tokenizers.funcodec.convert import build_codec
from tests.goldens import recipe

GOLDENS = Path(__file__).parents[2] / "goldens" / "funcodec"
INVENTORY = json.loads((GOLDENS / "state_dict.json").read_text())
GOLDEN_OF = {
    "encodec_nq32ds640": "encodec_ds640",
    "encodec_nq32ds320": "encodec_ds320",
    "freqcodec_magphase_nq32ds320": "freq_magphase_ds320",
    "freqcodec_magphase_nq32ds640": "freq_magphase_ds640",
    "freqcodec_magangle_nq32ds320": "freq_magangle_ds320",
    "freqcodec_magphase_nq32ds320_c8": "freq_magphase_ds320_c8",
    "freqcodec_magphase_nq32ds320_c1_nf16_noseq": "freq_magphase_ds320_c1_nf16_noseq",
    "soundstream_causal_nq32ds320": "soundstream_causal_ds320",
}


def golden(name: str) -> tuple[Any, dict[str, Any]]:
    """The arrays of a golden file and what it says about itself."""
    arrays = np.load(GOLDENS / f"{name}.npz")
    return arrays, json.loads(str(arrays["meta"][0]))


def published_config(model: str) -> dict[str, Any]:
    """The `config.yaml` of a model as a mapping, as its golden file states it."""
    _, meta = golden(GOLDEN_OF[model])
    sections = ("encoder", "encoder_conf", "decoder_conf", "quantizer_conf", "model_conf", "input_size")
    kind = "freq_codec" if model.startswith("freq") else "encodec"
    return {"model": kind, "quantizer": "costume_quantizer"} | {name: meta[name] for name in sections}


def weights(
    model: str, seed: int, gain: float, dtype: str = "float64", *, statistics: bool = False
) -> dict[str, torch.Tensor]:
    """The published state dict with recipe weights; without what inference never reads, unless asked for."""
    unread = ("inited", "cluster_size", "embed_avg")
    made = {}
    for key, shape in INVENTORY[model].items():
        if key.endswith(unread) and not statistics:
            continue
        if key.endswith("_trans_func.window"):
            made[key] = torch.hann_window(shape[0], dtype=getattr(torch, dtype))
        else:
            made[key] = torch.from_numpy(recipe.tensor(key, tuple(shape), dtype, seed=seed, gain=gain))
    return made


def config_of(model: str, **changes: Any) -> FuncodecConfig:
    return parse_config(published_config(model) | changes, model)


@cache
def codec(model: str, seed: int, gain: float = 2.0, dtype: torch.dtype = torch.float64) -> Codec:
    return build_codec(config_of(model), weights(model, seed, gain), dtype=dtype, source=model)


def write_folder(folder: Path, model: str, seed: int, gain: float = 2.0, dtype: str = "float32") -> Path:
    """A published folder: `config.yaml` and `model.pth` with all entries, those of the losses included."""
    import yaml

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(
        yaml.safe_dump(published_config(model) | {"optim": "adam", "seed": 0})
    )
    entries = weights(model, seed, gain, dtype, statistics=True)
    entries |= {key: torch.zeros(shape) for key, shape in INVENTORY["training_only"].items()}
    torch.save(entries, folder / "model.pth")
    return folder


def signal(samples: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(recipe.speechlike(samples, 16_000, seed=seed))
