"""Between latent and tokens: codes per stream, the prosody branch, the timbre vector and its way back in.

Source: released code `Plachtaa/FAcodec`, after Ju et al. 2024, NaturalSpeech 3, arXiv:2403.03100, section 3.2.

Conventions: features are `(batch, frames, channels)`; codes `(batch, codebooks, frames)`; the streams are
`prosody`, `content` and `residual`.

Contents: `Quantizer`, `Factorized`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechtok.nets.reflect_conv import ReflectConv1d
from speechtok.nets.vector_quantizer import Quantized, ResidualQuantizer
from speechtok.tokenizers.facodec_24k.config import Facodec24kConfig
from speechtok.tokenizers.facodec_24k.mel import LogMel
from speechtok.tokenizers.facodec_24k.timbre import TimbreEncoder
from speechtok.tokenizers.facodec_24k.wavenet import WaveNet


class Quantizer(nn.Module):
    """The module `quantizer` of the published file, all of it.

    Entries: `{prosody,content,residual}_quantizer`, `melspec_linear`, `melspec_encoder`, `melspec_linear2`,
    `timbre_encoder`, `timbre_linear`, `to_mel`.
    """

    def __init__(self, config: Facodec24kConfig) -> None:
        super().__init__()
        channels, inner = config.latent_channels, config.prosody_channels
        self.codebooks, self.prosody_mels = config.codebooks, config.prosody_mels
        for name, count in config.codebooks.items():
            self.add_module(
                f"{name}_quantizer",
                ResidualQuantizer(
                    count, channels, config.codebook_size, config.codebook_dim, convolutional=True
                ),
            )
        self.melspec_linear = ReflectConv1d(config.prosody_mels, inner, 1, normed=False)
        self.melspec_encoder = WaveNet(inner, config.prosody_layers, causal=True)
        self.melspec_linear2 = ReflectConv1d(inner, channels, 1, normed=False)
        self.timbre_encoder = TimbreEncoder(
            config.num_mels, config.timbre_channels, channels, config.timbre_heads
        )
        self.timbre_linear = nn.Linear(channels, 2 * channels)
        self.to_mel = LogMel(config.hop_length, config.fft_length, config.window_length, config.num_mels)

    def prosody_features(self, mel: Tensor) -> Tensor:
        """Return what prosody codes are taken from; a frame depends on `mel_context` frames before it.

        Args:
            mel: `(batch, frames, num_mels)`.

        Returns:
            `(batch, frames, channels)`.
        """
        low = mel[..., : self.prosody_mels]
        features: Tensor = self.melspec_linear2(self.melspec_encoder(self.melspec_linear(low)))
        return features

    def encode(self, latent: Tensor, prosody: Tensor, limits: Mapping[str, int]) -> dict[str, Tensor]:
        """Return the codes of each stream; each frame is coded on its own.

        The residual is what prosody and content codes leave of the latent.

        Args:
            latent: `(batch, frames, channels)`, of the encoder.
            prosody: `(batch, frames, channels)`, of `prosody_features`.
            limits: stream → codebooks to use; the first ones.

        Returns:
            Stream → `(batch, codebooks, frames)`, int64.
        """
        codes = {
            "prosody": self.stream("prosody").encode(prosody, limits["prosody"]),
            "content": self.stream("content").encode(latent, limits["content"]),
        }
        left = latent - self.stream("prosody").decode(codes["prosody"])
        left = left - self.stream("content").decode(codes["content"])
        codes["residual"] = self.stream("residual").encode(left, limits["residual"])
        return codes

    def decode(self, codes: Mapping[str, Tensor]) -> Tensor:
        """Return the sum of the streams' quantized latents.

        Args:
            codes: stream → `(batch, codebooks, frames)`; streams that are absent add nothing.

        Returns:
            `(batch, frames, channels)`.
        """
        parts = [self.stream(name).decode(codes[name]) for name in self.codebooks if name in codes]
        return torch.stack(parts).sum(dim=0) if len(parts) > 1 else parts[0]

    def inject(self, embedding: Tensor, speaker: Tensor) -> Tensor:
        """Return what the decoder reads: each frame normalised over channels, then styled by the speaker.

        Args:
            embedding: `(batch, frames, channels)`, sum of quantized latents.
            speaker: `(batch, channels)`.

        Returns:
            `(batch, frames, channels)`.
        """
        scale, shift = self.timbre_linear(speaker)[:, None].chunk(2, dim=-1)
        styled: Tensor = functional.layer_norm(embedding, embedding.shape[-1:], eps=1e-5) * scale + shift
        return styled

    def forward(
        self,
        latent: Tensor,
        waveform: Tensor,
        *,
        speaker: Tensor | None = None,
        num_codebooks: Mapping[str, Tensor] | None = None,
        has_residual: Tensor | None = None,
    ) -> Factorized:
        """Return everything that training needs, differentiable; see `Quantized` for what that asks for.

        What the decoder reads gives no gradient to prosody and content, which learn from their own losses
        and from what is predicted from `parts`.

        Args:
            latent: `(batch, frames, channels)`, of the encoder.
            waveform: `(batch, samples)`, what it encoded.
            speaker: `(batch, channels)`; None takes it from the waveform.
            num_codebooks: stream → `(batch,)`, int64, codebooks that count; None counts all.
            has_residual: `(batch,)`, 1 for items whose residual reaches the decoder, else 0; None gives it all.
        """
        mel = self.to_mel(waveform)
        speaker = self.timbre_encoder(mel) if speaker is None else speaker
        latent, counts = latent[:, : mel.shape[1]], num_codebooks or {}
        prosody: Quantized = self.stream("prosody")(self.prosody_features(mel), counts.get("prosody"))
        content: Quantized = self.stream("content")(latent, counts.get("content"))
        known = prosody.features.detach() + content.features.detach()
        residual: Quantized = self.stream("residual")(latent - known, counts.get("residual"))
        detail = residual.features
        if has_residual is not None:
            detail = detail * has_residual[:, None, None]
        return Factorized(
            parts={"prosody": prosody, "content": content, "residual": residual},
            speaker_embedding=speaker,
            styled=self.inject(known + detail, speaker),
        )

    def speaker_of(self, utterances: Tensor, num_samples: Tensor) -> Tensor:
        """Return the timbre of whole utterances, each as if alone, differentiable.

        Args:
            utterances: `(batch, samples)`, zero past their ends.
            num_samples: `(batch,)`, int64.

        Returns:
            `(batch, channels)`.
        """
        mel = self.to_mel(utterances)
        frames = num_samples // self.to_mel.hop_length
        speaker: Tensor = self.timbre_encoder(mel, frames)
        return speaker

    def stream(self, name: str) -> ResidualQuantizer:
        """Return the quantizer of a stream."""
        quantizer: ResidualQuantizer = getattr(self, f"{name}_quantizer")
        return quantizer


@dataclass(frozen=True, kw_only=True)
class Factorized:
    """What the quantizer makes of speech in training."""

    parts: dict[str, Quantized]
    """Stream → quantized features, codes and losses."""
    speaker_embedding: Tensor
    """`(batch, channels)`."""
    styled: Tensor
    """`(batch, frames, channels)`, input of the decoder."""
