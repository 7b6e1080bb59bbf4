"""The streams of FunCodec's tokens.

Conventions: `acoustic` holds the codes. A model that codes segments has the stream `level` beside it, one
frame per segment, and one with semantic augmentation the stream `phones`; published models have neither. A
*row* is one utterance's part of a stream, `(codebooks, frames)`.

Contents: `STREAM`, `LEVEL`, `PHONES`, `streams_of`, `phone_rows`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from speechtok.tokenizers.funcodec.config import FuncodecConfig
from speechtok.tokens import StreamInfo

STREAM = "acoustic"
"""Codes of the residual quantizer, coarse first."""
LEVEL = "level"
"""Levels of segments: the upper and the lower half of a float32."""
PHONES = "phones"
"""Phone labels that the decoder reads."""
_HALVES = 65_536


def streams_of(config: FuncodecConfig) -> tuple[StreamInfo, ...]:
    """Return the streams that a network's tokens have."""
    forms = [(STREAM, config.num_codebooks, config.codebook_size, config.hop_length)]
    if config.segments is not None and config.normalize:
        forms.append((LEVEL, 2, _HALVES, config.segments.stride))
    if config.phones is not None:
        forms.append((PHONES, 1, config.phones.num_phones, config.hop_length // config.phones.per_frame))
    return tuple(
        StreamInfo(
            name=name,
            num_codebooks=codebooks,
            codebook_size=size,
            frame_rate=config.sample_rate / hop,
            hop_length=hop,
        )
        for name, codebooks, size, hop in forms
    )


def phone_rows(config: FuncodecConfig, phones: Any, num_samples: Tensor) -> list[Tensor]:
    """Return phone labels as rows of the stream `PHONES`.

    Args:
        config: the network.
        phones: whole numbers `(labels,)` for one utterance, or a list of such for several; one label for
            each `hop_length // per_frame` samples begun.
        num_samples: `(batch,)`, int64.

    Raises:
        ValueError: when the model has no phones, none are given, or they do not fit.
    """
    if config.phones is None:
        raise ValueError("`phones` are for models with semantic augmentation, which this one is not.")
    hop = config.hop_length // config.phones.per_frame
    if phones is None:
        raise ValueError(
            f"`phones` must hold the phone labels of each utterance, one for every {hop} samples begun: "
            "the decoder of this model reads them."
        )
    rows = [torch.as_tensor(row) for row in (phones if _is_nested(phones) else [phones])]
    for index, row in enumerate(rows):
        if row.dim() != 1 or row.is_floating_point():
            raise ValueError(f"`phones` of utterance {index} must be whole numbers of shape (labels,).")
        if bool(((row < 0) | (row >= config.phones.num_phones)).any()):
            raise ValueError(
                f"`phones` of utterance {index} must lie in [0, {config.phones.num_phones}), "
                f"got {int(row.min())} to {int(row.max())}."
            )
    wanted = [-(-length // hop) for length in num_samples.tolist()]
    if [len(row) for row in rows] != wanted:
        raise ValueError(f"`phones` must hold {wanted} labels, got {[len(row) for row in rows]}.")
    return [row.long()[None].to(num_samples.device) for row in rows]


def _is_nested(phones: Any) -> bool:
    """Return whether there are labels of several utterances."""
    if hasattr(phones, "ndim"):
        return bool(phones.ndim > 1)
    return bool(len(phones)) and hasattr(phones[0], "__len__")
