"""Writing the folder of a spectral codec that was trained.

Contents: `write_codec`, `stream_of`.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

from speechtok.cards import TokenizerCard
from speechtok.tokenizers.spectral.config import STREAM, SpectralConfig
from speechtok.tokenizers.spectral.network import Codec
from speechtok.tokenizers.spectral.storing import pack
from speechtok.tokenizers.writing import write_tokenizer
from speechtok.tokens import StreamInfo

CITATION = (
    "Spectra and inverse transform: Hubert Siuzdak. Vocos. arXiv:2306.00814, 2023. Residual codebooks: Neil Zeghidour, "
    "Alejandro Luebs, Ahmed Omran, Jan Skoglund, Marco Tagliasacchi. SoundStream. arXiv:2107.03312, 2021."
)
"""How to cite the method."""


def _description(config: SpectralConfig) -> str:
    most = config.sample_rate / config.hop_length * math.log2(config.codebook_size) * config.num_codebooks
    return (
        f"Compact codec of short-time spectra, {config.num_codebooks} residual codebooks at "
        f"{config.sample_rate / config.hop_length:g} Hz; up to {most:.0f} bit/s."
    )


def stream_of(config: SpectralConfig) -> StreamInfo:
    """Return the one stream of such a codec."""
    return StreamInfo(
        name=STREAM,
        num_codebooks=config.num_codebooks,
        codebook_size=config.codebook_size,
        frame_rate=config.sample_rate / config.hop_length,
        hop_length=config.hop_length,
    )


def write_codec(folder: Path, name: str, config: SpectralConfig, codec: Codec) -> None:
    """Write card and weights, so that `load_tokenizer(folder)` gives the tokenizer; each file whole or not at all.

    Args:
        folder: where to write.
        name: of the tokenizer.
        config: architecture.
        codec: its networks.

    Raises:
        OSError: when it cannot be written.
    """
    card = TokenizerCard(
        name=name,
        family="spectral",
        description=_description(config),
        sample_rate=config.sample_rate,
        streams=(stream_of(config),),
        architecture=asdict(config),
        licence_code="Apache-2.0",
        citation=CITATION,
    )
    write_tokenizer(folder, card, pack(codec.state_dict()))
