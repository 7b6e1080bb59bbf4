"""From published FunCodec files to networks.

A published folder holds `config.yaml` and `model.pth`, one flat state dict. Beside what inference
needs it carries the discriminators and the mel filters of the losses, which are never read, and the
running statistics of the codebooks, of which only `inited` is: a codebook that was never fitted would
give meaningless codes. Every other entry must match the network by name and shape.

Contents: `read_weights`, `build_codec`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from speechtok.checkpoints.read import check_entries, load_strict, read_shapes, read_state_dict
from speechtok.errors import CardError, CheckpointError
from speechtok.nets.weight_norm import fold
from speechtok.tokenizers.funcodec.codec import Codec
from speechtok.tokenizers.funcodec.config import FuncodecConfig

TRAINING = ("discriminator.", "mel_spec_transforms.")
"""Entries of the losses, which are ignored."""
CODEBOOK = "quantizer.rq.model."
"""Where the codebooks are."""


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
    load_strict(codec, _folded({name: value.to(dtype) for name, value in weights.items()}), source=source)
    fold(codec)
    return codec.eval()


def _empty(config: FuncodecConfig) -> Codec:
    """Return the network on the meta device."""
    try:
        with torch.device("meta"):
            return Codec(config)
    except ValueError as error:
        raise CardError(f"The FunCodec configuration describes an impossible network: {error}.") from error


def published_shapes(config: FuncodecConfig) -> dict[str, tuple[int, ...]]:
    """Return the published entries of a network: weight norm stores a convolution's weight in two parts."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, value in _empty(config).state_dict().items():
        stack = {"encoder": config.encoder, "decoder": config.decoder}.get(name.split(".", 1)[0])
        parent, _, last = name.rpartition(".")
        shape = tuple(value.shape)
        if stack and stack.norm == "weight_norm" and last == "weight" and ".conv" in parent:
            shapes[f"{parent}.weight_g"] = (shape[0], *[1] * (len(shape) - 1))
            shapes[f"{parent}.weight_v"] = shape
        else:
            shapes[name] = shape
    return shapes


def _folded(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the entries with weight norm multiplied out: g·v / ‖v‖ over all axes but the first.

    Source: Salimans and Kingma 2016, Weight Normalization, arXiv:1602.07868, equation 2.
    """
    folded: dict[str, Tensor] = {}
    for name, value in weights.items():
        if name.endswith(".weight_v"):
            parent = name.removesuffix("_v")
            norm = torch.linalg.vector_norm(value, dim=list(range(1, value.dim())), keepdim=True)
            folded[parent] = value * (weights[f"{parent}_g"] / norm)
        elif not name.endswith(".weight_g"):
            folded[name] = value
    return folded
