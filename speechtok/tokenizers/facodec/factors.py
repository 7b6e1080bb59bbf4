"""The factors of FACodec: quantizers per stream, the timbre vector, the mel feature of version 2.

Source: NaturalSpeech 3, arXiv:2403.03100, section 3.2; released code `open-mmlab/Amphion`,
`models/codec/ns3_codec/facodec.py`, `quantize/fvq.py` and `melspec.py`.

Conventions: features are `(batch, frames, channels)`; codes `(batch, codebooks, frames)`; the streams
are `prosody`, `content` and `residual`, whose quantizers are `quantizer.0`, `.1` and `.2`.

Contents: `Factors`, `MelFeature`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechtok.nets.spectrum import log_mel, stretch_of
from speechtok.nets.transformer import Transformer
from speechtok.nets.vector_quantizer import ResidualQuantizer
from speechtok.tokenizers.facodec.config import FacodecConfig

STREAMS = ("prosody", "content", "residual")
N_FFT = 1024
"""Samples of one mel frame, of which the window covers the middle 800."""
_MEL_BLOCK = 4096
"""Mel frames computed at once."""


class Factors(nn.Module):
    """Everything between the encoder's latent and the tokens; the analysis part of the decoder file.

    Entries: `quantizer.{0,1,2}`, `timbre_encoder`; version 2 also `melspec_linear`, `melspec_encoder`.
    """

    def __init__(self, config: FacodecConfig) -> None:
        super().__init__()
        channels = config.latent_channels
        self.codebooks = config.codebooks
        self.quantizer = nn.ModuleList(
            ResidualQuantizer(count, channels, config.codebook_size, config.codebook_dim)
            for count in self.codebooks.values()
        )
        self.timbre_encoder = global_transformer(config)
        if config.version == 2:
            self.melspec_linear = nn.Linear(config.prosody_mels, channels)
            self.melspec_encoder = global_transformer(config)

    def encode(
        self, latent: Tensor, prosody: Tensor | None = None, num_codebooks: int | None = None
    ) -> dict[str, Tensor]:
        """Return the codes of each stream; each frame is coded on its own.

        Prosody and content both start from the latent; the residual is what their sum leaves over.

        Args:
            latent: `(batch, frames, channels)`.
            prosody: `(batch, codebooks, frames)`, prosody codes already known (version 2); None takes
                them from the latent.
            num_codebooks: at most this many codebooks in each stream; None keeps all.

        Returns:
            Stream → `(batch, codebooks, frames)`, int64.
        """
        codes = {
            "prosody": self._stream("prosody").encode(latent, num_codebooks) if prosody is None else prosody
        }
        codes["content"] = self._stream("content").encode(latent, num_codebooks)
        left = latent - self.decode(codes)
        codes["residual"] = self._stream("residual").encode(left, num_codebooks)
        return codes

    def encode_prosody(self, mel: Tensor, num_codebooks: int | None = None) -> Tensor:
        """Return version 2's prosody codes, which depend on the whole utterance.

        Args:
            mel: `(1, frames, prosody_mels)`, log-mel feature of one utterance.
            num_codebooks: as in `encode`.

        Returns:
            `(1, codebooks, frames)`, int64.
        """
        features = self.melspec_encoder(self.melspec_linear(mel))
        return self._stream("prosody").encode(features, num_codebooks)

    def decode(self, codes: Mapping[str, Tensor]) -> Tensor:
        """Return the sum of the streams' quantized latents: the embedding.

        Args:
            codes: stream → `(batch, codebooks, frames)`; streams that are absent add nothing.

        Returns:
            `(batch, frames, channels)`.
        """
        parts = [self._stream(name).decode(codes[name]) for name in STREAMS if name in codes]
        return torch.stack(parts).sum(dim=0) if len(parts) > 1 else parts[0]

    def timbre(self, latent: Tensor) -> Tensor:
        """Return the speaker vector `(batch, channels)` of whole utterances `(batch, frames, channels)`."""
        frames: Tensor = self.timbre_encoder(latent)
        return frames.mean(dim=1)

    def _stream(self, name: str) -> ResidualQuantizer:
        quantizer: ResidualQuantizer = self.quantizer[STREAMS.index(name)]  # type: ignore[assignment]
        return quantizer


class MelFeature(nn.Module):
    """The log-mel feature prosody is read from. Entries: `mel_basis` `(80, 513)`, `hann_window` `(800,)`."""

    mel_basis: Tensor
    hann_window: Tensor

    def __init__(self, hop_length: int, num_mels: int) -> None:
        super().__init__()
        self.hop_length, self.num_mels = hop_length, num_mels
        self.register_buffer("mel_basis", torch.zeros(80, N_FFT // 2 + 1))
        self.register_buffer("hann_window", torch.zeros(800))

    def forward(self, waveform: Tensor) -> Tensor:
        """Return the lowest mel bands of one utterance, see `nets.spectrum.log_mel`.

        The ends are mirrored, so that frame t is centred on the 200 samples it stands for.

        Args:
            waveform: `(samples,)`, at least 413 samples.

        Returns:
            `(samples // hop_length, num_mels)`.
        """
        hop, count = self.hop_length, len(waveform) // self.hop_length
        window = functional.pad(self.hann_window, ((N_FFT - len(self.hann_window)) // 2,) * 2)
        basis = self.mel_basis[: self.num_mels].t()
        blocks = []
        for first in range(0, count, _MEL_BLOCK):
            stop = min(first + _MEL_BLOCK, count)
            stretch = stretch_of(
                waveform[None], first, stop, size=N_FFT, hop_length=hop, before=(N_FFT - hop) // 2
            )
            blocks.append(log_mel(stretch[0], window, basis, hop))
        return torch.cat(blocks)


def global_transformer(config: FacodecConfig, *, styled: bool = False) -> Transformer:
    """Return the transformer that FACodec uses three times over, with settings of `config`."""
    return Transformer(
        config.latent_channels,
        num_layers=config.transformer_layers,
        num_heads=config.transformer_heads,
        hidden=config.transformer_hidden,
        kernel_size=config.transformer_kernel,
        styled=styled,
    )
