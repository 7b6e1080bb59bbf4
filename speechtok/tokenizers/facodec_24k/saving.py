"""Writing FAcodec networks that were trained here as a tokenizer.

Contents: `own_card`, `codec_entries`, `redecoder_entries`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import Tensor, nn

from speechtok.cards import CardFile, TokenizerCard
from speechtok.tokenizers.base import WEIGHTS_FILE
from speechtok.tokenizers.facodec_24k.config import Facodec24kConfig
from speechtok.tokenizers.facodec_24k.convert import FILE_PARTS
from speechtok.tokenizers.factors import factor_streams


def own_card(name: str, config: Facodec24kConfig) -> TokenizerCard:
    """Return the card of a codec that somebody trained.

    Args:
        name: of the tokenizer.
        config: sizes of its networks.
    """
    defaults: dict[str, Any] = asdict(Facodec24kConfig())
    return TokenizerCard(
        name=name,
        family="facodec_24k",
        description="Factorized codec at 24 kHz, trained on one's own speech.",
        sample_rate=config.sample_rate,
        streams=factor_streams(config),
        speaker_embedding_dim=config.latent_channels,
        architecture={name: value for name, value in asdict(config).items() if value != defaults[name]},
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


def redecoder_entries(redecoder: nn.Module) -> dict[str, Tensor]:
    """Return the entries of a redecoder as a saved tokenizer names them."""
    return {f"redecoder.{name}": value for name, value in redecoder.state_dict().items()}
