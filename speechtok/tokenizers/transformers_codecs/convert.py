"""From a published folder to a model: `config.json` and weights, read strictly, without running code from them.

Of a configuration, only plain values of fields that the installed transformers knows are passed on: what names code,
kernels, other repositories or places is left out, since some of it would be fetched and run.

Contents: `read_config`, `read_weights`, `build_codec`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechtok.cards import TokenizerCard
from speechtok.checkpoints.read import read_state_dict
from speechtok.errors import CheckpointError
from speechtok.limits import read_json
from speechtok.nets.weight_norm import fold_parametrized
from speechtok.tokenizers.transformers_codecs.architectures import CODECS, Codec
from speechtok.tokenizers.transformers_codecs.config import CodecCardConfig

CONFIG_FILE = "config.json"
"""Name of the configuration in a published folder."""
LARGEST_VALUE = 1_000_000
"""Largest number a configuration may hold, such as the base of rotary positions."""
MAX_LAYERS = 1000
"""Most layers of one kind, and most values in a list."""
_WORDS = frozenset(
    [
        "weight_norm",
        "time_group_norm",
        "reflect",
        "constant",
        "replicate",
        "zeros",
        "gelu",
        "gelu_new",
        "relu",
        "silu",
        "swish",
        "selu",
        "group",
        "layer",
        "default",
        "relative",
        "relative_key",
        "rotary",
    ]
)
"""Words that may stand in a configuration as values: norms, paddings, activations, kinds of positions."""
_KINDS = {"semantic_model_config": ("hubert", "wavlm", "wav2vec2-bert"), "acoustic_model_config": ("dac",)}
"""Networks inside networks, and what they may be."""


def read_config(card: TokenizerCard, files: Mapping[str, Path]) -> Codec:
    """Return the codec that `config.json` describes, without its model.

    Raises:
        CardError: when the card's architecture is malformed.
        CheckpointError: when the file is missing or malformed, is of another kind of model than the card's, or
            transformers is missing or too old.
    """
    kind = CODECS.get(card.build_config(CodecCardConfig).model_type)
    if kind is None:
        raise CheckpointError(
            f"Card '{card.name}' names an unknown model_type; known are {', '.join(CODECS)}."
        )
    if CONFIG_FILE not in files:
        raise CheckpointError(
            f"Tokenizer '{card.name}' needs the file {CONFIG_FILE} of its published folder."
        )
    path = files[CONFIG_FILE]
    content = read_json(path, "configuration", error=CheckpointError)
    if not isinstance(content, dict):
        raise CheckpointError(f"'{path}' must hold a JSON object, but holds {type(content).__name__}.")
    if content.get("model_type") != kind.model_type:
        raise CheckpointError(
            f"'{path}' describes a model of type {content.get('model_type')!r}, but '{card.name}' is a '{kind.model_type}'."
        )
    config = _model_class(kind).config_class
    with _as_checkpoint_error(path):
        return kind(config(**_plain(content, config, path)))


def read_weights(card: TokenizerCard, files: Mapping[str, Path]) -> tuple[Path, dict[str, Tensor]]:
    """Return the file of weights and its entries as stored.

    Raises:
        CheckpointError: when there is none, or it is damaged.
    """
    names = [name for name in files if name != CONFIG_FILE]
    if len(names) != 1:
        raise CheckpointError(
            f"Tokenizer '{card.name}' needs one file of weights, got: {', '.join(names) or 'none'}."
        )
    return files[names[0]], read_state_dict(files[names[0]])


def build_codec(codec: Codec, weights: Mapping[str, Tensor], path: Path, *, dtype: torch.dtype) -> Codec:
    """Return the codec with its model, on the CPU, in evaluation mode.

    Args:
        codec: from `read_config`.
        weights: entries as stored; they go straight to `dtype`.
        path: where they came from, for messages.
        dtype: float type of the model.

    Raises:
        CheckpointError: when an entry is missing, unexpected or of another shape.
    """
    kind = _model_class(type(codec))
    with _as_checkpoint_error(path), _quiet():
        with torch.device("meta"):  # a network that the file cannot fill never takes memory
            needed = sum(value.numel() for value in kind(codec.config).parameters())
        stored = sum(value.numel() for value in weights.values())
        if needed > 2 * stored:
            raise CheckpointError(
                f"'{path}' holds {stored:,} values, but {CONFIG_FILE} describes a network of {needed:,}."
            )
        model, found = kind.from_pretrained(
            None,
            config=codec.config,
            state_dict=dict(weights),
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    problems = [
        f"{what} {', '.join(sorted(map(str, names))[:4])}{' and more' if len(names) > 4 else ''}"
        for what, names in (
            ("lacks", found["missing_keys"]),
            ("has unexpected", found["unexpected_keys"]),
            ("has another shape for", [entry[0] for entry in found["mismatched_keys"]]),
        )
        if names
    ]
    entries = len(model.state_dict())
    if (
        not problems and len(weights) > entries
    ):  # some models ask transformers to pass over what they do not know
        problems = [f"holds {len(weights)} entries where the network has {entries}"]
    if problems:
        raise CheckpointError(
            f"'{path}' does not fit the network that {CONFIG_FILE} describes: it {'; it '.join(problems)}."
        )
    fold_parametrized(model)
    return type(codec)(codec.config, model.eval().requires_grad_(False))


@contextmanager
def _as_checkpoint_error(path: Path) -> Iterator[None]:
    """Turn what transformers raises for a configuration or weights that do not fit into one sentence."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise CheckpointError(f"transformers cannot make the network of '{path}': {reason}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from printing bars and advice while it loads."""
    from transformers.utils import logging

    library: Any = logging
    had_bar, level = library.is_progress_bar_enabled(), library.get_verbosity()
    library.disable_progress_bar()
    library.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        library.set_verbosity(level)
        if had_bar:
            library.enable_progress_bar()


def _model_class(kind: type[Codec]) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise CheckpointError(
            f"A codec of type '{kind.model_type}' needs transformers: pip install 'speechtok[transformers]'."
        ) from error
    found = getattr(transformers, kind.model_class, None)
    if found is None:
        raise CheckpointError(
            f"A codec of type '{kind.model_type}' needs transformers {kind.since} or newer; {transformers.__version__} is installed."
        )
    return found


def _plain(content: Mapping[str, Any], config: Any, path: Path) -> dict[str, Any]:
    """Return the fields that decide what the network computes: known ones that hold numbers, known words or such."""
    from transformers import PretrainedConfig

    defaults = config().to_dict()
    left_out = {*PretrainedConfig().to_dict(), "transformers_version", "model_type"}
    kept: dict[str, Any] = {}
    for name, value in content.items():
        if name in _KINDS and isinstance(value, Mapping):
            kept[name] = _inner(name, value, path)
        elif name in defaults and name not in left_out and value != defaults[name]:
            kept[name] = _checked(name, value, path)
    return kept


def _inner(name: str, content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    from transformers import CONFIG_MAPPING

    kind = content.get("model_type")
    if kind not in _KINDS[name]:
        raise CheckpointError(
            f"'{path}' has a `{name}` of type {kind!r}; known are {', '.join(_KINDS[name])}."
        )
    return {**_plain(content, CONFIG_MAPPING[kind], path), "model_type": kind}


def _checked(name: str, value: Any, path: Path) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float) and abs(value) <= (MAX_LAYERS if "layers" in name else LARGEST_VALUE):
        return value
    if isinstance(value, str) and value in _WORDS:
        return value
    if isinstance(value, list) and len(value) <= MAX_LAYERS:
        return [_checked(name, item, path) for item in value]
    if isinstance(value, dict) and len(value) <= 100:
        return {str(key): _checked(name, item, path) for key, item in value.items()}
    raise CheckpointError(f"'{path}' has a value for `{name}` that no codec has: {str(value)[:60]!r}.")
