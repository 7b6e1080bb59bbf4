"""What `decode` does: one utterance after the other through the vocoder.

Contents: `speak`, `with_predicted_durations`.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from speechtok.tokenizers.units.vocoder import UnitVocoder
from speechtok.tokens import SpeechTokens

_F0_HOP = 80


def speak(
    vocoder: UnitVocoder,
    tokens: SpeechTokens,
    speaker: Tensor | None,
    *,
    keep_tail: bool,
    statistics: Tensor | None = None,
    style: Tensor | None = None,
) -> Tensor:
    """Return the waveforms of tokens.

    Args:
        vocoder: the network.
        tokens: with the stream `content`, and `pitch` for vocoders that take it.
        speaker: rows `(batch,)` or vectors `(batch, 512)` for vocoders with speakers.
        keep_tail: whether the last unit and pitch code are repeated to the end of the audio; otherwise units
            after the last whole pitch code are left out and their time is silent.
        statistics: `(batch, 2)`, mean and deviation of pitch in Hz, for vocoders that take them.
        style: rows `(batch,)` for vocoders with styles.

    Returns:
        `(batch, samples)`, zero past each utterance's `num_samples`.
    """
    longest = int(tokens.num_samples.max()) if len(tokens) else 0
    reference = next(vocoder.parameters())
    out = torch.zeros(len(tokens), longest, dtype=reference.dtype, device=reference.device)
    hop, f0 = vocoder.settings.hop_length, vocoder.settings.f0
    for index, samples in enumerate(tokens.num_samples.tolist()):
        units = tokens["content"][index, 0, : int(tokens.num_frames["content"][index])][None]
        pitch = None
        if f0 is not None:
            pitch = tokens["pitch"][index, 0, : int(tokens.num_frames["pitch"][index])][None]
            per_code = f0.hop_length * _F0_HOP // hop
            codes = pitch.shape[1]
            if keep_tail:
                codes = math.ceil(samples / (per_code * hop))
                pitch = _extended(pitch, codes)
            units = _extended(units, codes * per_code)
        elif keep_tail:
            units = _extended(units, math.ceil(samples / hop))
        if not units.shape[1]:
            continue
        voice = None if speaker is None else vocoder.voice(speaker[index : index + 1])
        pair = None if statistics is None else statistics[index : index + 1]
        manner = None if style is None else style[index : index + 1]
        wave = vocoder(units, pitch, voice, pair, manner)[0, :samples]
        out[index, : len(wave)] = wave
    return out


def with_predicted_durations(vocoder: UnitVocoder, tokens: SpeechTokens) -> SpeechTokens:
    """Return tokens whose runs of equal units last as long as the vocoder predicts.

    Args:
        vocoder: one with a predictor of durations and without pitch.
        tokens: with the stream `content`; how long its runs are changes nothing.
    """
    rows = []
    for index, frames in enumerate(tokens.num_frames["content"].tolist()):
        runs = torch.unique_consecutive(tokens["content"][index, 0, :frames])
        if len(runs):
            runs = runs.repeat_interleave(vocoder.dur_predictor(vocoder.dict(runs[None]))[0])
        rows.append(runs)
    counts = torch.tensor([len(row) for row in rows], device=tokens.num_samples.device)
    return replace(
        tokens,
        streams={"content": pad_sequence(rows, batch_first=True)[:, None]},
        num_frames={"content": counts},
        num_samples=counts * vocoder.settings.hop_length,
    )


def _extended(codes: Tensor, length: int) -> Tensor:
    """Return `(1, length)` codes: cut, or with the last one repeated; code 0 when there is none to repeat."""
    if codes.shape[1] >= length:
        return codes[:, :length]
    if not codes.shape[1]:
        return codes.new_zeros(1, length)
    return functional.pad(codes[:, None].double(), (0, length - codes.shape[1]), mode="replicate")[
        :, 0
    ].long()
