"""What a card says of a codec of `transformers`."""

from __future__ import annotations

from dataclasses import dataclass

STREAM = "acoustic"
"""The only stream of every codec."""


@dataclass(frozen=True, kw_only=True)
class CodecCardConfig:
    """The only choice of a card; all sizes stand in the published `config.json`."""

    model_type: str
    """Kind of model, as `config.json` calls it: one of `architectures.CODECS`."""
