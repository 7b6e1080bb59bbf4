"""Encoding one utterance that arrives in blocks, in memory that does not grow but for its codes.

The windows are those of `Codec.encode` in all that matters: full context to both sides, or the true
end. Only version 1 can be encoded so: prosody of version 2 depends on the whole utterance.

Contents: `encode_blocks`.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from speechtok.nets.parts import MeanOfParts
from speechtok.nets.precision import exact
from speechtok.nets.windows import JoinedBlocks
from speechtok.tokenizers.facodec.codec import ENCODER_WINDOW, Codec
from speechtok.tokenizers.facodec.network import ENCODER_CONTEXT
from speechtok.tokenizers.factors import Encoded


@torch.no_grad()
def encode_blocks(
    codec: Codec,
    blocks: Iterable[Tensor],
    *,
    chunk_samples: int | None = None,
    num_codebooks: int | None = None,
) -> tuple[Encoded | None, int]:
    """Return what `Codec.encode` returns for the joined blocks, and their number of samples.

    Args:
        codec: A codec of version 1.
        blocks: Consecutive `(samples,)` pieces on the codec's device, in its dtype.
        chunk_samples: As in `Codec.encode`.
        num_codebooks: As in `Codec.encode`.

    Returns:
        The encoded utterance, a batch of one, or None when there are too few samples for a frame; then
        the number of samples.
    """
    hop = codec.config.hop_length
    size = ENCODER_WINDOW if chunk_samples is None else max(1, chunk_samples // hop)
    timbre, parts = codec.timbre(), []
    joined = JoinedBlocks(blocks)
    first = 0
    while joined.fill(hop * (first + size + 2 * ENCODER_CONTEXT)):
        parts.append(_window(codec, joined, first, first + size, timbre, num_codebooks))
        first += size
    num_frames = codec.num_frames(joined.stop)
    parts += [
        _window(codec, joined, start, min(start + size, num_frames), timbre, num_codebooks)
        for start in range(first, num_frames, size)
    ]
    if not parts:
        return None, joined.stop
    codes = {name: torch.cat([part[name] for part in parts], dim=-1).long() for name in parts[0]}
    frames = torch.tensor([num_frames], dtype=torch.int64, device=codes["content"].device)
    return Encoded(codes=codes, num_frames=frames, speaker_embedding=timbre.vector()), joined.stop


def _window(
    codec: Codec, joined: JoinedBlocks, first: int, stop: int, timbre: MeanOfParts, num_codebooks: int | None
) -> dict[str, Tensor]:
    """Return the codes of frames `first` to `stop`, int16 to save memory, and forget what came before."""
    hop = codec.config.hop_length
    start = max(0, first - ENCODER_CONTEXT)
    piece = joined.read(hop * start, hop * (stop + ENCODER_CONTEXT))
    with exact(piece.device):
        latent = codec.encoder(piece[None])[:, first - start : stop - start]
    timbre.add(latent)
    joined.forget(hop * max(0, stop - ENCODER_CONTEXT))
    return {name: codes.short() for name, codes in codec.factors.encode(latent, None, num_codebooks).items()}
