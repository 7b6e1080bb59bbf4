"""The networks of FAcodec as a training step calls them.

Source: `Plachtaa/FAcodec`; Ju et al. 2024, NaturalSpeech 3, arXiv:2403.03100, section 3.2.

Contents: `TrainedCodec`, `Made`, `build_codec`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from speechtok.tokenizers.facodec_24k.config import Facodec24kConfig
from speechtok.tokenizers.facodec_24k.convert import BUILDERS
from speechtok.tokenizers.facodec_24k.quantizer import Factorized
from speechtok.training.facodec_24k.codes import CodeUse, standardize
from speechtok.training.facodec_24k.initial import initialize

PARTS = ("encoder", "quantizer", "decoder")


@dataclass(frozen=True, kw_only=True)
class Made:
    """What the codec makes of clips."""

    waveform: Tensor
    """`(batch, samples)`."""
    found: Factorized
    """Quantized parts, codes, losses and timbre."""


class TrainedCodec(nn.Module):
    """Encoder, quantizer and decoder. Entries: `encoder`, `quantizer`, `decoder`, `code_use`.

    Args:
        config: sizes.
        replace_codes_every: see `LossSettings`; calls here.
        codebook_dropout: likewise.
        residual_dropout: likewise.
    """

    def __init__(
        self,
        config: Facodec24kConfig,
        *,
        replace_codes_every: int = 0,
        codebook_dropout: float = 0.0,
        residual_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.config = config
        self.codebook_dropout, self.residual_dropout = codebook_dropout, residual_dropout
        for part in PARTS:
            self.add_module(part, initialize(BUILDERS[part](config), config))
        self.code_use: CodeUse | None = None
        if replace_codes_every:
            streams = {name: self.part("quantizer").stream(name) for name in config.codebooks}
            self.code_use = CodeUse(streams, replace_codes_every)

    def part(self, name: str) -> Any:
        """Return encoder, quantizer or decoder."""
        return getattr(self, name)

    def forward(self, waveform: Tensor, utterance: Tensor, num_samples: Tensor) -> Made:
        """Return what the codec makes of clips, dropping as it goes where it is in training mode.

        Args:
            waveform: `(batch, samples)`, clips of whole frames.
            utterance: `(batch, samples)`, where they are from, zero past the end.
            num_samples: `(batch,)`, int64, of the utterances.
        """
        if self.training and self.code_use is not None and self.code_use.is_first:
            self._standardize(waveform)
        latent = self.part("encoder")(waveform)
        with torch.autocast(waveform.device.type, enabled=False):  # codes and mel need full precision
            found = self._factorize(latent.to(waveform.dtype), waveform, utterance, num_samples)
        return Made(waveform=self.part("decoder")(found.styled).to(waveform.dtype), found=found)

    def _factorize(
        self, latent: Tensor, waveform: Tensor, utterance: Tensor, num_samples: Tensor
    ) -> Factorized:
        quantizer = self.part("quantizer")
        utterance = utterance[:, : max(self.config.min_samples, int(num_samples.max()))]
        speaker = quantizer.speaker_of(utterance, num_samples)
        counts: dict[str, Tensor] | None = None
        mask: Tensor | None = None
        if self.training:
            self._replace_codes(latent, waveform)
            counts = {
                name: self._dropped(len(waveform), count, waveform.device)
                for name, count in self.config.codebooks.items()
            }
            mask = (torch.rand(len(waveform), device=waveform.device) >= self.residual_dropout).to(
                latent.dtype
            )
        found: Factorized = quantizer(
            latent, waveform, speaker=speaker, num_codebooks=counts, has_residual=mask
        )
        if self.training and self.code_use is not None:
            self.code_use.observe({name: part.codes for name, part in found.parts.items()})
        return found

    def _dropped(self, batch: int, count: int, device: torch.device) -> Tensor:
        """Return how many codebooks count for each item: from 1 to `count` in the first share of the batch."""
        counts = torch.full((batch,), count, device=device)
        first = int(self.codebook_dropout * batch)
        counts[:first] = torch.randint(1, count + 1, (first,), device=device)
        return counts

    @torch.no_grad()
    def _standardize(self, waveform: Tensor) -> None:
        """Let what is quantized begin with mean 0 and deviation 1; new encoders give nearly nothing but a constant."""
        encoder, quantizer = self.part("encoder"), self.part("quantizer")
        standardize(encoder.block[-1].conv.conv, encoder(waveform))
        prosody = quantizer.prosody_features(quantizer.to_mel(waveform))
        standardize(quantizer.melspec_linear2.conv.conv, prosody)

    @torch.no_grad()
    def _replace_codes(self, latent: Tensor, waveform: Tensor) -> None:
        if self.code_use is None or not self.code_use.is_due:
            return
        quantizer = self.part("quantizer")
        mel = quantizer.to_mel(waveform)
        latent = latent[:, : mel.shape[1]]
        features = {"prosody": quantizer.prosody_features(mel), "content": latent}
        for name, values in features.items():
            latent = latent - self.code_use.replace(name, quantizer.stream(name), values)
        self.code_use.replace("residual", quantizer.stream("residual"), latent)
