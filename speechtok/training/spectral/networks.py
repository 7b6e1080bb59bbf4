"""The codec in training: latents are standardised, and quantized once the codebooks have begun.

Contents: `TrainedCodec`, `Made`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speechtok.tokenizers.spectral.config import SpectralConfig
from speechtok.tokenizers.spectral.network import Codec, Decoder, Encoder
from speechtok.training.codebooks import LearntCodebooks
from speechtok.training.processes import summed

_LEAST_VARIANCE = 1e-5


@dataclass(frozen=True, kw_only=True)
class Made:
    """What the codec makes of speech."""

    waveform: Tensor
    """`(batch, samples)`."""
    commitment: Tensor
    """See `training.codebooks.Coded`; 0 before the codebooks have begun."""
    correlation: Tensor
    """Sum of the squared covariances of different channels of the latent, per channel: 0 where each tells something else."""


class Standardized(nn.Module):
    """Takes away the mean of each channel and divides by its deviation; both are those of a batch over all processes.

    At other times moving means are taken. Entries: `mean`, `variance`.

    Source: Ioffe and Szegedy 2015, Batch Normalization, arXiv:1502.03167, section 3, without scale and shift.

    Args:
        channels: of the features.
        momentum: share of the batch in the moving means.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int, momentum: float = 0.01) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, features: Tensor) -> Tensor:
        """Return `(batch, frames, channels)` of the same."""
        mean, variance = self.mean, self.variance
        if self.training:
            mean, variance = _moments(features.flatten(0, 1))
            self.mean.lerp_(mean.detach().to(self.mean.dtype), self.momentum)
            self.variance.lerp_(variance.detach().to(self.variance.dtype), self.momentum)
        return (features - mean) / (variance + _LEAST_VARIANCE).sqrt()


def _moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance `(channels,)` of rows, over all processes."""
    count = summed(rows.new_tensor([float(len(rows))]))
    mean = summed(rows.sum(dim=0)) / count
    return mean, summed((rows - mean).square().sum(dim=0)) / count


def _correlation(rows: Tensor) -> Tensor:
    """Return the sum of the squared covariances of different channels of rows of mean 0, per channel, over all processes."""
    count = summed(rows.new_tensor([float(len(rows))]))
    covariance = summed(rows.t() @ rows) / count
    apart = covariance - torch.diag(torch.diagonal(covariance))
    return apart.square().sum() / rows.shape[1]


class TrainedCodec(nn.Module):
    """Encoder, standardised latents, codebooks, decoder.

    Args:
        config: architecture.
        decay: of the codebooks' moving means.
        least_use: see `LearntCodebooks`.
    """

    def __init__(self, config: SpectralConfig, *, decay: float, least_use: float) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.standardized = Standardized(config.latent_channels)
        self.codebooks = LearntCodebooks(
            config.num_codebooks,
            config.codebook_size,
            config.latent_channels,
            decay=decay,
            least_use=least_use,
        )

    def forward(
        self, waveform: Tensor, num_codebooks: Tensor | None = None, noise: Tensor | None = None
    ) -> Made:
        """Return speech made of speech `(batch, samples)` of whole frames.

        Args:
            waveform: what is heard.
            num_codebooks: `(batch,)`, see `LearntCodebooks`.
            noise: what the latent gets instead of being quantized, `(batch, frames, channels)`.
        """
        latents = self.standardized(self.encoder(waveform))
        if noise is None:
            coded = self.codebooks(latents, num_codebooks)
            given, commitment = coded.features, coded.commitment
        else:
            self.codebooks.remember(latents)
            given, commitment = latents + noise, latents.new_zeros(())
        return Made(
            waveform=self.decoder(given),
            commitment=commitment,
            correlation=_correlation(latents.flatten(0, 1)),
        )

    @torch.no_grad()
    def take(self, codec: Codec, *, features_per_step: int) -> None:
        """Take the weights of a stored codec, whose latents are standardised already.

        Args:
            codec: of the same sizes.
            features_per_step: features of a step, over all processes; as if so many had used each row alike.
        """
        self.encoder.load_state_dict(codec.encoder.state_dict())
        self.decoder.load_state_dict(codec.decoder.state_dict())
        self.codebooks.take(codec.codebooks.embed, features_per_step)

    @torch.no_grad()
    def codec(self) -> Codec:
        """Return the codec as it is stored: the standardisation is part of the encoder's last layer."""
        made = Codec(self.config)
        made.encoder.load_state_dict(self.encoder.state_dict())
        made.decoder.load_state_dict(self.decoder.state_dict())
        deviation = (self.standardized.variance + _LEAST_VARIANCE).sqrt()
        outer = made.encoder.outer
        outer.weight.copy_(outer.weight / deviation[:, None])
        outer.bias.copy_((outer.bias - self.standardized.mean) / deviation)
        made.codebooks.embed.copy_(self.codebooks.embed)
        return made
