"""Models of transformers that a user names: their repositories are data, and choose no code.

Contents: `require_plain_config`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from speechtok.errors import HubError

_ATTENTION = (None, "eager", "sdpa", "flash_attention_2", "flex_attention")
"""Ways of attention that transformers holds itself; others are kernels on the Hub."""


def require_plain_config(model: str) -> None:
    """Refuse a model whose `config.json` chooses code: a kernel on the Hub, or a quantization with its own.

    Raises:
        HubError: naming the field.
        OSError, ValueError: from transformers, when there is no config that can be read.
    """
    from transformers import PretrainedConfig

    config: dict[str, Any] = PretrainedConfig.get_config_dict(model)[0]
    sections = [config]
    while sections:
        for name, value in sections.pop().items():
            if isinstance(value, Mapping):
                sections.append(dict(value))
            is_attention = "attn_implementation" in name or "experts_implementation" in name
            is_chosen = is_attention and (not isinstance(value, str | None) or value not in _ATTENTION)
            if is_chosen or (value and name in ("quantization_config", "use_kernels", "kernel_config")):
                raise HubError(
                    f"The model '{model}' is refused because its config.json chooses code to run, in the field {name}; "
                    "use a model without it."
                )
