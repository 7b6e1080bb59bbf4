"""Settings of the FACodec family; the defaults are those of the published checkpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FacodecConfig:
    """Architecture of one FACodec."""

    version: int = 1
    """1: prosody codes from the latent; 2: prosody codes from a mel spectrogram, no redecoder."""
    sample_rate: int = 16_000
    """Hz."""
    strides: tuple[int, ...] = (2, 4, 5, 5)
    """Down-sampling of the encoder's blocks; the generators go through them in reverse."""
    encoder_channels: int = 32
    """Channels after the encoder's first convolution; each block doubles them."""
    latent_channels: int = 256
    """Channels of the latent, of embeddings and of the speaker vector."""
    generator_channels: int = 1024
    """Channels after the generator's first convolution; each block halves them."""
    redecoder_channels: int = 1280
    """The same for the generator of voice conversion (version 1)."""
    codebook_size: int = 1024
    """Codes per codebook."""
    codebook_dim: int = 8
    """Dimensions in which a code is looked up."""
    num_prosody: int = 1
    """Codebooks of the stream `prosody`."""
    num_content: int = 2
    """Codebooks of the stream `content`."""
    num_residual: int = 3
    """Codebooks of the stream `residual`."""
    transformer_layers: int = 4
    """Layers of the timbre encoder, the redecoder's prosody encoder and the mel encoder."""
    transformer_heads: int = 4
    """Attention heads of each layer."""
    transformer_hidden: int = 1024
    """Channels inside the feed-forward part."""
    transformer_kernel: int = 5
    """Frames the feed-forward convolution sees."""
    prosody_mels: int = 20
    """Lowest mel bands that prosody is read from (version 2)."""

    def __post_init__(self) -> None:
        if self.version not in (1, 2):
            raise ValueError(f"`version` of a FACodec must be 1 or 2, got {self.version}.")

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return math.prod(self.strides)

    @property
    def codebooks(self) -> dict[str, int]:
        """Codebooks per stream, in order."""
        return {"prosody": self.num_prosody, "content": self.num_content, "residual": self.num_residual}
