"""Batches of utterances of unequal length, taken apart into rows and put together again.

Conventions: a *row* is one utterance's part of a batch without padding.

Contents: `padded`, `stack_tokens`, `rows_of`, `check_streams`, `stack_speech`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from speechtok.errors import TokensError
from speechtok.tokens import SpeechTokens, TokenizerInfo


def padded(rows: Iterable[Tensor]) -> Tensor:
    """Return rows `(channels, frames)` as one batch `(batch, channels, frames)`, zero past each."""
    return pad_sequence([row.t() for row in rows], batch_first=True).transpose(1, 2).contiguous()


def stack_tokens(
    rows: Mapping[str, Sequence[Tensor]],
    num_samples: Tensor,
    info: TokenizerInfo,
    *,
    speaker_embedding: Tensor | None = None,
    scale: Tensor | None = None,
) -> SpeechTokens:
    """Return tokens of stream → rows `(codebooks, frames)`; the others are fields of `SpeechTokens`."""
    streams = {name: padded(items) for name, items in rows.items()}
    frames = {
        name: torch.tensor([item.shape[1] for item in items], device=streams[name].device)
        for name, items in rows.items()
    }
    return SpeechTokens(
        streams=streams,
        num_frames=frames,
        num_samples=num_samples,
        info=info,
        speaker_embedding=speaker_embedding,
        scale=scale,
    )


def rows_of(tokens: SpeechTokens, stream: str) -> list[Tensor]:
    """Return the codes `(codebooks, frames)` of a stream for each utterance.

    Raises:
        TokensError: when the tokens lack the stream.
    """
    check_streams(tokens, (stream,))
    counts = tokens.num_frames[stream].tolist()
    return [row[:, :count] for row, count in zip(tokens[stream], counts, strict=True)]


def check_streams(tokens: SpeechTokens, names: Iterable[str]) -> None:
    """Raise `TokensError` unless the tokens have all of these streams."""
    for name in names:
        if name not in tokens.streams:
            raise TokensError(
                f"These tokens lack the stream '{name}'; they have: {', '.join(tokens.streams)}."
            )


def stack_speech(waveforms: Iterable[Tensor], lengths: Sequence[int]) -> Tensor:
    """Return waveforms `(samples,)` as one batch `(batch, samples)`, cut to their lengths or filled with zeros."""
    most = max(lengths)
    return torch.stack(
        [
            functional.pad(waveform[:length], (0, most - min(length, len(waveform))))
            for waveform, length in zip(waveforms, lengths, strict=True)
        ]
    )
