"""Writing FAcodec networks that were trained here as a tokenizer.

Contents: `own_card`, `codec_entries`, `save_with_redecoder`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from speechtok.cards import CardFile, TokenizerCard
from speechtok.tokenizers.base import WEIGHTS_FILE
from speechtok.tokenizers.facodec_24k.config import Facodec24kConfig
from speechtok.tokenizers.facodec_24k.convert import FILE_PARTS
from speechtok.tokenizers.facodec_24k.tokenizer import Facodec24kTokenizer
from speechtok.tokenizers.factors import factor_streams
from speechtok.tokenizers.writing import write_tokenizer


def own_card(name: str, config: Facodec24kConfig) -> TokenizerCard:
    """Return the card of a codec that somebody trained.

    Args:
        name: of the tokenizer.
        config: sizes of its networks.
    """
    return TokenizerCard(
        name=name,
        family="facodec_24k",
        description="Factorized codec at 24 kHz, trained on one's own speech.",
        sample_rate=config.sample_rate,
        streams=factor_streams(config),
        speaker_embedding_dim=config.latent_channels,
        architecture=_architecture(config),
        files=(CardFile(path=WEIGHTS_FILE),),
        licence_code="Apache-2.0",
        citation=(
            "Plachtaa. FAcodec: Training code for FAcodec presented in NaturalSpeech3, github.com/Plachtaa/FAcodec, "
            "2024; after Ju et al. NaturalSpeech 3, arXiv:2403.03100, 2024."
        ),
    )


def codec_entries(parts: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Return the entries of encoder, quantizer and decoder as a saved tokenizer names them."""
    return {
        f"codec.{part}.{name}": value
        for part in FILE_PARTS["codec"]
        for name, value in parts[part].state_dict().items()
    }


def save_with_redecoder(
    tokenizer: Facodec24kTokenizer, redecoder: nn.Module, folder: Path, config: Facodec24kConfig
) -> None:
    """Write a codec with another redecoder, so that `load_tokenizer(folder)` gives both; whole or not at all.

    Its tokens are those of the codec: the fingerprint stays.

    Args:
        tokenizer: gives everything else.
        redecoder: with its weight norm.
        folder: where to write; what is there is replaced.
        config: of the codec, with the redecoder's sizes.

    Raises:
        OSError: when it cannot be written.
    """
    entries = tokenizer.stored_entries("codec")
    entries |= {f"redecoder.{name}": value for name, value in redecoder.state_dict().items()}
    card = replace(tokenizer.card, architecture=_architecture(config))
    write_tokenizer(folder, card, entries)


def _architecture(config: Facodec24kConfig) -> dict[str, Any]:
    defaults: dict[str, Any] = asdict(Facodec24kConfig())
    return {name: value for name, value in asdict(config).items() if value != defaults[name]}
