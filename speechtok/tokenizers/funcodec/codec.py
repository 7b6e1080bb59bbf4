"""FunCodec as a whole: batches of utterances to codes, and back.

Source: Du et al. 2023, FunCodec, arXiv:2309.07405; repository `modelscope/FunCodec`,
`funcodec/models/codec_basic.py` and `funcodec/models/codec_freq.py`.

Conventions: a batch is `(batch, samples)` with `num_samples`; codes are `(batch, codebooks, frames)`
with `num_frames`, zero past it. Nothing here touches a file.

Every utterance is computed as if alone, whatever the batch. On the CPU that is what happens, so that a
batch has the very codes of its items in float32 too, and convolutions run on data that stay in the
cache; elsewhere the batch is one padded pass with masked statistics, which is exact up to rounding.

What is global: the level and the statistics of every group norm are those of the whole utterance, so
each code depends on all of its samples. A longer recording is to be cut into utterances first.

Contents: `Codec`, `Encoded`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speechtok.nets.padding import valid_frames
from speechtok.tokenizers.funcodec.config import FuncodecConfig
from speechtok.tokenizers.funcodec.network import Decoder, Encoder, Stack
from speechtok.tokenizers.funcodec.quantizer import Quantizer
from speechtok.tokenizers.funcodec.spectrum import Spectrum

LEAST_SCALE = 1e-8
"""Added to the level, so that silence can be divided by it."""


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """What encoding a batch gives."""

    codes: Tensor
    """`(batch, codebooks, frames)`, int64, zero past `num_frames`."""
    num_frames: Tensor
    """`(batch,)`, int64."""
    scale: Tensor | None
    """`(batch,)`, the level that was divided out, or None where the configuration keeps it."""

    def items(self) -> list[Tensor]:
        """Return the codes `(codebooks, frames)` of each item."""
        return [row[:, :count] for row, count in zip(self.codes, self.num_frames.tolist(), strict=True)]


class Codec(nn.Module):
    """Encoder, quantizer and decoder. Entries: `encoder`, `quantizer`, `decoder`, and FreqCodec's windows.

    Args:
        config: architecture.

    Raises:
        ValueError: when the group ratios leave a convolution without groups.
    """

    def __init__(self, config: FuncodecConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.encoder)
        self.quantizer = Quantizer(
            config.encoder.dimension,
            config.num_codebooks,
            config.codebook_size,
            config.codebook_dim,
            config.codec_range,
        )
        self.decoder = Decoder(config.decoder)
        if config.is_spectral:
            self.enc_trans_func: Spectrum | None = Spectrum(
                config.domain[0], config.fft_length, config.fft_hop
            )
            self.dec_trans_func: Spectrum | None = Spectrum(
                config.domain[1], config.fft_length, config.fft_hop
            )
        else:
            self.enc_trans_func = self.dec_trans_func = None

    @property
    def min_samples(self) -> int:
        """Fewest samples that give codes: 1, or what reflecting half a window needs."""
        return self.config.fft_length // 2 + 1 if self.config.is_spectral else 1

    def num_frames(self, num_samples: int) -> int:
        """Return the frames of an utterance.

        ceil(samples / hop) in the time domain; for FreqCodec ceil((1 + floor(samples / fft_hop)) / ratio),
        which may be one more.
        """
        ratio, hop = self.config.encoder.time_ratio, self.config.fft_hop
        steps = 1 + num_samples // hop if self.config.is_spectral else num_samples
        return -(-steps // ratio)

    def features(
        self, waveform: Tensor, num_samples: Tensor, *, padded: bool | None = None
    ) -> tuple[list[Tensor], Tensor | None]:
        """Return the latent of each item before quantization, and the levels.

        Args:
            waveform: `(batch, samples)`, in [-1, 1].
            num_samples: `(batch,)`, int64, at least `min_samples`.
            padded: whether the batch is one padded pass; None decides by device.

        Returns:
            Items `(frames, channels)`, and `(batch,)` levels or None.
        """
        items = [item[:length] for item, length in zip(waveform, num_samples.tolist(), strict=True)]
        scale = None
        if self.config.normalize:
            scale = torch.stack([item.square().mean().sqrt() + LEAST_SCALE for item in items])
            items = [item / level for item, level in zip(items, scale, strict=True)]
        if self.enc_trans_func is None:
            inputs = [item[None, None] for item in items]
        else:
            inputs = [self.enc_trans_func.analyse(item[None]) for item in items]
        latents = _run(self.encoder, inputs, padded)
        return [latent[0].t() for latent in latents], scale

    @torch.no_grad()
    def encode(
        self,
        waveform: Tensor,
        num_samples: Tensor,
        *,
        num_codebooks: int | None = None,
        padded: bool | None = None,
    ) -> Encoded:
        """Return codes and levels; each item as if alone.

        Args:
            waveform: `(batch, samples)`, in [-1, 1].
            num_samples: `(batch,)`, int64, at least `min_samples`.
            num_codebooks: at most this many stages; None runs all.
            padded: as in `features`.
        """
        latents, scale = self.features(waveform, num_samples, padded=padded)
        frames = [len(latent) for latent in latents]
        searched = [torch.cat(latents)] if _together(waveform, padded) else latents
        found = torch.cat([self.quantizer.encode(part[None], num_codebooks)[0] for part in searched], dim=1)
        codes = found.new_zeros(len(frames), len(found), max(frames))
        for item, part in zip(codes, torch.split(found, frames, dim=1), strict=True):
            item[:, : part.shape[1]] = part
        return Encoded(codes=codes, num_frames=torch.tensor(frames, device=codes.device), scale=scale)

    @torch.no_grad()
    def embed(self, codes: Tensor, num_frames: Tensor) -> Tensor:
        """Return the quantized latent that codes stand for.

        Args:
            codes: `(batch, codebooks, frames)`.
            num_frames: `(batch,)`, int64.

        Returns:
            `(batch, channels, frames)`, zero past `num_frames`.
        """
        embedding = self.quantizer.decode(codes).transpose(1, 2)
        return embedding * valid_frames(embedding, num_frames)

    @torch.no_grad()
    def decode(
        self, codes: Tensor, num_frames: Tensor, scale: Tensor | None = None, *, padded: bool | None = None
    ) -> list[Tensor]:
        """Return the waveform of each item.

        Args:
            codes: `(batch, codebooks, frames)`.
            num_frames: `(batch,)`, int64, at least 1.
            scale: `(batch,)` levels to restore; None leaves about unit level.
            padded: as in `features`.

        Returns:
            Items `(samples,)`: `frames * hop` samples in the time domain, for FreqCodec one `fft_hop` less.
        """
        return self.generate(self.latents(codes, num_frames), scale, padded=padded)

    def latents(self, codes: Tensor, num_frames: Tensor) -> list[Tensor]:
        """Return the quantized latent `(1, channels, frames)` of each item; see `decode`."""
        embedding = self.quantizer.decode(codes).transpose(1, 2)
        return [item[None, :, :count] for item, count in zip(embedding, num_frames.tolist(), strict=True)]

    def generate(
        self, latents: Sequence[Tensor], scale: Tensor | None = None, *, padded: bool | None = None
    ) -> list[Tensor]:
        """Return the waveform of each quantized latent `(1, channels, frames)`; see `decode`."""
        outputs = _run(self.decoder, latents, padded)
        if self.dec_trans_func is None:
            waveforms = [output[0, 0] for output in outputs]
        else:
            waveforms = [self.dec_trans_func.synthesise(output)[0] for output in outputs]
        if scale is None:
            return waveforms
        return [waveform * level for waveform, level in zip(waveforms, scale, strict=True)]


def _together(x: Tensor, padded: bool | None) -> bool:
    """Return whether the items of a batch go through one pass."""
    return x.device.type != "cpu" if padded is None else padded


def _run(stack: Stack, items: Sequence[Tensor], padded: bool | None) -> list[Tensor]:
    """Return the stack's result for items `(1, channels, …, frames)` of unequal length."""
    if not _together(items[0], padded):
        return [stack(item)[0] for item in items]
    lengths = [item.shape[-1] for item in items]
    longest = max(lengths)
    batch = torch.cat([nn.functional.pad(item, (0, longest - item.shape[-1])) for item in items])
    ragged = None if min(lengths) == longest else torch.tensor(lengths, device=batch.device)
    out, valid = stack(batch, ragged)
    ends = [out.shape[-1]] * len(items) if valid is None else valid.tolist()
    return [item[None, ..., :end] for item, end in zip(out, ends, strict=True)]
