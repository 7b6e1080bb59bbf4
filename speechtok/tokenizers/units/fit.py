"""Whether the parts of a unit tokenizer belong together, and the streams they make.

Contents: `streams_of`, `check_fit`.
"""

from __future__ import annotations

from speechtok.errors import CheckpointError
from speechtok.tokenizers.units.components import Components
from speechtok.tokenizers.units.config import UnitConfig
from speechtok.tokenizers.units.vqvae_units import VqVaeUnits
from speechtok.tokens import StreamInfo

CONTENT, PITCH = "content", "pitch"
F0_HOP = 80
"""Samples per frame of a pitch contour."""


def streams_of(config: UnitConfig, parts: Components) -> tuple[StreamInfo, ...]:
    """Return the streams: `content`, and `pitch` where there is a quantizer."""

    def stream(name: str, size: int, hop: int) -> StreamInfo:
        rate = config.sample_rate / hop
        return StreamInfo(name=name, num_codebooks=1, codebook_size=size, frame_rate=rate, hop_length=hop)

    content = stream(CONTENT, config.num_units, config.hop_length)
    if parts.f0 is None:
        return (content,)
    f0 = parts.f0.settings
    return content, stream(PITCH, f0.codebook_size, f0.hop_length * F0_HOP)


def check_fit(config: UnitConfig, parts: Components) -> None:
    """Raise `CheckpointError` unless the parts belong together."""
    reader, kmeans, vocoder = parts.reader, parts.kmeans, parts.vocoder
    if reader.hop_length != config.hop_length:
        raise CheckpointError(
            f"The features have a frame every {reader.hop_length} samples, but the card says {config.hop_length}."
        )
    if kmeans is not None:
        units, width = kmeans.cluster_centers_.shape
        if width != reader.channels:
            raise CheckpointError(
                f"The k-means centres have {width} channels, but the features have {reader.channels}; "
                "they were fitted on other features."
            )
    else:
        units = reader.settings.codebook_size if isinstance(reader, VqVaeUnits) else 0
    if units != config.num_units:
        raise CheckpointError(f"The checkpoint has {units} units, but the card says {config.num_units}.")
    if vocoder is None:
        return
    learned = vocoder.settings.unit_encoder
    known = vocoder.settings.num_units if learned is None else learned.codebook_size
    if known != units:
        raise CheckpointError(f"The vocoder speaks {known} units, but the k-means makes {units}.")
    if vocoder.settings.hop_length != config.hop_length:
        raise CheckpointError(
            f"The vocoder makes {vocoder.settings.hop_length} samples of a unit, but a unit lasts "
            f"{config.hop_length}; its speech would not keep time."
        )
