"""FunCodec networks and published folders with recipe weights."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from speechtok.cards import CARD_FILE, CardFile, TokenizerCard
from speechtok.tokenizers.funcodec.codec import Codec
from speechtok.tokenizers.funcodec.config import FuncodecConfig
from speechtok.tokenizers.funcodec.convert import build_codec, published_shapes
from speechtok.tokenizers.funcodec.published_config import parse_config
from speechtok.tokenizers.funcodec.streams import streams_of
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


def build(model: str, dtype: torch.dtype, seed: int = 12) -> Codec:
    """A codec of the published size, from float32 weights as published ones are."""
    gain = 1.0 if model.startswith("soundstream") else 2.0
    return build_codec(config_of(model), weights(model, seed, gain, "float32"), dtype=dtype, source=model)


@cache
def codec(model: str, seed: int, gain: float = 2.0, dtype: torch.dtype = torch.float64) -> Codec:
    return build_codec(config_of(model), weights(model, seed, gain), dtype=dtype, source=model)


def write_folder(folder: Path, model: str, seed: int, gain: float = 2.0, dtype: str = "float32") -> Path:
    """A published folder: `config.yaml` and `model.pth` with all entries, those of the losses included."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(
        yaml.safe_dump(published_config(model) | {"optim": "adam", "seed": 0})
    )
    entries = weights(model, seed, gain, dtype, statistics=True)
    entries |= {key: torch.zeros(shape) for key, shape in INVENTORY["training_only"].items()}
    torch.save(entries, folder / "model.pth")
    return folder


def small_config(
    kind: str = "time", *, segments: tuple[float, float] | None = None, phones: bool = False, **changes: Any
) -> dict[str, Any]:
    """The `config.yaml` of a network small enough for property tests."""
    model = {"time": "encodec_nq32ds320", "freq": "freqcodec_magphase_nq32ds320"}[kind]
    content = published_config(model)
    ratios = [5, 2] if kind == "time" else [[4, 1], [4, 1], [4, 2], [4, 1]]
    shared = {"ratios": ratios, "n_filters": 4 if kind == "time" else 2} | changes
    content["encoder_conf"] = content["encoder_conf"] | shared | {"dimension": 16}
    content["decoder_conf"] = content["decoder_conf"] | shared
    hop = 10 if kind == "time" else 320
    if segments is not None:
        conf = {"segment_dur": segments[0], "overlap_ratio": segments[1]}
        content["model_conf"] = content["model_conf"] | conf
    content["quantizer_conf"] = content["quantizer_conf"] | {
        "num_quantizers": 4,
        "codebook_size": 64,
        "encoder_hop_length": hop,
    }
    return semantic_config(content) if phones else content


def semantic_config(content: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The same model with semantic augmentation."""
    phones = {"ppg_dim": 86, "ppg_ds_rate": 2, "ppg_ds_type": "conv", "ppg_usage_mod": "concat"}
    conf = content["model_conf"] | {"ppg_conf": phones | changes}
    return content | {"model": "codec_semantic_aug", "model_conf": conf}


def recipe_weights(content: dict[str, Any], seed: int = 1, dtype: str = "float32") -> dict[str, torch.Tensor]:
    """Weights for any configuration, with the codebook statistics a published file has."""
    config = parse_config(content, "test")
    shapes = published_shapes(config)
    books = (config.num_codebooks, config.codebook_size, config.codebook_dim)
    for name, shape in (("inited", (books[0], 1)), ("cluster_size", books[:2]), ("embed_avg", books)):
        shapes[f"quantizer.rq.model.{name}"] = shape
    made = {}
    for key, shape in shapes.items():
        made[key] = torch.from_numpy(recipe.tensor(key, shape, dtype, seed=seed, gain=2.0))
        if key.endswith("_trans_func.window"):
            made[key] = torch.hann_window(shape[0], dtype=getattr(torch, dtype))
    return made


def write_small_folder(
    folder: Path, kind: str = "time", seed: int = 1, dtype: str = "float64", **changes: Any
) -> Path:
    """A published folder of a small network, with the card by which it loads."""
    content = small_config(kind, **changes)
    folder.mkdir(parents=True, exist_ok=True)
    write_card(folder, content)
    (folder / "config.yaml").write_text(yaml.safe_dump(content | {"optim": "adam", "seed": 0}))
    entries = recipe_weights(content, seed, dtype)
    torch.save(
        entries | {"discriminator.w": torch.zeros(3), "mel_spec_transforms.0.window": torch.ones(2)},
        folder / "model.pth",
    )
    return folder


def write_card(folder: Path, content: dict[str, Any]) -> None:
    """A card of its own beside a `config.yaml` and `model.pth`."""
    config = parse_config(content, "test")
    TokenizerCard(
        name="funcodec_small",
        family="funcodec",
        description="A small network.",
        sample_rate=config.sample_rate,
        streams=streams_of(config),
        has_scale=config.normalize and config.segments is None,
        files=(CardFile(path="config.yaml"), CardFile(path="model.pth")),
        licence_code="MIT",
        citation="None.",
    ).write(folder / CARD_FILE)


def signal(samples: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(recipe.speechlike(samples, 16_000, seed=seed))
