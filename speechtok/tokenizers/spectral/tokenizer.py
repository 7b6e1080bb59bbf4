"""The spectral codec behind the shared interface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from speechtok.cards import TokenizerCard
from speechtok.checkpoints.build import build_network
from speechtok.checkpoints.read import read_state_dict
from speechtok.errors import CheckpointError
from speechtok.nets.padding import valid_frames
from speechtok.nets.windows import plan_windows
from speechtok.tokenizers.base import SpeechTokenizer
from speechtok.tokenizers.fingerprint import fingerprint
from speechtok.tokenizers.ragged import rows_of, stack_speech, stack_tokens
from speechtok.tokenizers.spectral.config import STREAM, SpectralConfig
from speechtok.tokenizers.spectral.network import Codec
from speechtok.tokenizers.spectral.storing import CODEBOOKS, unpack
from speechtok.tokenizers.spectral.writing import stream_of
from speechtok.tokenizers.streaming import WindowCoder
from speechtok.tokens import SpeechTokens

METHOD = "spectral/1"
"""Family and version; the version rises when a change of code changes codes."""
WINDOW_FRAMES = 512
"""Frames that are computed at once, besides those around them that they depend on."""


class SpectralTokenizer(SpeechTokenizer):
    """A compact codec of short-time spectra: one stream `acoustic` of residual codebooks, of which the first may be kept.

    Codes depend on a few hundred milliseconds around a frame, and so does speech.

    Args:
        card: what was released; its `architecture` holds fields of `SpectralConfig`.
        files: the one file of weights, by the path the card gives it.
        device: where tensors live.
        dtype: float type of all computation.

    Raises:
        CardError: when the card's architecture or streams do not fit.
        CheckpointError: when the file is missing, damaged or does not fit the networks.
    """

    config: SpectralConfig
    codec: Codec

    def __init__(
        self,
        card: TokenizerCard,
        files: Mapping[str, Path],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.config = card.build_config(SpectralConfig)
        if len(files) != 1:
            raise CheckpointError(
                f"Tokenizer '{card.name}' needs one file of weights, got: {', '.join(files) or 'none'}; "
                "give the folder that the training wrote it to."
            )
        self._path = next(iter(files.values()))
        stored = read_state_dict(self._path)
        analysis = {name: value for name, value in stored.items() if name.startswith(("encoder.", CODEBOOKS))}
        identity = fingerprint(METHOD, asdict(self.config), analysis)
        super().__init__(
            card, fingerprint=identity, streams=(stream_of(self.config),), device=device, dtype=dtype
        )
        self._build(stored)

    def num_frames(self, num_samples: int, stream: str = STREAM) -> int:
        """Return `ceil(num_samples / hop_length)`."""
        self.info.stream(stream)
        return -(-num_samples // self.config.hop_length)

    def embed(self, tokens: SpeechTokens, stream: str | None = None) -> Tensor:
        """Return the sums of the codes' vectors, `(batch, channels, frames)`, zero past `num_frames`.

        Args:
            tokens: made by this tokenizer.
            stream: there is one.

        Raises:
            TokensError: when the tokens are another tokenizer's or lack the stream.
        """
        self.check_tokens(tokens)
        tokens = tokens.to(self.device)
        latents = self.codec.codebooks.decode(tokens[stream or STREAM]).transpose(1, 2)
        return latents * valid_frames(latents, tokens.num_frames[STREAM])

    def _encode(
        self,
        waveform: Tensor,
        num_samples: Tensor,
        *,
        chunk_seconds: float | None = None,
        num_codebooks: int | None = None,
    ) -> SpeechTokens:
        size = self._frames(chunk_seconds) or WINDOW_FRAMES
        rows = []
        for item, length in zip(waveform, num_samples.tolist(), strict=True):  # each as if alone
            latents = self._latents(item[:length], size)
            rows.append(self.codec.codebooks.encode(latents, num_codebooks)[0])
        return stack_tokens({STREAM: rows}, num_samples, self.info)

    def _decode(self, tokens: SpeechTokens) -> Tensor:
        rows = [self._speak(self.codec.codebooks.decode(codes[None])) for codes in rows_of(tokens, STREAM)]
        return stack_speech(rows, tokens.num_samples.tolist())

    def _analyse(self, waveform: Tensor) -> tuple[Tensor, None, None]:
        latents: Tensor = self.codec.encoder(waveform[None])[0]
        return latents.t(), None, None

    def _synthesise(self, latent: Tensor, speaker: Tensor | None, scale: Tensor | None) -> Tensor:
        waveform: Tensor = self.codec.decoder(latent.t()[None])[0]
        return waveform

    def _coder(self, chunk_seconds: float | None = None, num_codebooks: int | None = None) -> WindowCoder:
        def analyse(stretch: Tensor, kept: slice) -> dict[str, Tensor]:
            latents = self.codec.encoder(stretch[None])[:, kept]
            return {STREAM: self.codec.codebooks.encode(latents, num_codebooks)[0]}

        return WindowCoder(
            analyse,
            codebooks={STREAM: num_codebooks or self.config.num_codebooks},
            num_frames=self.num_frames,
            hop_length=self.config.hop_length,
            context=self.config.encoder_context,
            size=self._frames(chunk_seconds),
            most=WINDOW_FRAMES,
        )

    def _frames(self, seconds: float | None) -> int | None:
        """Return the frames of a chunk."""
        return None if seconds is None else max(1, round(seconds * self.sample_rate / self.config.hop_length))

    def _latents(self, waveform: Tensor, size: int) -> Tensor:
        """Return the latents `(1, frames, channels)` of `(samples,)`, so many frames at once."""
        hop = self.config.hop_length
        windows = plan_windows(self.num_frames(len(waveform)), size, self.config.encoder_context)
        parts = [
            self.codec.encoder(waveform[None, hop * window.start : hop * window.end])[:, window.kept]
            for window in windows
        ]
        return torch.cat(parts, dim=1)

    def _speak(self, latents: Tensor) -> Tensor:
        """Return the speech `(samples,)` of `(1, frames, channels)`."""
        hop = self.config.hop_length
        parts = []
        for window in plan_windows(latents.shape[1], WINDOW_FRAMES, self.config.decoder_context):
            speech = self.codec.decoder(latents[:, window.start : window.end])[0]
            parts.append(speech[hop * window.kept.start : hop * window.kept.stop])
        return torch.cat(parts)

    def _build(self, stored: Mapping[str, Tensor]) -> None:
        network = build_network(
            lambda: Codec(self.config), unpack(stored), dtype=self.dtype, source=f"'{self._path}'"
        )
        assert isinstance(network, Codec)  # noqa: S101 - it is what was made
        self.codec = network.to(self.device)

    def _rebuild(self) -> None:
        self._build(self._state_dict())

    def _networks(self) -> tuple[torch.nn.Module, ...]:
        return (self.codec,)

    def _state_dict(self) -> dict[str, Tensor]:
        return read_state_dict(self._path)
