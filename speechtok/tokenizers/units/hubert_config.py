"""What the shapes in a file of HuBERT or its kin do not tell: attention heads, order of norms, activations, distances.

They stand in the `config.json` beside the weights of the Hugging Face form, and inside fairseq's own files. Without
either, only the published sizes of HuBERT and wav2vec 2.0 are known: Hsu et al. 2021, HuBERT, arXiv:2106.07447, table 1; Baevski et al. 2020,
wav2vec 2.0, arXiv:2006.11477, section 4; Babu et al. 2021, XLS-R, arXiv:2111.09296, table 2.

Conventions: a statement maps fields of `HubertSettings` to values; it may lack some, and an empty one states nothing.

Contents: `KINDS`, `Shown`, `read_statement`, `complete_statement`, `unusual`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechtok.checkpoints.read import read_values
from speechtok.errors import CheckpointError
from speechtok.limits import read_json
from speechtok.tokenizers.units.hubert_extractor import ACTIVATIONS, EPS, HubertSettings

KINDS = {
    "hubert": ("hubert", "wav2vec2"),
    "wav2vec2": ("hubert", "wav2vec2"),
    "wavlm": ("wavlm",),
    "data2vec": ("data2vec-audio",),
}
"""Name of such features in a card → each `model_type` that a config of them may have."""
_CONFIG = "config.json"
_PUBLISHED = {(768, False): 12, (1024, False): 16, (1024, True): 16, (1280, True): 16, (1920, True): 16}
"""Channels, and whether every convolution has a layer norm → attention heads, of all published networks of that size."""
_SAME_ACTIVATION = {
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}
"""Names in configs → ours, where they differ."""
_NORMED = " and a layer norm after each convolution"
_MOST = 1_000
"""Largest count of heads, strides or repeated convolutions that is believed."""
_MOST_DISTANCE = 100_000
"""Largest count of buckets or frames of relative positions that is believed."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What the entries of a file show of its network."""

    channels: int
    """Channels of the transformer."""
    layer_norm: bool
    """Whether every convolution has a layer norm."""
    kernels: Sequence[int]
    """Kernel sizes of the convolutions."""
    position_norm: str = "weight"
    """As in `HubertSettings`."""
    position_layers: int = 1
    """Positional convolutions."""
    projection_norm: bool = True
    """As in `HubertSettings`."""
    is_gated: bool = False
    """Whether there is a table of relative positions."""


def read_statement(files: Mapping[str, Path], features: str = "hubert") -> dict[str, Any]:
    """Return what the files of a checkpoint folder state about the network in `features/`.

    Args:
        files: local path by path inside the folder.
        features: which of `KINDS` it is to be.

    Raises:
        CheckpointError: when a file cannot be read, states what is not known here, or is of another kind.
    """
    own = {Path(name).name: path for name, path in files.items() if name.startswith("features/")}
    if _CONFIG in own:
        return _of_hugging_face(own[_CONFIG], KINDS[features])
    for path in own.values():
        found = _of_fairseq(path)
        if found:
            gated, several = bool(found["buckets"]), found["position_norm"] == "layer"
            kind = "wavlm" if gated else "data2vec-audio" if several else "hubert"
            if kind not in KINDS[features]:
                raise _other_kind(path, kind, KINDS[features])
            return found
    return {}


