"""Models that cut an utterance into overlapping segments and code each on its own.

Source: repository `modelscope/FunCodec`, `funcodec/models/codec_basic.py` (`segment_dur`, `overlap_ratio`); as in
Défossez et al. 2022, EnCodec, arXiv:2210.13438, section 3.4.

Conventions: the codes of an utterance's segments follow each other along frames, so that the number of
samples alone tells where each segment begins. The level of a segment is a float32, whose upper and lower
16 bits are the two codes, coarse first, of one frame of the stream `level`.

Contents: `encode_rows`, `decode_rows`, `overlap_add`, `level_codes`, `levels_of`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechtok.errors import TokensError
from speechtok.tokenizers.funcodec.codec import Codec
from speechtok.tokenizers.funcodec.config import SegmentConfig
from speechtok.tokenizers.funcodec.streams import LEVEL, STREAM

TOGETHER = 16
"""Segments that are encoded or decoded at once, which bounds the memory of a long utterance."""


def encode_rows(
    codec: Codec, segments: SegmentConfig, items: Sequence[Tensor], *, num_codebooks: int
) -> dict[str, list[Tensor]]:
    """Return the rows of each stream: codes, those of the segments one after the other, and levels.

    Args:
        codec: what encodes a segment.
        segments: how utterances are cut.
        items: `(samples,)` utterances.
        num_codebooks: at most this many stages, and codes of a level.
    """
    rows: dict[str, list[Tensor]] = {STREAM: []}
    for waveform in items:
        pieces = [waveform[start:stop] for start, stop in segments.spans(len(waveform))]
        codes, levels = list[Tensor](), list[Tensor]()
        for group in _groups(pieces):
            lengths = torch.tensor([len(piece) for piece in group], device=waveform.device)
            encoded = codec.encode(
                pad_sequence(group, batch_first=True), lengths, num_codebooks=num_codebooks
            )
            codes += encoded.items()
            levels += [] if encoded.scale is None else [encoded.scale]
        rows[STREAM].append(torch.cat(codes, dim=1))
        if levels:
            rows.setdefault(LEVEL, []).append(level_codes(torch.cat(levels))[:num_codebooks])
    return rows


def decode_rows(
    codec: Codec,
    segments: SegmentConfig,
    rows: Sequence[Tensor],
    lengths: Sequence[int],
    levels: Sequence[Tensor] | None,
) -> list[Tensor]:
    """Return the waveform `(samples,)` of each utterance.

    Args:
        codec: what decodes a segment.
        segments: how utterances were cut.
        rows: `(codebooks, frames)` codes of each utterance, as `encode_rows` returns them.
        lengths: samples of each utterance.
        levels: rows of levels to restore; None leaves each segment at about unit level.

    Raises:
        TokensError: when the lengths do not tell where segments begin, as after cutting tokens.
    """
    waveforms = []
    for index, (codes, length) in enumerate(zip(rows, lengths, strict=True)):
        frames = [codec.num_frames(stop - start) for start, stop in segments.spans(length)]
        if sum(frames) != codes.shape[1]:
            raise TokensError(
                f"Utterance {index} has {codes.shape[1]} frames, but the segments of its {length} samples have "
                f"{sum(frames)}; tokens that were coded in segments are decoded whole."
            )
        scale = None if levels is None else levels_of(levels[index])
        decoded = list[Tensor]()
        for group in _groups(list(torch.split(codes, frames, dim=1))):
            batch = pad_sequence([item.t() for item in group], batch_first=True).transpose(1, 2)
            counts = torch.tensor([item.shape[1] for item in group], device=codes.device)
            part = None if scale is None else scale[len(decoded) : len(decoded) + len(group)]
            decoded += codec.decode(batch, counts, part)
        waveforms.append(overlap_add(decoded, segments.stride)[:length])
    return waveforms


def overlap_add(waveforms: Sequence[Tensor], stride: int) -> Tensor:
    """Return segments joined with triangular weights, up to where the last sample of any of them lies.

    A late segment may end before an earlier one does: short ones at the end of an utterance do when
    segments overlap by more than half.

    Args:
        waveforms: `(samples,)` each, `stride` samples apart; none is longer than the first.
        stride: samples.
    """
    first = waveforms[0]
    place = torch.linspace(0, 1, len(first) + 2, device=first.device, dtype=first.dtype)[1:-1]
    weight = 0.5 - (place - 0.5).abs()
    end = max(index * stride + len(item) for index, item in enumerate(waveforms))
    total, weights = first.new_zeros(end), first.new_zeros(end)
    for index, item in enumerate(waveforms):
        span = slice(index * stride, index * stride + len(item))
        total[span] += weight[: len(item)] * item
        weights[span] += weight[: len(item)]
    return total / weights


def level_codes(levels: Tensor) -> Tensor:
    """Return the two codes `(2, segments)` of each of `(segments,)` levels, exact to float32."""
    bits = levels.float().view(torch.int32).long()
    return torch.stack([bits >> 16 & 0xFFFF, bits & 0xFFFF])


def levels_of(codes: Tensor) -> Tensor:
    """Return the levels `(segments,)` of `(1 or 2, segments)` codes; the first alone is exact to 1/128."""
    low = codes[1] if len(codes) > 1 else torch.zeros_like(codes[0])
    return (codes[0] << 16 | low).to(torch.int32).view(torch.float32)


def _groups(items: list[Tensor]) -> list[list[Tensor]]:
    return [items[first : first + TOGETHER] for first in range(0, len(items), TOGETHER)]
