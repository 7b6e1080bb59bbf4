"""What `decode` does: one utterance after the other through the vocoder.

Contents: `speak`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

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
) -> Tensor:
    """Return the waveforms of tokens.

    Args:
        vocoder: the network.
        tokens: with the stream `content`, and `pitch` for vocoders that take it.
        speaker: rows `(batch,)` or vectors `(batch, 512)` for vocoders with speakers.
        keep_tail: whether the last unit and pitch code are repeated to the end of the audio; otherwise units
            after the last whole pitch code are left out and their time is silent.
        statistics: `(batch, 2)`, mean and deviation of pitch in Hz, for vocoders that take them.

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
        wave = vocoder(units, pitch, voice, pair)[0, :samples]
        out[index, : len(wave)] = wave
    return out


def _extended(codes: Tensor, length: int) -> Tensor:
    """Return `(1, length)` codes: cut, or with the last one repeated; code 0 when there is none to repeat."""
    if codes.shape[1] >= length:
        return codes[:, :length]
    if not codes.shape[1]:
        return codes.new_zeros(1, length)
    return functional.pad(codes[:, None].double(), (0, length - codes.shape[1]), mode="replicate")[
        :, 0
    ].long()