def complete_statement(stated: Mapping[str, Any], shown: Shown, *, source: str) -> dict[str, Any]:
    """Return a statement that has every field, once it is known to fit the entries.

    Args:
        stated: from `read_statement` or a card.
        shown: what the entries show.
        source: what messages call the weights.

    Raises:
        CheckpointError: when it does not fit, or nothing is stated and the network is not of a published size of HuBERT
            or wav2vec 2.0.
    """
    channels, kernels = shown.channels, shown.kernels
    usual = _usual(channels, shown.layer_norm, kernels)
    found: dict[str, Any] = usual | {"num_heads": _PUBLISHED.get((channels, shown.layer_norm))} | dict(stated)
    strange = _strange(shown)
    if found["num_heads"] is None or (strange and not stated):
        told = strange or f"{channels} channels{_NORMED if shown.layer_norm else ''}"
        raise CheckpointError(
            f"{source} has {told}, which no published HuBERT or wav2vec 2.0 has, so its attention heads and the order of "
            f"its norms cannot be told; put the {_CONFIG} of the model beside it, or give fairseq's own file, which "
            "holds its configuration."
        )
    heads, strides = found["num_heads"], found["strides"]
    checks = {
        "channels": found.pop("channels", channels) == channels,
        "num_heads": _is_count(heads) and channels % heads == 0,
        "norm_first": isinstance(found["norm_first"], bool),
        "epsilon": isinstance(found["epsilon"], float) and 0 < found["epsilon"] < 1,
        "activation": found["activation"] in ACTIVATIONS,
        "conv_activation": found["conv_activation"] in ACTIVATIONS,
        "strides": isinstance(strides, list | tuple)
        and len(strides) == len(kernels)
        and all(_is_count(stride) for stride in strides),
        "kernels": list(found.pop("kernels", kernels)) == list(kernels),
        "layer_norm": found.pop("layer_norm", shown.layer_norm) == shown.layer_norm,
        "position_norm": found["position_norm"] == shown.position_norm,
        "position_layers": found.pop("position_layers", shown.position_layers) == shown.position_layers,
        "projection_norm": found["projection_norm"] is shown.projection_norm,
        "buckets": _are_distances(found["buckets"], found["max_distance"], is_gated=shown.is_gated),
    }
    wrong = [name for name, is_right in checks.items() if not is_right]
    if wrong or not found.keys() <= usual.keys():
        raise CheckpointError(
            f"The configuration of {source} does not fit its weights: {', '.join(wrong) or 'unknown fields'}."
        )
    return found | {"strides": tuple(strides)}


def unusual(settings: HubertSettings) -> dict[str, Any]:
    """Return the fields that are not what networks without a statement were once taken to have: 64 channels a head."""
    usual = _usual(settings.channels, settings.layer_norm, settings.kernels)
    return {
        name: getattr(settings, name) for name, value in usual.items() if getattr(settings, name) != value
    }


def _usual(channels: int, layer_norm: bool, kernels: Sequence[int]) -> dict[str, Any]:
    return {
        "num_heads": channels // 64,
        "norm_first": layer_norm,
        "epsilon": EPS,
        "activation": "gelu",
        "conv_activation": "gelu",
        "strides": (5, *[2] * (len(kernels) - 1)),
        "position_norm": "weight",
        "projection_norm": True,
        "buckets": 0,
        "max_distance": 0,
    }


def _strange(shown: Shown) -> str:
    """Return what HuBERT and wav2vec 2.0 of the first papers do not have; "" for nothing."""
    parts = {
        "gated relative positions": shown.is_gated,
        "a batch norm in its positional convolution": shown.position_norm == "batch",
        "several positional convolutions": shown.position_norm == "layer",
        "no layer norm before its projection": not shown.projection_norm,
    }
    return ", ".join(part for part, is_there in parts.items() if is_there)


def _are_distances(buckets: object, most: object, *, is_gated: bool) -> bool:
    if not is_gated:
        return type(buckets) is int and type(most) is int and buckets == most == 0
    known = type(buckets) is int and type(most) is int and buckets % 4 == 0
    return known and 0 < buckets // 4 < most <= _MOST_DISTANCE  # type: ignore[operator]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST


def _of_hugging_face(path: Path, kinds: Sequence[str]) -> dict[str, Any]:
    """Read a `config.json`; what it lacks is what `transformers` takes then."""
    content = read_json(path, "config", error=CheckpointError)
    kind = content.get("model_type") if isinstance(content, dict) else None
    if not isinstance(content, dict) or kind not in kinds:
        raise _other_kind(path, kind, kinds)
    norm = "layer" if kind == "data2vec-audio" else content.get("feat_extract_norm", "group")
    if norm not in ("group", "layer"):
        raise CheckpointError(
            f"'{path}' must state feat_extract_norm as 'group' or 'layer', got {str(norm)[:40]!r}."
        )
    stated = {
        "channels": content.get("hidden_size", 768),
        "num_heads": content.get("num_attention_heads", 12),
        "norm_first": kind != "data2vec-audio" and content.get("do_stable_layer_norm", False),
        "epsilon": content.get("layer_norm_eps", EPS),
        "activation": _activation(content.get("hidden_act", "gelu"), path),
        "conv_activation": _activation(content.get("feat_extract_activation", "gelu"), path),
        "layer_norm": norm == "layer",
        "position_norm": "weight",
    }
    if kind == "hubert":
        stated["projection_norm"] = content.get("feat_proj_layer_norm", True)
        stated["position_norm"] = "batch" if content.get("conv_pos_batch_norm", False) else "weight"
    elif kind == "wavlm":
        stated["buckets"] = content.get("num_buckets", 320)
        stated["max_distance"] = content.get("max_bucket_distance", 800)
    elif kind == "data2vec-audio":
        stated |= {"position_norm": "layer", "position_layers": content.get("num_conv_pos_embeddings", 5)}
    sizes = {"kernels": content.get("conv_kernel"), "strides": content.get("conv_stride")}
    return stated | {name: value for name, value in sizes.items() if isinstance(value, list)}


