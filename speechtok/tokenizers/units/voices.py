"""Whose voice a vocoder speaks with: a row of its table, a vector, stored tokens or a recording.

Contents: `SpeakerEncoder`, `row_of`, `choose_voices`, `choose_style`, `choose_statistics`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechtok.tokenizers.units import analysis
from speechtok.tokenizers.units.config import UnitConfig
from speechtok.tokenizers.units.vocoder import TABLE_ROWS, UnitVocoder
from speechtok.tokenizers.waveforms import to_batch
from speechtok.tokens import SpeechTokens

SpeakerEncoder = Callable[[Tensor, Tensor], Tensor]
"""Waveforms `(batch, samples)`, peaks at 0.95, and `num_samples` to vectors `(batch, channels)`."""


def row_of(config: UnitConfig, speaker: Any, name: str, rows: int = TABLE_ROWS) -> int:
    """Return the row of a speaker by name or number.

    Args:
        config: the names that are known.
        speaker: a name or a row.
        name: of the tokenizer, for messages.
        rows: how many there are.

    Raises:
        ValueError: when there is no such speaker.
    """
    if isinstance(speaker, str) and speaker in config.speakers:
        return config.speakers[speaker]
    if isinstance(speaker, int) and 0 <= speaker < rows:
        return speaker
    names = ", ".join(list(config.speakers)[:5]) or "none by name"
    raise ValueError(f"'{name}' has no speaker {speaker!r}; it has: {names}.")


def choose_voices(
    vocoder: UnitVocoder,
    config: UnitConfig,
    tokens: SpeechTokens,
    speaker: Any,
    encoder: SpeakerEncoder | None,
    name: str,
) -> Tensor | None:
    """Return what the vocoder's speaker layer takes: rows `(batch,)` or vectors `(batch, 512)`; None for one voice.

    Args:
        vocoder: the network.
        config: names of rows.
        tokens: what is spoken; they may hold vectors.
        speaker: name, row, tokens, vector or path of a recording, or None for what the tokens hold.
        encoder: turns a recording into a vector.
        name: of the tokenizer, for messages.

    Raises:
        ValueError: when the vocoder has no such voice, or a choice is needed.
    """
    reference, batch = next(vocoder.parameters()), len(tokens)
    if vocoder.settings.speaker is None:
        return None
    if vocoder.settings.speaker == "table":
        if speaker is None and len(config.speakers) > 1:
            raise ValueError(f"'{name}' has {len(config.speakers)} voices; pass speaker=, a name or a row.")
        row = row_of(config, 0 if speaker is None else speaker, name, vocoder.settings.voices)
        return torch.full((batch,), row, device=reference.device)
    if isinstance(speaker, SpeechTokens) or speaker is None:
        held = (speaker or tokens).speaker_embedding
        if held is None:
            raise ValueError(
                f"'{name}' speaks with an x-vector, but these tokens hold none; pass speaker=, a vector or a path."
            )
        vectors = held
    elif isinstance(speaker, str | Path):
        vectors = _voice_of(speaker, encoder, config.sample_rate, reference, name)
    else:
        vectors = torch.as_tensor(speaker)
    vectors = vectors.to(reference.device, reference.dtype).reshape(-1, vectors.shape[-1])
    if vectors.shape[1] != 512 or len(vectors) not in (1, batch):
        raise ValueError(
            f"`speaker` must hold 1 or {batch} vectors of 512 channels, got shape {tuple(vectors.shape)}."
        )
    return vectors.expand(batch, -1)


def choose_style(
    vocoder: UnitVocoder, config: UnitConfig, batch: int, style: Any, name: str
) -> Tensor | None:
    """Return rows `(batch,)` of the vocoder's table of styles; None for vocoders without.

    Args:
        vocoder: the network.
        config: names of rows, and the style where none is asked for.
        batch: utterances.
        style: name or row, or None.
        name: of the tokenizer, for messages.

    Raises:
        ValueError: when the vocoder has no such style, or a choice is needed.
    """
    rows, asked = vocoder.settings.styles, config.style if style is None else style
    if not rows:
        if style is not None:
            raise ValueError(f"'{name}' has a vocoder without styles, so it takes no style=.")
        return None
    row = config.styles.get(asked, -1) if isinstance(asked, str) else asked
    if type(row) is not int or not 0 <= row < rows:
        wanted = "needs a style" if asked is None else f"has no style {asked!r}"
        names = f"{', '.join(list(config.styles)[:5])}; " if config.styles else ""
        raise ValueError(
            f"'{name}' {wanted}; pass style=, a name or a row, or state `style` in the card's architecture. "
            f"It has: {names}rows 0 to {rows - 1}."
        )
    return torch.full((batch,), row, device=next(vocoder.parameters()).device)


def choose_statistics(
    vocoder: UnitVocoder, config: UnitConfig, batch: int, speaker: Any, name: str
) -> Tensor | None:
    """Return the pitch statistics `(batch, 2)` of whoever speaks; None for vocoders that do not take them.

    Raises:
        ValueError: when they are not known.
    """
    if not vocoder.settings.has_statistics:
        return None
    is_table = vocoder.settings.speaker == "table"
    rows, chosen = vocoder.settings.voices, 0 if speaker is None else speaker
    pair = analysis.statistics(config, row_of(config, chosen, name, rows) if is_table else None)
    if pair is None:
        raise ValueError(
            f"'{name}' speaks with the mean and deviation of pitch, but none are known; "
            "put f0_stats.pth into the folder f0/ or vocoder/."
        )
    reference = next(vocoder.parameters())
    return torch.tensor(pair, dtype=reference.dtype, device=reference.device).expand(batch, 2)


def _voice_of(
    path: str | Path, encoder: SpeakerEncoder | None, sample_rate: int, reference: Tensor, name: str
) -> Tensor:
    if encoder is None:
        raise ValueError(
            f"'{name}' has no part 'speaker', so it cannot take a voice from the recording {path}."
        )
    batch = to_batch(
        str(path),
        None,
        sample_rate=None,
        resample=True,
        target_rate=sample_rate,
        device=reference.device,
        dtype=reference.dtype,
    )
    return encoder(analysis.leveled(batch.waveform, batch.num_samples), batch.num_samples)
