"""What tokenizers share that take speech apart into prosody, content, residual detail and timbre.

Contents: `FactorTokenizer`, `FactorCodec`, `FactorConfig`, `Encoded`, `factor_streams`, `common_frames`, `joined`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from speechtok.errors import TokensError
from speechtok.nets.padding import valid_frames
from speechtok.tokenizers.base import SpeechTokenizer
from speechtok.tokenizers.ragged import check_streams
from speechtok.tokens import SpeechTokens, StreamInfo

GPU_WINDOWS = 16
"""Windows per pass on a GPU."""


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """What encoding a batch gives."""

    codes: dict[str, Tensor]
    """Stream → `(batch, codebooks, frames)`, int64, zero past `num_frames`."""
    num_frames: Tensor
    """`(batch,)`, int64, the same for all streams."""
    speaker_embedding: Tensor
    """`(batch, channels)`."""


class FactorConfig(Protocol):
    """What the configurations of such tokenizers have in common."""

    @property
    def sample_rate(self) -> int:
        """Hz."""

    @property
    def hop_length(self) -> int:
        """Samples per frame."""

    @property
    def codebook_size(self) -> int:
        """Codes per codebook."""

    @property
    def codebooks(self) -> dict[str, int]:
        """Codebooks per stream, in order."""

    @property
    def latent_channels(self) -> int:
        """Channels of latents and of the speaker vector."""


class FactorCodec(nn.Module):
    """The networks of such a tokenizer, each present or not: encoding needs no generator, decoding no encoder.

    Args:
        config: architecture.
        parts: the networks, by name.
    """

    def __init__(self, config: FactorConfig, parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.config = config
        self.windows_per_pass: int | None = None
        """Windows computed at once; None chooses by device."""
        for name, part in parts.items():
            self.add_module(name, part)

    @abstractmethod
    def quantized(self, codes: Mapping[str, Tensor]) -> Tensor:
        """Return the sum of the streams' quantized latents, `(batch, frames, channels)`."""

    @torch.no_grad()
    def embed(self, codes: Mapping[str, Tensor], num_frames: Tensor) -> Tensor:
        """Return the quantized latent the codes stand for, summed over the streams given.

        Args:
            codes: stream → `(batch, codebooks, frames)`, one stream or several.
            num_frames: `(batch,)`, int64.

        Returns:
            `(batch, channels, frames)`, zero past `num_frames`.
        """
        embedding = self.quantized(codes).transpose(1, 2)
        return embedding * valid_frames(embedding, num_frames)

    def pass_size(self, device: torch.device) -> int:
        """Return the windows to compute at once."""
        return self.windows_per_pass or (1 if device.type == "cpu" else GPU_WINDOWS)


class FactorTokenizer(SpeechTokenizer):
    """A tokenizer of several streams at one rate and a speaker vector, whose networks are loaded in parts.

    A family sets `config` and `codec`, reads and builds parts, and encodes, decodes and converts.
    """

    config: FactorConfig
    """Architecture."""
    codec: FactorCodec
    """The parts that are loaded, by name; a part's file is read when it is first needed."""

    def embed(self, tokens: SpeechTokens, stream: str | None = None) -> Tensor:
        """Return quantized latents, for latent-diffusion models.

        Args:
            tokens: made by this tokenizer.
            stream: one factor alone; None sums those the tokens have.

        Returns:
            `(batch, channels, frames)`, float, zero past `num_frames`.

        Raises:
            TokensError: when the tokens are another tokenizer's or lack the stream.
        """
        self.check_tokens(tokens)
        tokens = tokens.to(self.device)
        if stream is not None:
            check_streams(tokens, (self.info.stream(stream).name,))
            tokens = tokens.select(stream)
        return self.codec.embed(tokens.streams, common_frames(tokens))

    def _rebuild(self) -> None:
        for part in [name for name, _ in self.codec.named_children()]:
            self._build(part, self._read(part))

    def _networks(self) -> tuple[nn.Module, ...]:
        return (self.codec,)

    @abstractmethod
    def _read(self, part: str) -> dict[str, Tensor]:
        """Return the stored weights of a part."""

    @abstractmethod
    def _build(self, part: str, weights: dict[str, Tensor]) -> None:
        """Make a part of the codec."""

    def _need(self, part: str) -> None:
        """Load a part unless it is there."""
        if not hasattr(self.codec, part):
            self._build(part, self._read(part))

    def _tokens(self, encoded: Encoded, num_samples: Tensor) -> SpeechTokens:
        return SpeechTokens(
            streams=encoded.codes,
            num_frames=dict.fromkeys(encoded.codes, encoded.num_frames),
            num_samples=num_samples,
            speaker_embedding=encoded.speaker_embedding,
            info=self.info,
        )

    def _chunk(self, seconds: float | None) -> int | None:
        """Return the samples of a chunk."""
        return None if seconds is None else round(seconds * self.sample_rate)

    def _source(self, tokens: SpeechTokens, streams: tuple[str, ...]) -> SpeechTokens:
        """Return tokens to convert on the tokenizer's device, once they are known to fit and have the streams."""
        self.check_tokens(tokens)
        check_streams(tokens, streams)
        return tokens.to(self.device)

    def _target(self, speaker: SpeechTokens | Tensor | str, batch: int) -> Tensor:
        """Return the speaker vectors `(batch, channels)` that `speaker` stands for.

        Raises:
            TokensError: when tokens are another tokenizer's or hold no speaker vector.
            TypeError: when `speaker` is a name.
            ValueError: when it has another shape.
        """
        if isinstance(speaker, str):
            raise TypeError(
                f"'{self.name}' has no table of speakers; `speaker` must be tokens or a vector, got '{speaker}'."
            )
        if isinstance(speaker, SpeechTokens):
            self.check_tokens(speaker)
            vectors = self._speaker(speaker)
        else:
            vectors = torch.as_tensor(speaker)
        vectors = vectors.to(self.device, self.dtype).reshape(-1, vectors.shape[-1])
        channels = self.config.latent_channels
        if vectors.shape[1] != channels or len(vectors) not in (1, batch):
            raise ValueError(
                f"`speaker` must hold 1 or {batch} vectors of {channels} channels, got shape {tuple(vectors.shape)}."
            )
        return vectors.expand(batch, -1)

    def _speaker(self, tokens: SpeechTokens) -> Tensor:
        if tokens.speaker_embedding is None:
            raise TokensError(
                f"'{self.name}' speaks with a timbre, but these tokens hold no `speaker_embedding`. Keep that column."
            )
        return tokens.speaker_embedding.to(self.device, self.dtype)


def factor_streams(config: FactorConfig) -> tuple[StreamInfo, ...]:
    """Return the streams of a configuration."""
    return tuple(
        StreamInfo(
            name=name,
            num_codebooks=count,
            codebook_size=config.codebook_size,
            frame_rate=config.sample_rate / config.hop_length,
            hop_length=config.hop_length,
        )
        for name, count in config.codebooks.items()
    )


def joined(stored: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the weights of several parts in one mapping, named part.weight."""
    return {f"{part}.{name}": value for part, weights in stored.items() for name, value in weights.items()}


def common_frames(tokens: SpeechTokens) -> Tensor:
    """Return `(batch,)` frames, which all streams share."""
    return next(iter(tokens.num_frames.values()))