def _other_kind(path: Path, kind: object, kinds: Sequence[str]) -> CheckpointError:
    return CheckpointError(
        f"'{path}' must describe a model of the type {' or '.join(kinds)}, got {str(kind)[:40]!r}; "
        "load it with a card whose `features` name its kind."
    )


def _of_fairseq(path: Path) -> dict[str, Any]:
    """Read the configuration inside a file of fairseq: `cfg` of later versions, `args` of earlier ones.

    Files of WavLM have it in `cfg` too, those that s3prl wrote of DistilHuBERT in `Config`.
    """
    held = read_values(path, ("cfg", "args", "Config"))
    distilled = held.get("Config")
    distilled = distilled.get("distiller") if isinstance(distilled, dict) else None
    for options in (held.get("cfg"), held.get("args"), distilled):
        model = options.get("model", options) if isinstance(options, dict) else None
        for _ in range(4):  # a network that was tuned holds the one it began with
            if isinstance(model, dict) and "encoder_attention_heads" not in model:
                inner = model.get("w2v_args")
                model = inner.get("model", inner) if isinstance(inner, dict) else None
        if isinstance(model, dict):
            return _of_options(model, path, is_distilled=options is distilled)
    return {}


def _of_options(model: Mapping[str, Any], path: Path, *, is_distilled: bool) -> dict[str, Any]:
    gated = bool(model.get("relative_position_embedding", False))
    if gated is not bool(model.get("gru_rel_pos", gated)):
        raise CheckpointError(f"'{path}' states relative positions without gates, which are not known here.")
    depth = model.get("pos_conv_depth") or 1
    normed = bool(model.get("conv_pos_batch_norm", False))
    stated = {
        "channels": model.get("encoder_embed_dim", 768),
        "num_heads": model["encoder_attention_heads"],
        "norm_first": model.get("layer_norm_first", False),
        "activation": _activation(model.get("activation_fn") or "gelu", path),
        "layer_norm": model.get("extractor_mode") == "layer_norm",
        "position_norm": "layer" if depth != 1 else "batch" if normed else "weight",
        "position_layers": depth,
        "projection_norm": not is_distilled,
        "buckets": model.get("num_buckets") if gated else 0,
        "max_distance": model.get("max_distance") if gated else 0,
    }
    layers = model.get("extractor_conv_feature_layers" if is_distilled else "conv_feature_layers")
    return stated | _convolutions(layers, path)


def _convolutions(text: object, path: Path) -> dict[str, Any]:
    """Read what fairseq writes as Python: sums and multiples of lists of (channels, kernel, stride)."""
    if text is None:
        return {}
    parts = re.findall(r"\[([\d(), ]+)\](?:\*(\d{1,3}))?(?:\+|$)", str(text).replace(" ", ""))
    layers = [
        (int(kernel), int(stride))
        for inside, times in parts
        for _ in range(int(times or 1))
        for kernel, stride in re.findall(r"\(\d{1,9},(\d{1,9}),(\d{1,9})\)", inside)
    ]
    if not 0 < len(layers) <= _MOST:
        raise CheckpointError(f"'{path}' states convolutions that are not understood: {str(text)[:80]!r}.")
    return {"kernels": [kernel for kernel, _ in layers], "strides": [stride for _, stride in layers]}


def _activation(name: object, path: Path) -> str:
    known = _SAME_ACTIVATION.get(str(name), str(name))
    if known not in ACTIVATIONS:
        raise CheckpointError(
            f"'{path}' names the activation {str(name)[:40]!r}, but only these are known: "
            f"{', '.join([*ACTIVATIONS, *_SAME_ACTIVATION])}."
        )
    return known
