"""FACodec behind the shared interface: prosody, content, residual detail and timbre, taken apart.

Source: Ju et al. 2024, NaturalSpeech 3, arXiv:2403.03100; released code and weights:
`open-mmlab/Amphion`, `models/codec/ns3_codec`, and `amphion/naturalspeech3_facodec` on the Hub.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from speechtok.cards import TokenizerCard
from speechtok.errors import CardError
from speechtok.tokenizers.base import WEIGHTS_FILE
from speechtok.tokenizers.facodec.codec import Codec
from speechtok.tokenizers.facodec.config import FacodecConfig
from speechtok.tokenizers.facodec.convert import build_part, check_file, file_parts, read_part
from speechtok.tokenizers.factors import FactorTokenizer, common_frames, factor_streams, joined
from speechtok.tokenizers.fingerprint import fingerprint
from speechtok.tokenizers.streaming import Coder
from speechtok.tokens import SpeechTokens

METHOD = "facodec/1"
"""Family and version; the version rises when a change of code changes codes."""
MIN_SAMPLES = {1: 152, 2: 413}
"""Fewest samples by version: one latent frame; what mirroring the ends for the mel feature needs."""


class FacodecTokenizer(FactorTokenizer):
    """FACodec, version 1 or 2.

    Streams at 80 Hz: `prosody` (1 codebook), `content` (2), `residual` (3), of 1024 codes each;
    `speaker_embedding` holds the timbre. Networks for decoding and voice conversion are loaded when
    first used. Codes of version 1 depend on 0.65 s around a frame; prosody and residual codes of
    version 2 depend on the whole utterance, whatever `chunk_seconds` is.

    Args:
        card: what was released; its `architecture` holds fields of `FacodecConfig`.
        files: local path of each of the card's files.
        device: where tensors live.
        dtype: float32 or float64.

    Raises:
        CardError: when the card's architecture, files or streams do not fit.
        CheckpointError: when a file is damaged or does not fit the networks.
    """

    config: FacodecConfig
    codec: Codec

    def __init__(
        self,
        card: TokenizerCard,
        files: Mapping[str, Path],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.config = card.build_config(FacodecConfig)
        self._sources = _sources(card, self.config, files)
        for role, (path, prefix) in self._sources.items():
            check_file(self.config, role, path, prefix=prefix)
        stored = {part: self._read(part) for part in _analysis_parts(self.config)}
        identity = fingerprint(METHOD, asdict(self.config), joined(stored))
        streams = factor_streams(self.config)
        super().__init__(card, fingerprint=identity, streams=streams, device=device, dtype=dtype)
        self.codec = Codec(self.config, {})
        for part in list(stored):
            self._build(part, stored.pop(part))

    @property
    def min_samples(self) -> int:  # type: ignore[override]
        """Fewest samples that give tokens: 152 for version 1, 413 for version 2."""
        return MIN_SAMPLES[self.config.version]

    def num_frames(self, num_samples: int, stream: str = "content") -> int:
        """Return floor((num_samples + 48) / 200) for version 1, floor(num_samples / 200) for version 2."""
        self.info.stream(stream)
        return self.codec.num_frames(num_samples)

    def convert_voice(
        self, tokens: SpeechTokens, speaker: SpeechTokens | Tensor | str, *, use_residual: bool = False
    ) -> Tensor:
        """Return the speech of `tokens` in the voice of `speaker`.

        Args:
            tokens: the source, made by this tokenizer.
            speaker: tokens of the target, or a speaker vector `(channels,)` or `(batch, channels)`; one
                target serves a whole batch.
            use_residual: whether the source's acoustic detail is kept; it carries some of its voice, so
                the published recipe leaves it out.

        Returns:
            `(batch, samples)`, float, zero past `tokens.num_samples[i]`.

        Raises:
            TokensError: when the tokens are another tokenizer's, lack prosody or content, or hold no
                speaker vector.
            TypeError: when `speaker` is a name.
            ValueError: when `speaker` has another shape.
        """
        tokens = self._source(tokens, ("prosody", "content"))
        vectors = self._target(speaker, len(tokens))
        self._need("redecoder" if self.config.version == 1 else "generator")
        return self.codec.convert_voice(
            tokens.streams, common_frames(tokens), vectors, tokens.num_samples, use_residual=use_residual
        )

    def _encode(
        self,
        waveform: Tensor,
        num_samples: Tensor,
        *,
        chunk_seconds: float | None = None,
        num_codebooks: int | None = None,
    ) -> SpeechTokens:
        encoded = self.codec.encode(
            waveform, num_samples, chunk_samples=self._chunk(chunk_seconds), num_codebooks=num_codebooks
        )
        return self._tokens(encoded, num_samples)

    def _decode(self, tokens: SpeechTokens, *, use_residual: bool = True) -> Tensor:
        self._need("generator")
        return self.codec.decode(
            tokens.streams,
            common_frames(tokens),
            self._speaker(tokens),
            tokens.num_samples,
            use_residual=use_residual,
        )

    def _analyse(self, waveform: Tensor) -> tuple[Tensor, Tensor, None]:
        latent = self.codec.encoder(waveform[None])[:, : self.codec.num_frames(len(waveform))]
        timbre = self.codec.timbre()
        timbre.add(latent)
        return latent[0].t(), timbre.vector()[0], None

    def _synthesise(self, latent: Tensor, speaker: Tensor | None, scale: Tensor | None) -> Tensor:
        assert speaker is not None  # noqa: S101 - `decode_latents` saw to it
        self._need("generator")
        waveform: Tensor = self.codec.generator(latent.t()[None], speaker[None], None)[0]
        return waveform

    def _coder(self, chunk_seconds: float | None = None, num_codebooks: int | None = None) -> Coder | None:
        if self.config.version == 2:
            return None
        return self.codec.stream(chunk_samples=self._chunk(chunk_seconds), num_codebooks=num_codebooks)

    def _state_dict(self) -> dict[str, Tensor]:
        return {
            f"{role}.{name}": value
            for role, parts in file_parts(self.config).items()
            for part in parts
            for name, value in self._read(part).items()
        }

    def _file(self, part: str) -> tuple[Path, str]:
        role = next(role for role, parts in file_parts(self.config).items() if part in parts)
        return self._sources[role]

    def _read(self, part: str) -> dict[str, Tensor]:
        path, prefix = self._file(part)
        return read_part(self.config, part, path, prefix=prefix)

    def _build(self, part: str, weights: dict[str, Tensor]) -> None:
        path, _ = self._file(part)
        network = build_part(self.config, part, weights, dtype=self.dtype, source=f"'{path}'")
        self.codec.add_module(part, network.to(self.device))


def _analysis_parts(config: FacodecConfig) -> tuple[str, ...]:
    """Parts that decide what a code means, and that encoding needs."""
    return ("encoder", "mel", "factors") if config.version == 2 else ("encoder", "factors")


def _sources(
    card: TokenizerCard, config: FacodecConfig, files: Mapping[str, Path]
) -> dict[str, tuple[Path, str]]:
    """Return role → file and the prefix of its entries: three published files, or one of our own."""
    if set(files) == {WEIGHTS_FILE}:
        return {role: (files[WEIGHTS_FILE], f"{role}.") for role in file_parts(config)}
    found: dict[str, tuple[Path, str]] = {}
    for name, path in files.items():
        role = next((role for role in ("redecoder", "decoder", "encoder") if role in Path(name).stem), "")
        found[role] = (path, "")
    if set(found) != set(file_parts(config)):
        raise CardError(
            f"Card '{card.name}' must name one file each for {', '.join(file_parts(config))}, got: {', '.join(files)}."
        )
    return found
