"""What the shapes in a file of HuBERT or wav2vec 2.0 do not tell: attention heads, order of norms, activations.

They stand in the `config.json` beside the weights of the Hugging Face form, and inside fairseq's own files. Without
either, only the published sizes are known: Hsu et al. 2021, HuBERT, arXiv:2106.07447, table 1; Baevski et al. 2020,
wav2vec 2.0, arXiv:2006.11477, section 4; Babu et al. 2021, XLS-R, arXiv:2111.09296, table 2.

Conventions: a statement maps fields of `HubertSettings` to values; it may lack some, and an empty one states nothing.

Contents: `read_statement`, `complete_statement`, `unusual`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechtok.checkpoints.read import read_values
from speechtok.errors import CheckpointError
from speechtok.limits import read_json
from speechtok.tokenizers.units.hubert_extractor import ACTIVATIONS, EPS, HubertSettings

KINDS = ("hubert", "wav2vec2")
"""`model_type` in the config of such a network, and names of its features in a card."""
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
_MOST = 1_000
"""Largest count of heads, strides or repeated convolutions that is believed."""


def read_statement(files: Mapping[str, Path]) -> dict[str, Any]:
    """Return what the files of a checkpoint folder state about the network in `features/`.

    Args:
        files: local path by path inside the folder.

    Raises:
        CheckpointError: when a file cannot be read, or states what this network cannot be.
    """
    own = {Path(name).name: path for name, path in files.items() if name.startswith("features/")}
    if _CONFIG in own:
        return _of_hugging_face(own[_CONFIG])
    for path in own.values():
        found = _of_fairseq(path)
        if found:
            return found
    return {}


def complete_statement(
    stated: Mapping[str, Any], *, channels: int, layer_norm: bool, kernels: Sequence[int], source: str
) -> dict[str, Any]:
    """Return a statement that has every field, once it is known to fit the shapes.

    Args:
        stated: from `read_statement` or a card.
        channels: of the transformer.
        layer_norm: whether every convolution has a layer norm.
        kernels: of the convolutions.
        source: what messages call the weights.

    Raises:
        CheckpointError: when it does not fit, or the heads are not stated and the size is not a published one.
    """
    found: dict[str, Any] = _usual(channels, layer_norm, kernels)
    found |= {"num_heads": _PUBLISHED.get((channels, layer_norm))}
    found |= stated
    if found["num_heads"] is None:
        raise CheckpointError(
            f"{source} has {channels} channels{' and a layer norm after each convolution' if layer_norm else ''}, which "
            "no published network has, so its attention heads and the order of its norms cannot be told; put the "
            f"{_CONFIG} of the model beside it, or give fairseq's own file, which holds its configuration."
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
        "layer_norm": found.pop("layer_norm", layer_norm) == layer_norm,
    }
    wrong = [name for name, is_right in checks.items() if not is_right]
    if wrong or not found.keys() <= _usual(channels, layer_norm, kernels).keys():
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
    }


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST


def _of_hugging_face(path: Path) -> dict[str, Any]:
    """Read a `config.json`; what it lacks is what `transformers` takes then."""
    content = read_json(path, "config", error=CheckpointError)
    if not isinstance(content, dict) or content.get("model_type") not in KINDS:
        kind = content.get("model_type") if isinstance(content, dict) else None
        raise CheckpointError(
            f"'{path}' must be the config of a model of the type {' or '.join(KINDS)}, got {str(kind)[:40]!r}."
        )
    if content.get("feat_proj_layer_norm", True) is not True or content.get("conv_pos_batch_norm", False):
        raise CheckpointError(
            f"'{path}' describes a network without feat_proj_layer_norm or with conv_pos_batch_norm, which is not known here."
        )
    norm = content.get("feat_extract_norm", "group")
    if norm not in ("group", "layer"):
        raise CheckpointError(
            f"'{path}' must state feat_extract_norm as 'group' or 'layer', got {str(norm)[:40]!r}."
        )
    stated = {
        "channels": content.get("hidden_size", 768),
        "num_heads": content.get("num_attention_heads", 12),
        "norm_first": content.get("do_stable_layer_norm", False),
        "epsilon": content.get("layer_norm_eps", EPS),
        "activation": _activation(content.get("hidden_act", "gelu"), path),
        "conv_activation": _activation(content.get("feat_extract_activation", "gelu"), path),
        "layer_norm": norm == "layer",
    }
    sizes = {"kernels": content.get("conv_kernel"), "strides": content.get("conv_stride")}
    return stated | {name: value for name, value in sizes.items() if isinstance(value, list)}


def _of_fairseq(path: Path) -> dict[str, Any]:
    """Read the configuration inside a file of fairseq: `cfg` of later versions, `args` of earlier ones."""
    held = read_values(path, ("cfg", "args"))
    for options in (held.get("cfg"), held.get("args")):
        model = options.get("model", options) if isinstance(options, dict) else None
        for _ in range(4):  # a network that was tuned holds the one it began with
            if isinstance(model, dict) and "encoder_attention_heads" not in model:
                inner = model.get("w2v_args")
                model = inner.get("model", inner) if isinstance(inner, dict) else None
        if isinstance(model, dict):
            stated = {
                "channels": model.get("encoder_embed_dim", 768),
                "num_heads": model["encoder_attention_heads"],
                "norm_first": model.get("layer_norm_first", False),
                "activation": _activation(model.get("activation_fn") or "gelu", path),
                "layer_norm": model.get("extractor_mode") == "layer_norm",
            }
            return stated | _convolutions(model.get("conv_feature_layers"), path)
    return {}


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
