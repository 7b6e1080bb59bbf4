"""Values of a published `config.yaml`, each checked by name, and the stacks that they describe.

Conventions: inside `encoder_conf` and `decoder_conf` every field is honoured or refused by name, so a
network is never built from half of its description. A value that names something nobody documented is
refused with the reason.

Contents: `ConfigReader`.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from speechtok.errors import CardError
from speechtok.tokenizers.funcodec.config import StackConfig

_RATIOS = {1: ((8,), (5,), (4,), (2,)), 2: ((4, 1), (4, 1), (4, 2), (4, 1))}
_FIXED = {
    "pad_mode": "reflect",
    "activation": "ELU",
    "activation_params": {"alpha": 1.0},
    "add_snake_activation": False,
    "double_filters": True,
    "half_filters": True,
    "final_activation": None,
    "final_activation_params": None,
}
"""Fields of which only one value was ever released; others are refused."""
_NORMS = ("none", "weight_norm", "spectral_norm", "time_group_norm")
_NORMS_REFUSED = {
    "layer_norm": "over which axes it runs is not documented, and no model with it was published"
}
_MODELS_REFUSED = {"transformer": "its layers are not documented, and no model with it was published"}


class ConfigReader:
    """Reads values of one `config.yaml`, naming file and field in every complaint."""

    def __init__(self, content: Mapping[str, Any], source: str) -> None:
        self._content, self._source = content, source

    def wrong(self, field: str, value: object, needed: str) -> CardError:
        """Return the error for a value that must be another."""
        return CardError(
            f"{self._source} has {reprlib.repr(value)} in field {field}, which must be {needed}."
        )

    def refused(self, field: str, value: object, reason: str) -> CardError:
        """Return the error for a value that means something, but cannot be used."""
        return CardError(
            f"{self._source} has {reprlib.repr(value)} in field {field}, which is not supported: {reason}."
        )

    def one_of(
        self, field: str, value: object, known: tuple[str, ...], refused: Mapping[str, str] | None = None
    ) -> str:
        """Return a value that must be one of those known; one of those refused has a reason."""
        if isinstance(value, str) and value in (refused or {}):
            raise self.refused(field, value, (refused or {})[value])
        if value not in known:
            raise self.wrong(field, value, " or ".join(repr(item) for item in known))
        return str(value)

    def integer(self, field: str, value: object, least: int = 1) -> int:
        """Return a whole number."""
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.wrong(field, value, f"a whole number of at least {least}")
        return value

    def section(self, name: str) -> Mapping[str, Any]:
        """Return a mapping of the file, empty when it is not there."""
        section = self._content.get(name) or {}
        if not isinstance(section, Mapping):
            raise self.wrong(name, section, "a mapping")
        return section

    def stack(self, name: str, axes: int, *, channels: int, dimension: int | None = None) -> StackConfig:
        """Return the stack that `encoder_conf` or `decoder_conf` describes, using up every field."""
        left = dict(self.section(name))
        for field, only in _FIXED.items():
            if left.pop(field, only) not in (only, {} if isinstance(only, dict) else only):
                raise self.wrong(f"{name}.{field}", self.section(name)[field], repr(only))

        def count(field: str, default: int) -> int:
            return self.integer(f"{name}.{field}", left.pop(field, default))

        def flag(field: str, default: bool) -> bool:
            value = left.pop(field, default)
            if not isinstance(value, bool):
                raise self.wrong(f"{name}.{field}", value, "true or false")
            return value

        def per_axis(field: str, default: int) -> tuple[int, ...]:
            return self._per_axis(f"{name}.{field}", left.pop(field, default), axes)

        def ratio(field: str) -> int:
            value = left.pop(field, -1)
            return -1 if value is None or value == -1 else self.integer(f"{name}.{field}", value)

        ratios = left.pop("ratios", None) or _RATIOS[axes]
        sequence = str(left.pop("seq_model", "lstm"))
        if sequence in _MODELS_REFUSED:
            raise self.refused(f"{name}.seq_model", sequence, _MODELS_REFUSED[sequence])
        layers, norm_params = count("seq_layer_num", 2), left.pop("norm_params", None) or {}
        if not isinstance(norm_params, Mapping) or not norm_params.keys() <= {"num_groups"}:
            raise self.wrong(f"{name}.norm_params", norm_params, "a mapping with num_groups alone")
        stack = StackConfig(
            channels=count("channels", channels),
            dimension=count("dimension", dimension or 128),
            ratios=tuple(self._per_axis(f"{name}.ratios", item, axes) for item in ratios),
            filters=count("n_filters", 32),
            residual_layers=self.integer(f"{name}.n_residual_layers", left.pop("n_residual_layers", 1), 0),
            kernel_size=per_axis("kernel_size", 7),
            last_kernel_size=per_axis("last_kernel_size", 7),
            residual_kernel_size=per_axis("residual_kernel_size", 3),
            dilation_base=count("dilation_base", 2),
            compress=count("compress", 2),
            true_skip=flag("true_skip", False),
            norm=self.one_of(f"{name}.norm", left.pop("norm", "weight_norm"), _NORMS, _NORMS_REFUSED),
            num_groups=self.integer(f"{name}.norm_params.num_groups", norm_params.get("num_groups", 1)),
            causal=flag("causal", False),
            lstm_layers=layers if sequence == "lstm" else 0,
            lstm_skip=flag("res_seq", True),
            group_ratio=ratio("conv_group_ratio"),
            transposed_group_ratio=ratio("tr_conv_group_ratio"),
            trim_right_ratio=float(left.pop("trim_right_ratio", 1.0)),
            last_out_padding=self._out_padding(name, left.pop("last_out_padding", None), axes),
        )
        if left:
            raise CardError(
                f"{self._source} has the unknown field {name}.{min(left)}; its meaning cannot be guessed."
            )
        return stack

    def _per_axis(self, field: str, value: object, axes: int) -> tuple[int, ...]:
        values = list(value) if isinstance(value, list | tuple) else [value] * axes
        if len(values) != axes:
            raise self.wrong(field, value, f"one number for each of {axes} axes")
        return tuple(self.integer(field, item) for item in values)

    def _out_padding(self, name: str, value: Any, axes: int) -> tuple[tuple[int, int], ...]:
        if axes == 1:
            return ((0, 0),)
        pairs = ((0, 1), (0, 0)) if value is None else tuple(tuple(pair) for pair in value)
        if [len(pair) for pair in pairs] != [2, 2]:
            raise self.wrong(f"{name}.last_out_padding", value, "two pairs")
        return tuple((int(before), int(after)) for before, after in pairs)
