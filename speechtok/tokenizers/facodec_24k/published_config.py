"""From the published `config.yml` to a configuration.

A file holds all settings of a training run, in nested sections; those that shape the networks have names
of their own, wherever they stand. What has only one released value is compared with it, so that no network is built
from half of its description; all else is about training.

Contents: `read_codec_config`, `read_redecoder_config`.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from speechtok.cards.yaml_file import read_yaml
from speechtok.errors import CardError
from speechtok.limits import require_sizes
from speechtok.tokenizers.facodec_24k.config import Facodec24kConfig

_CODEC = {
    "sr": "sample_rate",
    "n_fft": "fft_length",
    "win_length": "window_length",
    "lstm": "lstm_layers",
    "n_c_codebooks": "num_content",
    "encoder_dim": "encoder_channels",
    "encoder_rates": "strides",
    "decoder_dim": "decoder_channels",
    "decoder_rates": "decoder_strides",
}
"""Name in `config.yml` → field, for the codec."""
_CODEC_FIXED = {"causal": True, "separate_prosody_encoder": True, "timbre_norm": True}
"""What only one value of was released."""
_REDECODER = {
    "wavenet_embed_dim": "redecoder_channels",
    "decoder_dim": "redecoder_decoder_channels",
    "decoder_rates": "redecoder_decoder_strides",
}
_REDECODER_FIXED = {"decoder_causal": False, "decoder_lstm": 0}


def read_codec_config(config: Facodec24kConfig, path: Path) -> Facodec24kConfig:
    """Return the configuration with what the codec's `config.yml` says.

    Raises:
        CardError: when the file is malformed, contradicts itself, or describes another kind of network.
    """
    read = _read(path, config, _CODEC, _CODEC_FIXED)
    hop = _leaves(path).get("hop_length", read.hop_length)
    if hop != read.hop_length:
        raise CardError(f"{path} has hop_length {hop}, but its encoder_rates make {read.hop_length}.")
    return read


def read_redecoder_config(config: Facodec24kConfig, path: Path) -> Facodec24kConfig:
    """Return the configuration with what the redecoder's `config.yml` says; see `read_codec_config`."""
    read = _read(path, config, _REDECODER, _REDECODER_FIXED)
    made = math.prod(read.redecoder_decoder_strides)
    if made != read.hop_length:
        raise CardError(
            f"{path} has decoder_rates that make {made} samples of a frame, but frames have {read.hop_length}."
        )
    return read


def _read(
    path: Path, config: Facodec24kConfig, names: Mapping[str, str], fixed: Mapping[str, Any]
) -> Facodec24kConfig:
    found = _leaves(path)
    for name, wanted in fixed.items():
        if found.get(name, wanted) != wanted:
            raise CardError(
                f"{path} has {name} {reprlib.repr(found[name])}; only networks with {wanted!r} are known."
            )
    values = {field: found[name] for name, field in names.items() if name in found}
    for name, field in names.items():
        if name in found and not _is_like(found[name], getattr(config, field)):
            raise CardError(
                f"{path} has {name} {reprlib.repr(found[name])}, which must be {_kind(getattr(config, field))}."
            )
    require_sizes(values, str(path), error=CardError)
    try:
        return replace(config, **values)
    except ValueError as error:
        raise CardError(f"{path} does not fit together: {error}") from error


def _leaves(path: Path) -> dict[str, Any]:
    """Return name → value of all settings that are no section."""
    found: dict[str, Any] = {}
    for name, value in _walk(read_yaml(path)):
        if name in found and found[name] != value and name in (*_CODEC, *_REDECODER, "hop_length"):
            raise CardError(
                f"{path} has both {reprlib.repr(found[name])} and {reprlib.repr(value)} for {name}."
            )
        found[name] = value
    return found


def _walk(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _walk(value)
        else:
            yield str(name), value


def _is_like(value: Any, example: Any) -> bool:
    if isinstance(example, tuple):
        return isinstance(value, list) and bool(value) and all(_is_like(item, 1) for item in value)
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _kind(example: Any) -> str:
    return "a list of whole numbers above 0" if isinstance(example, tuple) else "a whole number above 0"
