"""Published files of HuBERT, its kin and CPC → networks of this family.

Sizes are read from the shapes in a file, the rest from `hubert_config`: published sizes of HuBERT and wav2vec 2.0 load
without a config. Entry names of
`facebook/hubert-base-ls960` (Hugging Face Hub) and of fairseq's `hubert_base_ls960.pt` are both understood; the
map between them is the table below. Only the layers that are run are read.

Contents: `find_weights`, `read_hubert`, `build_hubert`, `read_cpc`, `build_cpc`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from speechtok.checkpoints.build import making
from speechtok.checkpoints.read import INDEX, load_strict, read_index, read_shapes, read_state_dict
from speechtok.errors import CheckpointError
from speechtok.tokenizers.units.cpc import Cpc, CpcSettings
from speechtok.tokenizers.units.hubert import Hubert
from speechtok.tokenizers.units.hubert_config import Shown, complete_statement
from speechtok.tokenizers.units.hubert_extractor import HubertSettings

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".ckpt", ".th")
"""Endings of weights files in the `features` folder; where there are several, the first that exists is read."""

_RENAMED = (
    # fairseq → Hugging Face
    (r"^feature_extractor\.conv_layers\.(\d+)\.0\.", r"feature_extractor.conv_layers.\1.conv."),
    (r"^feature_extractor\.conv_layers\.(\d+)\.2\.(1\.)?", r"feature_extractor.conv_layers.\1.layer_norm."),
    (r"^layer_norm\.", "feature_projection.layer_norm."),
    (r"^post_extract_proj\.", "feature_projection.projection."),
    (r"^encoder\.pos_conv\.(\d+)\.0\.", r"encoder.pos_conv_embed.layers.\1.conv."),
    (r"^encoder\.pos_conv\.0\.", "encoder.pos_conv_embed.conv."),
    (r"\.self_attn\.relative_attention_bias\.", ".attention.rel_attn_embed."),
    (r"\.self_attn\.grep_linear\.", ".attention.gru_rel_pos_linear."),
    (r"\.self_attn\.grep_a$", ".attention.gru_rel_pos_const"),
    (r"(encoder\.layers\.\d+)\.self_attn\.", r"\1.attention."),
    (r"(encoder\.layers\.\d+)\.self_attn_layer_norm\.", r"\1.layer_norm."),
    (r"(encoder\.layers\.\d+)\.fc1\.", r"\1.feed_forward.intermediate_dense."),
    (r"(encoder\.layers\.\d+)\.fc2\.", r"\1.feed_forward.output_dense."),
    # torch's present names of weight norm → its first
    (r"parametrizations\.weight\.original0$", "weight_g"),
    (r"parametrizations\.weight\.original1$", "weight_v"),
)
_BATCH_NORMED = (
    # fairseq's positional convolution behind a batch norm; without one, number 0 is the convolution itself
    (r"^encoder\.pos_conv\.0\.", "encoder.pos_conv_embed.batch_norm."),
    (r"^encoder\.pos_conv\.1\.", "encoder.pos_conv_embed.conv."),
)
_PREFIXES = (
    "model.",
    "Distiller.",
    "hubert.",
    "wav2vec2.",
    "wavlm.",
    "data2vec_audio.",
    "w2v_encoder.w2v_model.",
)
"""What files of one form or another put before all names."""
_POSITION = "encoder.pos_conv_embed.conv."
_POSITIONS = "encoder.pos_conv_embed.layers."
_OURS = re.compile(
    r"(feature_extractor\.|feature_projection\.|encoder\.(pos_conv_embed|layer_norm|layers)\.)"
)


def find_weights(folder: Path, *, apart_from: Collection[str] = ()) -> list[Path]:
    """Return the weights file in a folder; files with one of the names `apart_from` are none.

    Weights in several safetensors files are their list, and then those files.

    Raises:
        CheckpointError: when there is none, or a list does not name files beside it.
    """
    for suffix in WEIGHT_SUFFIXES:
        found = sorted(path for path in folder.glob(f"*{suffix}") if path.name not in apart_from)
        lists = sorted(folder.glob(f"*{INDEX}")) if found and suffix == ".safetensors" else []
        if lists:
            whole = lists[0].with_name(lists[0].name.removesuffix(".index.json"))
            return [whole] if whole in found else [lists[0], *read_index(lists[0])]
        if found:
            return found[:1]
    raise CheckpointError(
        f"There is no weights file in {folder}; it must hold one that ends in {', '.join(WEIGHT_SUFFIXES)}."
    )


def published_name(name: str, *, batch_normed: bool = False) -> str | None:
    """Return the Hugging Face name of an entry of either form, or None for what features do not need.

    Args:
        name: as it stands in the file.
        batch_normed: whether the file is one of fairseq with a batch norm in its positional convolution.
    """
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    for pattern, replacement in (*(_BATCH_NORMED if batch_normed else ()), *_RENAMED):
        name = re.sub(pattern, replacement, name)
    return name if _OURS.match(name) and not name.endswith(".num_batches_tracked") else None


def read_hubert(
    path: Path, layer: int, *, prefix: str = "", stated: Mapping[str, Any] = MappingProxyType({})
) -> tuple[HubertSettings, dict[str, Tensor]]:
    """Return sizes and weights of the network up to `layer`, from either published form.

    Args:
        path: the weights file.
        layer: the last layer to read, from 1.
        prefix: what our own files put before the names of this part.
        stated: what `hubert_config.read_statement` found.

    Returns:
        Sizes, and entries by our name in their stored type, the positional weight norm folded.

    Raises:
        CheckpointError: if the file cannot be read, is of another kind or size, or has fewer layers.
    """
    shapes = {name: shape for name, shape in read_shapes(path).items() if name.startswith(prefix)}
    normed = any(name.endswith("encoder.pos_conv.0.running_mean") for name in shapes)
    stored_name = {
        ours: name
        for name in shapes
        if (ours := published_name(name.removeprefix(prefix), batch_normed=normed)) is not None
    }

    def needed(ours: str) -> bool:
        match = re.match(r"encoder\.layers\.(\d+)\.", ours)
        return match is None or int(match[1]) < layer

    settings = _hubert_settings(
        {ours: shapes[name] for ours, name in stored_name.items()}, layer, path, stated
    )
    if settings.norm_first:  # the norm after the last layer is not part of the features
        stored_name = {o: n for o, n in stored_name.items() if not o.startswith("encoder.layer_norm.")}
    wanted = {name: ours for ours, name in stored_name.items() if needed(ours)}
    stored = read_state_dict(path, wanted=wanted.__contains__)
    return settings, {wanted[name]: value for name, value in stored.items()}


def build_hubert(
    settings: HubertSettings,
    weights: Mapping[str, Tensor],
    *,
    normalize: bool,
    dtype: torch.dtype,
    source: str,
) -> Hubert:
    """Return the network, ready for inference.

    Args:
        settings: sizes.
        weights: entries by published or our own name.
        normalize: see `Hubert`.
        dtype: float type of the network; entries go to it straight from their own.
        source: what messages call the origin of the weights.

    Raises:
        CheckpointError: if an entry is missing, unexpected or misshaped.
    """
    cast = {name: value.to(dtype) for name, value in weights.items()}
    if f"{_POSITION}weight_v" in cast:
        direction, length = cast.pop(f"{_POSITION}weight_v"), cast.pop(f"{_POSITION}weight_g")
        norm = torch.linalg.vector_norm(direction, dim=(0, 1), keepdim=True)
        cast[f"{_POSITION}weight"] = direction * (length / norm)
    with making(source):
        network = Hubert(settings, normalize=normalize)
    load_strict(network, cast, source=source)
    return network.eval()


def read_cpc(path: Path, num_layers: int, *, prefix: str = "") -> tuple[CpcSettings, dict[str, Tensor]]:
    """Return sizes and weights of a CPC network with its first `num_layers` LSTM layers.

    Raises:
        CheckpointError: if the file cannot be read, is of another kind, or has fewer layers.
    """
    pattern = re.compile(rf"^{re.escape(prefix)}(?:weights\.)?((?:gEncoder|gAR)\..*)$")
    wanted = {name: match[1] for name in read_shapes(path) if (match := pattern.match(name))}

    def kept(ours: str) -> bool:
        level = re.search(r"_l(\d+)$", ours)
        return level is None or int(level[1]) < num_layers

    stored = read_state_dict(path, wanted=lambda name: name in wanted and kept(wanted[name]))
    weights = {wanted[name]: value for name, value in stored.items()}
    if "gEncoder.conv0.weight" not in weights or f"gAR.baseNet.weight_hh_l{num_layers - 1}" not in weights:
        raise CheckpointError(f"'{path}' is not a CPC network with at least {num_layers} LSTM layers.")
    settings = CpcSettings(
        channels=weights["gEncoder.conv0.weight"].shape[0],
        hidden=weights["gAR.baseNet.weight_hh_l0"].shape[1],
        num_layers=num_layers,
    )
    return settings, weights


def build_cpc(
    settings: CpcSettings, weights: Mapping[str, Tensor], *, dtype: torch.dtype, source: str
) -> Cpc:
    """Return the network, ready for inference; arguments and errors as in `build_hubert`."""
    with making(source):
        network = Cpc(settings)
    load_strict(network, {name: value.to(dtype) for name, value in weights.items()}, source=source)
    return network.eval()


def _hubert_settings(
    shapes: Mapping[str, tuple[int, ...]], layer: int, path: Path, stated: Mapping[str, Any]
) -> HubertSettings:
    kernels: list[int] = []
    while (shape := shapes.get(f"feature_extractor.conv_layers.{len(kernels)}.conv.weight")) is not None:
        kernels.append(shape[2])
    several = f"{_POSITIONS}0.conv.weight" in shapes
    position = (
        shapes.get(f"{_POSITION}weight_v")
        or shapes.get(f"{_POSITION}weight")
        or shapes.get(f"{_POSITIONS}0.conv.weight")
    )
    hidden = shapes.get("encoder.layers.0.feed_forward.intermediate_dense.weight")
    if not kernels or position is None or hidden is None:
        raise CheckpointError(
            f"'{path}' is not a HuBERT or wav2vec 2.0 network: it has no convolutions or layers of that kind."
        )
    layers = len({name.split(".")[2] for name in shapes if name.startswith("encoder.layers.")})
    if not 1 <= layer <= layers:
        raise CheckpointError(f"'{path}' has layers 1 to {layers}, but layer {layer} is to be read.")
    layer_norm = "feature_extractor.conv_layers.1.layer_norm.weight" in shapes
    normed = "encoder.pos_conv_embed.batch_norm.weight" in shapes
    shown = Shown(
        channels=hidden[1],
        layer_norm=layer_norm,
        kernels=kernels,
        position_norm="layer" if several else "batch" if normed else "weight",
        position_layers=sum(name.startswith(_POSITIONS) and name.endswith("weight") for name in shapes) or 1,
        projection_norm="feature_projection.layer_norm.weight" in shapes,
        is_gated="encoder.layers.0.attention.rel_attn_embed.weight" in shapes,
    )
    found = complete_statement(stated, shown, source=f"'{path}'")
    return HubertSettings(
        num_layers=layer,
        channels=hidden[1],
        hidden=hidden[0],
        conv_channels=shapes["feature_extractor.conv_layers.0.conv.weight"][0],
        kernels=tuple(kernels),
        conv_bias="feature_extractor.conv_layers.0.conv.bias" in shapes,
        layer_norm=layer_norm,
        position_kernel=position[2],
        position_groups=position[0] // position[1],
        position_layers=shown.position_layers,
        **found,
    )
