"""From published FACodec files to networks.

The Hub repository `amphion/naturalspeech3_facodec` holds flat torch state dicts: encoder, decoder and,
for version 1, redecoder. The decoder file carries five training-only heads, three quarters of its
size, which are accepted and never read. Entry names of our networks are the published ones; only the
position tables are cut to the one row that is used.

Each file serves one or two *parts* of a `Codec`, which are loaded when they are first needed:

    encoder     → encoder, mel (version 2)
    decoder     → factors, generator
    redecoder   → redecoder (version 1)

Contents: `file_parts`, `check_file`, `read_part`, `build_part`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from speechtok.checkpoints.build import build_network, entry_shapes
from speechtok.checkpoints.read import check_entries, read_shapes, read_state_dict
from speechtok.tokenizers.facodec.config import FacodecConfig
from speechtok.tokenizers.facodec.factors import Factors, MelFeature
from speechtok.tokenizers.facodec.network import Encoder, Generator
from speechtok.tokenizers.facodec.redecoder import Redecoder

HEADS = (
    "f0_predictor.",
    "phone_predictor.",
    "res_f0_predictor.",
    "res_phone_predictor.",
    "x_timbre_predictor.",
)
"""Training-only entries of the decoder file."""
_POSITIONS = "position_emb.pe"
_PREFIX = {"mel": "mel_transform."}
"""Where a part's entries sit in its file, when that is not the top."""

_BUILDERS: dict[str, Callable[[FacodecConfig], nn.Module]] = {
    "encoder": lambda c: Encoder(c.encoder_channels, c.strides, c.latent_channels),
    "mel": lambda c: MelFeature(c.hop_length, c.prosody_mels),
    "factors": Factors,
    "generator": lambda c: Generator(c.latent_channels, c.generator_channels, c.strides[::-1]),
    "redecoder": Redecoder,
}


def file_parts(config: FacodecConfig) -> dict[str, tuple[str, ...]]:
    """Return which parts each published file serves: role of the file → parts."""
    if config.version == 2:
        return {"encoder": ("encoder", "mel"), "decoder": ("factors", "generator")}
    return {"encoder": ("encoder",), "decoder": ("factors", "generator"), "redecoder": ("redecoder",)}


def check_file(config: FacodecConfig, role: str, path: Path, *, prefix: str = "") -> None:
    """Compare all names and shapes of a file with the networks it serves, reading no tensor.

    Args:
        config: Settings of the FACodec.
        role: "encoder", "decoder" or "redecoder".
        path: The file.
        prefix: What our own saved files put before the published names of this role.

    Raises:
        CheckpointError: If the file cannot be read, or an entry is missing, unexpected or misshaped.
    """
    expected: dict[str, tuple[int, ...]] = {}
    for part in file_parts(config)[role]:
        expected |= _shapes(config, part)
    found = {}
    for name, shape in read_shapes(path).items():
        own = name.removeprefix(prefix)
        if name.startswith(prefix) and not own.startswith(HEADS):
            found[own] = (1, *shape[1:]) if own.endswith(_POSITIONS) and shape[0] else shape
    check_entries(expected, found, source=f"'{path}'")


def read_part(config: FacodecConfig, part: str, path: Path, *, prefix: str = "") -> dict[str, Tensor]:
    """Return the stored entries of one part under their published names, in their stored type.

    Args:
        config: Settings of the FACodec.
        part: Name of the part.
        path: The file that serves it.
        prefix: As in `check_file`.

    Raises:
        CheckpointError: If the file cannot be read.
    """
    names = {prefix + name for name in _shapes(config, part)}
    stored = read_state_dict(path, wanted=names.__contains__)
    return {
        name.removeprefix(prefix): value[:1].clone() if name.endswith(_POSITIONS) else value
        for name, value in stored.items()
    }


def build_part(
    config: FacodecConfig, part: str, weights: Mapping[str, Tensor], *, dtype: torch.dtype, source: str
) -> nn.Module:
    """Return one part, ready for inference.

    Args:
        config: Settings of the FACodec.
        part: Name of the part.
        weights: Its entries by published name.
        dtype: Floating-point type of the network; entries go to it straight from their own.
        source: What messages call the origin of the weights.

    Raises:
        CheckpointError: If an entry is missing, unexpected or misshaped.
    """
    own = _PREFIX.get(part, "")
    return build_network(
        lambda: _BUILDERS[part](config),
        {name.removeprefix(own): value for name, value in weights.items()},
        dtype=dtype,
        source=source,
    )


def _shapes(config: FacodecConfig, part: str) -> dict[str, tuple[int, ...]]:
    """Return a part's entries by published name."""
    own = _PREFIX.get(part, "")
    return {own + name: shape for name, shape in entry_shapes(lambda: _BUILDERS[part](config)).items()}
