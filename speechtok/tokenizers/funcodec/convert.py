"""From published FunCodec files to networks.

A published folder holds `config.yaml` and `model.pth`, one flat state dict. Beside what inference
needs it carries the discriminators and the mel filters of the losses, which are never read, and the
running statistics of the codebooks, of which only `inited` is: a codebook that was never fitted would
give meaningless codes. Every other entry must match the network by name and shape.

Contents: `read_configuration`, `weights_path`, `read_weights`, `build_codec`, `published_shapes`, `folded_weights`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechtok.cards import TokenizerCard
from speechtok.cards.yaml_file import read_yaml
from speechtok.checkpoints.read import check_entries, load_strict, read_shapes, read_state_dict
from speechtok.errors import CardError, CheckpointError
from speechtok.nets.weight_norm import fold, normed_weight
from speechtok.tokenizers.funcodec.codec import Codec
from speechtok.tokenizers.funcodec.config import FuncodecConfig
from speechtok.tokenizers.funcodec.published_config import SECTIONS
from speechtok.tokenizers.funcodec.semantic import SemanticCodec

CONFIG_FILE = "config.yaml"
"""The published description of the network; without it the card's `architecture` holds its sections."""
TRAINING = ("discriminator.", "mel_spec_transforms.")
"""Entries of the losses, which are ignored."""
CODEBOOK = "quantizer.rq.model."
"""Where the codebooks are."""


def read_configuration(card: TokenizerCard, files: Mapping[str, Path]) -> tuple[dict[str, Any], str]:
    """Return the sections that describe the network, and what messages call their origin.

    Raises:
        CardError: when the file is no YAML mapping.
    """
    found, named = (
        (read_yaml(files[CONFIG_FILE]), str(files[CONFIG_FILE]))
        if CONFIG_FILE in files
        else (card.architecture, f"Card '{card.name}'")
    )
    return {name: found[name] for name in SECTIONS if name in found}, named


def weights_path(card: TokenizerCard, files: Mapping[str, Path]) -> Path:
    """Return the one weights file.

    Raises:
        CardError: when there is none, or there are several.
    """
    paths = [path for name, path in files.items() if name != CONFIG_FILE]
    if len(paths) != 1:
        raise CardError(
            f"Card '{card.name}' must name one weights file beside {CONFIG_FILE}, not {len(paths)}."
        )
    return paths[0]


def read_weights(config: FuncodecConfig, path: Path) -> dict[str, Tensor]:
    """Return the entries of a weights file that the network needs, as stored, after checking all names.

    Args:
        config: the network.
        path: `model.pth`, or a safetensors file with the same names; the latter may lack the running
            statistics of the codebooks.

    Raises:
        CheckpointError: when the file is damaged, an entry is missing, unexpected or misshaped, or a
            codebook was never fitted.
    """
    expected = published_shapes(config)
    found = {name: shape for name, shape in read_shapes(path).items() if not name.startswith(TRAINING)}
    size, stages = config.codebook_size, config.num_codebooks
    statistics = {
        "inited": (stages, 1),
        "cluster_size": (stages, size),
        "embed_avg": (stages, size, config.codebook_dim),
    }
    present = {CODEBOOK + name: shape for name, shape in statistics.items() if CODEBOOK + name in found}
    check_entries(expected | present, found, source=f"'{path}'")
    inited = CODEBOOK + "inited"
    stored = read_state_dict(path, wanted=(expected.keys() | {inited}).__contains__)
    if inited in stored and not bool((stored.pop(inited) == 1).all()):
        raise CheckpointError(
            f"'{path}' has a codebook that was never fitted ('{inited}' is not 1 everywhere); use a finished checkpoint."
        )
    return stored


def build_codec(
    config: FuncodecConfig, weights: Mapping[str, Tensor], *, dtype: torch.dtype, source: str
) -> Codec:
    """Return a codec with its weights, ready for inference.

    Args:
        config: the network.
        weights: from `read_weights`.
        dtype: float type of the network; entries go to it straight from their own.
        source: what messages call the origin of the weights.

    Raises:
        CheckpointError: when an entry is missing, unexpected or misshaped.
    """
    codec = _empty(config)
    load_strict(
        codec, folded_weights({name: value.to(dtype) for name, value in weights.items()}), source=source
    )
    fold(codec)
    return codec.eval()


def _empty(config: FuncodecConfig) -> Codec:
    """Return the network on the meta device."""
    try:
        with torch.device("meta"):
            return Codec(config) if config.phones is None else SemanticCodec(config)
    except (ValueError, RuntimeError, TypeError, ArithmeticError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise CardError(f"The FunCodec configuration describes an impossible network: {reason}.") from error


def published_shapes(config: FuncodecConfig) -> dict[str, tuple[int, ...]]:
    """Return the published entries of a network: weight and spectral norm store a convolution's weight in parts."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, value in _empty(config).state_dict().items():
        stack = {"encoder": config.encoder, "decoder": config.decoder}.get(name.split(".", 1)[0])
        parent, _, last = name.rpartition(".")
        shape = tuple(value.shape)
        norm = stack.norm if stack and last == "weight" and ".conv" in parent else "none"
        if norm == "weight_norm":
            shapes[f"{parent}.weight_g"] = (shape[0], *[1] * (len(shape) - 1))
            shapes[f"{parent}.weight_v"] = shape
        elif norm == "spectral_norm":
            rows = shape[_rows_axis(parent)]
            shapes[f"{parent}.weight_orig"] = shape
            shapes[f"{parent}.weight_u"] = (rows,)
            shapes[f"{parent}.weight_v"] = (math.prod(shape) // rows,)
        else:
            shapes[name] = shape
    return shapes


def folded_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the entries with the parts of each weight multiplied out.

    Weight norm: g·v / ‖v‖ over all axes but the first. Spectral norm: W / (u · W v), where W has one row per
    channel out.

    Source: Salimans and Kingma 2016, Weight Normalization, arXiv:1602.07868, equation 2; Miyato et al.
    2018, Spectral Normalization, arXiv:1802.05957, Algorithm 1; entries as PyTorch names them.
    """
    folded: dict[str, Tensor] = {}
    for name, value in weights.items():
        parent, _, last = name.rpartition(".")
        if last == "weight_g":
            folded[f"{parent}.weight"] = normed_weight(value, weights[f"{parent}.weight_v"])
        elif last == "weight_orig":
            matrix = value.transpose(0, _rows_axis(parent)).flatten(1)
            u, v = weights[f"{parent}.weight_u"], weights[f"{parent}.weight_v"]
            folded[f"{parent}.weight"] = value / torch.dot(u, matrix @ v)
        elif last not in ("weight_u", "weight_v"):
            folded[name] = value
    return folded


def _rows_axis(parent: str) -> int:
    """Return which axis of a convolution's weight counts the channels out; transposed ones have them second."""
    return 1 if parent.endswith(".convtr") else 0
