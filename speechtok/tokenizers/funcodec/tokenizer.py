"""FunCodec behind the shared interface: one stream of residual codes, and the level beside it.

Source: Du et al. 2023, FunCodec, arXiv:2309.07405; released code: repository `modelscope/FunCodec`;
weights: `alibaba-damo/audio_codec-*` on the Hugging Face Hub and `damo/audio_codec-*` on ModelScope.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechtok.cards import CARD_FILE, TokenizerCard, find_card, list_tokenizers
from speechtok.errors import AudioError, CheckpointError
from speechtok.hub import provenance
from speechtok.nets.weight_norm import fold
from speechtok.tokenizers.base import SpeechTokenizer
from speechtok.tokenizers.fingerprint import fingerprint
from speechtok.tokenizers.funcodec.codec import Codec
from speechtok.tokenizers.funcodec.config import FuncodecConfig
from speechtok.tokenizers.funcodec.convert import build_codec, read_configuration, read_weights, weights_path
from speechtok.tokenizers.funcodec.published_config import parse_config
from speechtok.tokenizers.funcodec.segments import decode_rows, encode_rows
from speechtok.tokenizers.funcodec.semantic import SemanticCodec
from speechtok.tokenizers.funcodec.streams import (
    LEVEL,
    PHONES,
    STREAM,
    phone_rows,
    streams_of,
)
from speechtok.tokenizers.ragged import rows_of, stack_speech, stack_tokens
from speechtok.tokens import SpeechTokens, StreamInfo

METHOD = "funcodec/1"
"""Family and version; the version rises when a change of code changes codes."""
LONGEST_SECONDS = 600
"""Longest utterance accepted from a stream; each second takes about 10 MB of memory while it is encoded."""
_ADDED = ("segments", "phones")
"""Fields of the configuration that count in the fingerprint only where they say something: older tokens keep theirs."""


class FuncodecTokenizer(SpeechTokenizer):
    """FunCodec, time-domain or FreqCodec, as a `config.yaml` describes it.

    One stream, `acoustic`: the stages of a residual quantizer, coarse first, of which any number may be
    kept. The level of an utterance is removed before encoding and stored as `scale`. Every code depends
    on the whole utterance (its level, and the statistics of each layer), so `chunk_seconds` changes
    nothing: cut long recordings into utterances before encoding them.

    The configuration decides the network, and files that give other streams than the card states are refused. The
    card of a loaded tokenizer says which files it came from: `architecture["source"]` holds their sha256, and
    repository and commit when they lie in the Hub's cache.

    Args:
        card: what was released.
        files: local path of each of the card's files: `config.yaml`, if published, and the weights.
        device: where tensors live.
        dtype: float32 or float64.

    Raises:
        CardError: when the configuration is malformed or describes another network than is known.
        CheckpointError: when the files give other streams than the card has, or the weights are damaged or do not
            fit the network.
    """

    def __init__(
        self,
        card: TokenizerCard,
        files: Mapping[str, Path],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        content, named = read_configuration(card, files)
        self.config = parse_config(content, named)
        self._weights_path = weights_path(card, files)
        streams = streams_of(self.config)
        has_scale = self.config.normalize and self.config.segments is None
        _check_name(card, streams, has_scale, named)
        stored = read_weights(self.config, self._weights_path)
        described = replace(
            card,
            sample_rate=self.config.sample_rate,
            streams=streams,
            has_scale=has_scale,
            architecture={**content, "source": card.architecture.get("source") or provenance(files)},
        )
        super().__init__(
            described,
            fingerprint=fingerprint(METHOD, _settings(self.config), stored),
            streams=streams,
            device=device,
            dtype=dtype,
        )
        self.codec: Codec
        self._build(stored)

    @property
    def min_samples(self) -> int:  # type: ignore[override]
        """Fewest samples that give tokens: 1, or 257 for FreqCodec."""
        return self.codec.min_samples

    def num_frames(self, num_samples: int, stream: str = STREAM) -> int:
        """Return the frames of `num_samples` samples.

        ceil(num_samples / hop_length), but ceil((1 + floor(num_samples / 160)) / ratio) for FreqCodec's codes,
        and the sum over all segments for the codes of a segmented model.
        """
        hop = self.info.stream(stream).hop_length
        if stream != STREAM:
            return -(-num_samples // hop)
        if self.config.segments is None:
            return self.codec.num_frames(num_samples)
        spans = self.config.segments.spans(num_samples)
        return sum(self.codec.num_frames(stop - start) for start, stop in spans)

    def embed(self, tokens: SpeechTokens, stream: str | None = None) -> Tensor:
        """Return quantized latents: the sum of the codes' vectors, what language models over FunCodec read.

        Args:
            tokens: made by this tokenizer.
            stream: `acoustic` or None.

        Returns:
            `(batch, channels, frames)`, float, zero past `num_frames`.

        Raises:
            TokensError: when the tokens are another tokenizer's, or there is no such stream.
        """
        self.check_tokens(tokens)
        self.info.stream(stream or STREAM)
        tokens = tokens.to(self.device)
        return self.codec.embed(tokens[STREAM], tokens.num_frames[STREAM])

    @torch.no_grad()
    def codebook_vectors(self, tokens: SpeechTokens) -> Tensor:
        """Return the vector of every code, of which `embed` is the sum.

        Args:
            tokens: made by this tokenizer.

        Returns:
            `(batch, codebooks, channels, frames)`, float, arbitrary past `num_frames`.

        Raises:
            TokensError: when the tokens are another tokenizer's.
        """
        self.check_tokens(tokens)
        return self.codec.quantizer.vectors(tokens.to(self.device)[STREAM]).transpose(2, 3)

    def _rebuild(self) -> None:
        self._build(self._state_dict())

    def _whole(self, blocks: Iterable[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
        held, samples = [np.zeros(0, np.float32)], 0
        for block in blocks:
            held.append(block)
            samples += len(block)
            if self.config.segments is None and samples > LONGEST_SECONDS * self.sample_rate:
                raise AudioError(
                    f"The recording is longer than {LONGEST_SECONDS} s, but all of an utterance decides each code of "
                    f"'{self.name}'; cut it into utterances first, as `--segment silence` does."
                )
        return np.concatenate(held)

    def _encode(
        self,
        waveform: Tensor,
        num_samples: Tensor,
        *,
        chunk_seconds: float | None = None,
        num_codebooks: int | None = None,
        bandwidth: float | None = None,
        bit_width: float | None = None,
        phones: Any = None,
    ) -> SpeechTokens:
        """Encode utterances; `bandwidth` or `bit_width` in bits per second chooses the codebooks to keep.

        Models with semantic augmentation need `phones`, see `phone_stream`.
        """
        kept = self._codebooks(num_codebooks, bandwidth, bit_width)
        encoded: dict[str, list[Tensor]] = {}
        scale = None
        if self.config.segments is not None:
            items = [item[:length] for item, length in zip(waveform, num_samples.tolist(), strict=True)]
            encoded = encode_rows(self.codec, self.config.segments, items, num_codebooks=kept)
        else:
            whole = self.codec.encode(waveform, num_samples, num_codebooks=kept)
            encoded[STREAM], scale = whole.items(), whole.scale
        if self.config.phones is not None or phones is not None:
            encoded[PHONES] = phone_rows(self.config, phones, num_samples)
        return stack_tokens(encoded, num_samples, self.info, scale=scale)

    def _decode(
        self,
        tokens: SpeechTokens,
        *,
        num_codebooks: int | None = None,
        bandwidth: float | None = None,
        bit_width: float | None = None,
    ) -> Tensor:
        """Decode the first codebooks, as many as a number or a rate in bits per second asks for."""
        codes = tokens[STREAM][:, : self._codebooks(num_codebooks, bandwidth, bit_width)]
        frames, lengths = tokens.num_frames[STREAM], tokens.num_samples.tolist()
        if self.config.normalize and tokens.scale is None and LEVEL not in tokens.streams:
            warnings.warn(
                "The tokens hold no `scale`, so the speech is decoded at about unit level instead of its own.",
                stacklevel=3,
            )
        scale = None if tokens.scale is None else tokens.scale.to(self.device, self.dtype)
        if self.config.segments is not None:
            levels = rows_of(tokens, LEVEL) if LEVEL in tokens.streams else None
            rows = [row[: codes.shape[1]] for row in rows_of(tokens, STREAM)]
            waveforms = decode_rows(self.codec, self.config.segments, rows, lengths, levels)
        elif isinstance(self.codec, SemanticCodec):
            waveforms = self.codec.decode_with_phones(codes, frames, rows_of(tokens, PHONES), lengths, scale)
        else:
            waveforms = self.codec.decode(codes, frames, scale)
        return stack_speech(waveforms, lengths)  # FreqCodec may end a hop before the recording did

    def _analyse(self, waveform: Tensor) -> tuple[Tensor, None, Tensor | None]:
        self._check_latents()
        latents, scale = self.codec.features(waveform[None], torch.tensor([len(waveform)]))
        return latents[0].t(), None, None if scale is None else scale[0]

    def _synthesise(self, latent: Tensor, speaker: Tensor | None, scale: Tensor | None) -> Tensor:
        self._check_latents()
        return self.codec.generate([latent[None]], None if scale is None else scale[None])[0]

    def _check_latents(self) -> None:
        if self.config.segments is not None or self.config.phones is not None:
            raise TypeError(
                f"'{self.name}' has no latents of its own: it codes segments, or speaks with phones. Use a FunCodec model "
                "without them."
            )

    def _networks(self) -> tuple[torch.nn.Module, ...]:
        return (self.codec,)

    def _state_dict(self) -> dict[str, Tensor]:
        return read_weights(self.config, self._weights_path)

    def _build(self, stored: Mapping[str, Tensor]) -> None:
        codec = build_codec(self.config, stored, dtype=self.dtype, source=f"'{self._weights_path}'")
        self.codec = codec.to(self.device)
        fold(self.codec)

    def _codebooks(self, num_codebooks: int | None, bandwidth: float | None, bit_width: float | None) -> int:
        """Return how many codebooks the options ask for; `bit_width` is what FunCodec calls the bandwidth."""
        if sum(option is not None for option in (num_codebooks, bandwidth, bit_width)) > 1:
            raise ValueError(
                "`num_codebooks`, `bandwidth` and `bit_width` say the same thing; give one of them."
            )
        if num_codebooks is None:
            return self.config.codebooks_for(bandwidth if bit_width is None else bit_width)
        self.check_codebooks(num_codebooks)
        return num_codebooks


def _check_name(card: TokenizerCard, streams: tuple[StreamInfo, ...], has_scale: bool, named: str) -> None:
    """Raise `CheckpointError` when streams or levels are not the card's, so that no token gets the name of another release."""
    if (card.streams, card.has_scale) == (streams, has_scale):
        return
    others = (find_card(name)[0] for name in list_tokenizers() if name.startswith(card.family))
    known = [
        other.name
        for other in others
        if (other.family, other.streams, other.has_scale) == (card.family, streams, has_scale)
    ]
    remedy = (
        f"load it as {' or '.join(known)}"
        if known
        else f"load it by a card of its own: a {CARD_FILE} with these streams in its folder, and that folder as the name"
    )
    given, stated = _told(streams), _told(card.streams)
    if card.has_scale != has_scale:
        given += f", {'with' if has_scale else 'without'} the level of a recording"
        stated += f", has_scale: {str(card.has_scale).lower()}"
    raise CheckpointError(
        f"{named} is not that of '{card.name}': it gives {given}, not {stated}; "
        f"fetch the files of the card, or {remedy}."
    )


def _told(streams: tuple[StreamInfo, ...]) -> str:
    return " and ".join(
        f"{stream.name} at {stream.frame_rate} Hz ({stream.num_codebooks} codebooks of {stream.codebook_size}, "
        f"{stream.hop_length} samples per frame)"
        for stream in streams
    )


def _settings(config: FuncodecConfig) -> dict[str, Any]:
    """Return what of the configuration counts in the fingerprint."""
    values = asdict(config)
    return {name: value for name, value in values.items() if value is not None or name not in _ADDED}
