"""What a spectral codec is made of."""

from __future__ import annotations

from dataclasses import dataclass

STREAM = "acoustic"
"""Name of the one stream."""


@dataclass(frozen=True, kw_only=True)
class SpectralConfig:
    """Architecture of `speechtok.tokenizers.spectral.network.Codec`."""

    sample_rate: int = 16000
    """Hz."""
    hop_length: int = 320
    """Samples per frame of codes; even, since speech is synthesised from two spectra per frame."""
    fft_length: int = 640
    """Samples under the window, and points of the Fourier transform; twice the hop."""
    encoder_channels: int = 192
    """Channels of the encoder."""
    encoder_blocks: int = 3
    """Its blocks."""
    decoder_channels: int = 224
    """Channels of the decoder."""
    frame_blocks: int = 4
    """Blocks of the decoder at the rate of the codes."""
    spectrum_blocks: int = 2
    """Blocks of the decoder at twice that rate."""
    expansion: int = 3
    """Channels inside a block, as a multiple of those outside."""
    kernel_size: int = 7
    """Frames that a block sees, odd."""
    latent_channels: int = 32
    """Channels in which codes are looked up."""
    num_codebooks: int = 12
    """Residual stages."""
    codebook_size: int = 1024
    """Codes per stage."""

    def __post_init__(self) -> None:
        if self.hop_length % 2:
            raise ValueError(f"`hop_length` must be even, got {self.hop_length}.")
        if self.fft_length != 2 * self.hop_length:
            raise ValueError(
                f"`fft_length` must be twice `hop_length` ({self.hop_length}), got {self.fft_length}."
            )
        if self.kernel_size % 2 == 0:
            raise ValueError(f"`kernel_size` must be odd, got {self.kernel_size}.")

    @property
    def encoder_context(self) -> int:
        """Frames to each side that a code depends on: what reaches under the window, the first kernel, and the blocks."""
        return 1 + 1 + self.encoder_blocks * (self.kernel_size // 2)

    @property
    def decoder_context(self) -> int:
        """Frames to each side that speech depends on: the first kernel and the blocks, the overlap of spectra."""
        spectra = self.spectrum_blocks * (self.kernel_size // 2) + self.fft_length // self.hop_length + 1
        return (1 + self.frame_blocks) * (self.kernel_size // 2) + -(-spectra // 2)
