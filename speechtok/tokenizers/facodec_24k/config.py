"""Settings of FAcodec at 24 kHz; the defaults are those of the published checkpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass

from speechtok.nets.residual import DILATIONS

KERNEL_SIZE = 7
"""Of the residual units' dilated convolutions, and of the first and last convolution of a stack."""


@dataclass(frozen=True, kw_only=True)
class Facodec24kConfig:
    """Architecture of codec and redecoder."""

    sample_rate: int = 24_000
    """Hz."""
    strides: tuple[int, ...] = (2, 5, 5, 6)
    """Down-sampling of the encoder's blocks."""
    encoder_channels: int = 64
    """Channels after the encoder's first convolution; each block doubles them, up to the latent."""
    decoder_strides: tuple[int, ...] = (6, 5, 5, 2)
    """Up-sampling of the decoder's blocks."""
    decoder_channels: int = 1536
    """Channels after the decoder's first convolution; each block halves them."""
    lstm_layers: int = 2
    """Layers of the LSTMs in encoder and decoder."""
    codebook_size: int = 1024
    """Codes per codebook."""
    codebook_dim: int = 8
    """Channels in which a code is looked up."""
    num_prosody: int = 1
    """Codebooks of the stream `prosody`."""
    num_content: int = 2
    """Codebooks of the stream `content`."""
    num_residual: int = 3
    """Codebooks of the stream `residual`."""
    fft_length: int = 2048
    """Points of the mel spectrogram's Fourier transform."""
    window_length: int = 1200
    """Samples of its window."""
    num_mels: int = 80
    """Bands of the mel spectrogram, all of which timbre is read from."""
    prosody_mels: int = 20
    """Lowest bands, which prosody is read from."""
    prosody_channels: int = 256
    """Channels of the prosody branch."""
    prosody_layers: int = 8
    """Layers of the prosody branch."""
    timbre_channels: int = 512
    """Channels inside the timbre encoder."""
    timbre_heads: int = 2
    """Its attention heads."""
    redecoder_channels: int = 512
    """Channels of the redecoder's embeddings and of its encoder."""
    redecoder_layers: int = 16
    """Layers of the redecoder's encoder."""
    redecoder_decoder_channels: int = 1536
    """As `decoder_channels`, in the redecoder."""
    redecoder_decoder_strides: tuple[int, ...] = (6, 5, 5, 2)
    """As `decoder_strides`, in the redecoder."""

    def __post_init__(self) -> None:
        for name in ("strides", "decoder_strides", "redecoder_decoder_strides"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # lists in YAML
        made = math.prod(self.decoder_strides)
        if made != self.hop_length:
            raise ValueError(
                f"`decoder_strides` {list(self.decoder_strides)} must make {self.hop_length} samples of a frame, as "
                f"many as `strides` {list(self.strides)} take, not {made}."
            )
        if self.window_length > self.fft_length:
            raise ValueError(
                f"`window_length` must not exceed `fft_length` {self.fft_length}, got {self.window_length}."
            )

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return math.prod(self.strides)

    @property
    def latent_channels(self) -> int:
        """Channels of the latent, of embeddings and of the speaker vector."""
        return int(self.encoder_channels * 2 ** len(self.strides))

    @property
    def codebooks(self) -> dict[str, int]:
        """Codebooks per stream, in order."""
        return {"prosody": self.num_prosody, "content": self.num_content, "residual": self.num_residual}

    @property
    def min_samples(self) -> int:
        """Fewest samples that give codes: what mirroring half a Fourier transform needs."""
        return self.fft_length // 2 + 1

    @property
    def mel_context(self) -> int:
        """Frames before a frame that its prosody depends on."""
        return 4 * self.prosody_layers

    @property
    def encoder_context(self) -> int:
        """Frames before a frame that the encoder's blocks, without the LSTM, see: 18."""
        return self._context(self.strides[::-1])

    @property
    def decoder_context(self) -> int:
        """Frames before a frame that the decoder's blocks after the LSTM see: 18."""
        return self._context(self.decoder_strides)

    @property
    def least_frames(self) -> int:
        """Frames a stretch needs for its start to be mirrored as in the whole utterance: 11.

        The widest dilated convolution mirrors 54 steps, of which the coarsest block has 6 to a frame.
        """
        steps = (KERNEL_SIZE - 1) * max(DILATIONS) + 1
        return max(KERNEL_SIZE, -(-steps // min(self.strides[-1], self.decoder_strides[0]))) + 1

    @property
    def redecoder_context(self) -> int:
        """Frames to each side of a frame that the redecoder sees: 45, of which it uses 44."""
        decoder = self._context(self.redecoder_decoder_strides, sides=2)
        return 2 * self.redecoder_layers + KERNEL_SIZE // 2 + decoder

    def _context(self, coarse_first: tuple[int, ...], sides: int = 1) -> int:
        """Return the frames that cover the reach of a stack's convolutions, to one of the sides they look to."""
        step, reach = self.hop_length, (KERNEL_SIZE - 1) // sides  # samples
        for stride in coarse_first:
            reach += step  # the strided convolution sees one more step of its coarse side
            step //= stride
            reach += (KERNEL_SIZE - 1) // sides * sum(DILATIONS) * step
        return -(-reach // self.hop_length)
