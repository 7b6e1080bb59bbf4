"""The networks: spectra to latents, latents to spectra and speech.

Source: Siuzdak 2023, Vocos, arXiv:2306.00814, section 3 (ConvNeXt blocks at the rate of frames, a head of magnitudes and
phases, the inverse short-time Fourier transform); Liu et al. 2022, A ConvNet for the 2020s, arXiv:2201.03545, section 2 (the block).
Log magnitudes as input, and spectra at twice the rate of the codes, are choices of ours.

Conventions: frame t of the codes stands for samples `hop_length * t` to `hop_length * (t + 1)`; every window is centred on what
its frame stands for, and before and after the signal there is silence. Features are `(batch, frames, channels)`.

Contents: `Codec`, `Encoder`, `Decoder`, `Block`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechtok.nets.residual_codebooks import ResidualCodebooks
from speechtok.nets.spectrum import power, spectra
from speechtok.tokenizers.spectral.config import SpectralConfig

FLOOR = 1e-3
"""Added to magnitudes (as to a root of powers) before the logarithm: below the noise of 16 bits."""
LOUDEST = 5.0
"""Logarithm of the largest magnitude that is spoken; a full-scale sine has log(160) = 5.1."""
UPSAMPLING = 2
"""Spectra that are spoken per frame of codes."""


class Block(nn.Module):
    """A residual block: a convolution of each channel over frames, then two layers over the channels of each frame.

    Args:
        channels: of the features.
        expansion: channels inside, as a multiple.
        kernel_size: frames that it sees, odd.
    """

    def __init__(self, channels: int, expansion: int, kernel_size: int) -> None:
        super().__init__()
        self.over_frames = nn.Conv1d(
            channels, channels, kernel_size, padding=kernel_size // 2, groups=channels
        )
        self.norm = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, expansion * channels)
        self.narrow = nn.Linear(expansion * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), 0.1))

    def forward(self, features: Tensor) -> Tensor:
        """Return `(batch, frames, channels)` of the same."""
        seen = self.over_frames(features.transpose(1, 2)).transpose(1, 2)
        added: Tensor = self.narrow(functional.gelu(self.widen(self.norm(seen))))
        return features + self.scale * added


def _blocks(number: int, channels: int, config: SpectralConfig) -> nn.Sequential:
    return nn.Sequential(*(Block(channels, config.expansion, config.kernel_size) for _ in range(number)))


def _window(size: int, like: Tensor) -> Tensor:
    return torch.hann_window(size, dtype=torch.float64).to(like)


class Encoder(nn.Module):
    """Speech to latents.

    Args:
        config: architecture.
    """

    window: Tensor

    def __init__(self, config: SpectralConfig) -> None:
        super().__init__()
        self.hop_length, self.before = config.hop_length, (config.fft_length - config.hop_length) // 2
        self.inner = nn.Conv1d(config.fft_length // 2 + 1, config.encoder_channels, 3, padding=1)
        self.blocks = _blocks(config.encoder_blocks, config.encoder_channels, config)
        self.norm = nn.LayerNorm(config.encoder_channels)
        self.outer = nn.Linear(config.encoder_channels, config.latent_channels)
        self.register_buffer("window", torch.hann_window(config.fft_length), persistent=False)

    def fold_constants(self) -> None:
        """Compute the window in the type of the weights."""
        self.window = _window(self.hop_length + 2 * self.before, self.outer.weight)

    def forward(self, waveform: Tensor) -> Tensor:
        """Return `(batch, frames, latent_channels)` of `(batch, samples)`, with ceil(samples / hop_length) frames."""
        missing = -waveform.shape[1] % self.hop_length
        filled = functional.pad(waveform, (self.before, self.before + missing))
        heard = power(spectra(filled, self.window, self.hop_length)).add(FLOOR**2).log() / 2
        features = self.inner(heard.transpose(1, 2)).transpose(1, 2)
        latents: Tensor = self.outer(self.norm(self.blocks(features)))
        return latents


class Decoder(nn.Module):
    """Latents to speech.

    Args:
        config: architecture.
    """

    window: Tensor

    def __init__(self, config: SpectralConfig) -> None:
        super().__init__()
        channels = config.decoder_channels
        self.hop_length, self.fft_length = config.hop_length // UPSAMPLING, config.fft_length
        self.inner = nn.Conv1d(
            config.latent_channels, channels, config.kernel_size, padding=config.kernel_size // 2
        )
        self.frame_blocks = _blocks(config.frame_blocks, channels, config)
        self.upsample = nn.Linear(channels, UPSAMPLING * channels)
        self.spectrum_blocks = _blocks(config.spectrum_blocks, channels, config)
        self.norm = nn.LayerNorm(channels)
        self.head = nn.Linear(channels, config.fft_length + 2)
        self.register_buffer("window", torch.hann_window(config.fft_length), persistent=False)

    def fold_constants(self) -> None:
        """Compute the window in the type of the weights."""
        self.window = _window(self.fft_length, self.head.weight)

    def forward(self, latents: Tensor) -> Tensor:
        """Return `(batch, hop_length * frames)` of `(batch, frames, latent_channels)`."""
        batch, frames, _ = latents.shape
        features = self.frame_blocks(self.inner(latents.transpose(1, 2)).transpose(1, 2))
        features = self.upsample(features).view(batch, UPSAMPLING * frames, -1)
        features = self.head(self.norm(self.spectrum_blocks(features)))
        return self._overlap(features)

    def _overlap(self, features: Tensor) -> Tensor:
        """Return the sum of what log magnitudes and phases `(batch, frames, bins + bins)` sound like under the window."""
        loudness, phase = features.chunk(2, dim=2)
        magnitude = loudness.clamp(max=LOUDEST).exp()
        spectrum = torch.complex(magnitude * phase.cos(), magnitude * phase.sin())
        stretches = torch.fft.irfft(spectrum, n=self.fft_length) * self.window.to(features.dtype)
        count = stretches.shape[1]
        summed = functional.fold(
            stretches.transpose(1, 2),
            (1, (count - 1) * self.hop_length + self.fft_length),
            (1, self.fft_length),
            stride=(1, self.hop_length),
        ).flatten(1)  # (batch, samples)
        before = (self.fft_length - self.hop_length) // 2
        power_of_windows = self.fft_length / self.hop_length * 3 / 8  # the same at every sample, for Hann's
        return summed[:, before : before + count * self.hop_length] / power_of_windows


class Codec(nn.Module):
    """All of it. Entries: `encoder`, `codebooks`, `decoder`.

    Args:
        config: architecture.
    """

    def __init__(self, config: SpectralConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.codebooks = ResidualCodebooks(config.num_codebooks, config.codebook_size, config.latent_channels)
        self.decoder = Decoder(config)
