"""Codecs of `transformers` behind the shared interface, each utterance with the codes it has alone.

One stream, `acoustic`: the codebooks of the codec, coarse first. The published folder is what
`from_pretrained` of transformers reads: `config.json` and `model.safetensors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from speechtok.cards import TokenizerCard
from speechtok.nets.windows import plan_windows
from speechtok.tokenizers.base import SpeechTokenizer
from speechtok.tokenizers.fingerprint import fingerprint
from speechtok.tokenizers.ragged import padded, rows_of, stack_speech, stack_tokens
from speechtok.tokenizers.streaming import Coder
from speechtok.tokenizers.transformers_codecs.architectures import Dac
from speechtok.tokenizers.transformers_codecs.config import STREAM
from speechtok.tokenizers.transformers_codecs.convert import (
    CONFIG_FILE,
    build_codec,
    read_config,
    read_weights,
)
from speechtok.tokens import SpeechTokens, StreamInfo

METHOD = "transformers_codecs/1"
"""Family and version; the version rises when a change of code changes codes."""
WINDOW_SECONDS = 10.0
"""Length of the pieces in which DAC encodes unless `chunk_seconds` says otherwise."""


class TransformersCodecTokenizer(SpeechTokenizer):
    """A codec of transformers.

    Utterances of a batch are computed one by one: these models give other codes to an utterance that
    was padded, and on a CPU padding costs more than a batch saves. `chunk_seconds` bounds the memory of DAC, Mimi and
    EnCodec, whose codes are the same in pieces; WavTokenizer, X-Codec, X-Codec 2 and NeuCodec (attention and norms over the
    whole utterance) encode an utterance whole, whatever it is.

    Args:
        card: what was released; its `architecture` holds `model_type`.
        files: local path of `config.json` and of the file of weights.
        device: where tensors live.
        dtype: float type of all computation.

    Raises:
        CardError: when the card's architecture or streams do not fit.
        CheckpointError: when a file is damaged, does not fit, or needs another version of transformers.
    """

    def __init__(
        self,
        card: TokenizerCard,
        files: Mapping[str, Path],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        codec = read_config(card, files)
        self._config_text = files[CONFIG_FILE].read_text(encoding="utf-8")
        self._weights_path, stored = read_weights(card, files)
        stream = StreamInfo(
            name=STREAM,
            num_codebooks=codec.num_codebooks,
            codebook_size=codec.codebook_size,
            frame_rate=codec.sample_rate / codec.hop_length,
            hop_length=codec.hop_length,
        )
        analysis = {name: value for name, value in stored.items() if not name.startswith(codec.synthesis)}
        identity = fingerprint(METHOD, codec.settings, analysis)
        super().__init__(card, fingerprint=identity, streams=(stream,), device=device, dtype=dtype)
        self.codec = build_codec(codec, stored, self._weights_path, dtype=dtype)
        self.codec.model.to(self.device)

    @property
    def min_samples(self) -> int:  # type: ignore[override]
        """Fewest samples that give tokens: 1, and a frame for NeuCodec."""
        return self.codec.min_samples

    @property
    def output_sample_rate(self) -> int:
        """Rate of decoded audio, in Hz: that of the audio, but 24 kHz for NeuCodec, which reads 16 kHz."""
        return self.codec.output_sample_rate

    def num_frames(self, num_samples: int, stream: str = STREAM) -> int:
        """Return the frames of `num_samples` samples.

        They are ceil(num_samples / hop_length); X-Codec 2 has one more at whole frames, NeuCodec one less at others.
        """
        self.info.stream(stream)
        return self.codec.num_frames(num_samples)

    def embed(self, tokens: SpeechTokens, stream: str | None = None) -> Tensor:
        """Return the quantized latents of the codec.

        Args:
            tokens: made by this tokenizer.
            stream: None or "acoustic".

        Returns:
            `(batch, channels, frames)`, float, zero past `num_frames`.

        Raises:
            TokensError: when the tokens are another tokenizer's.
        """
        self.check_tokens(tokens)
        self.info.stream(stream or STREAM)
        return padded(self.codec.latents(codes) for codes in rows_of(tokens.to(self.device), STREAM))

    def _encode(
        self,
        waveform: Tensor,
        num_samples: Tensor,
        *,
        chunk_seconds: float | None = None,
        num_codebooks: int | None = None,
    ) -> SpeechTokens:
        rows = [
            self._encode_one(item[:samples], chunk_seconds)[:num_codebooks]
            for item, samples in zip(waveform, num_samples.tolist(), strict=True)
        ]
        return stack_tokens({STREAM: rows}, num_samples, self.info)

    def _encode_one(self, waveform: Tensor, chunk_seconds: float | None) -> Tensor:
        codec = self.codec
        if isinstance(codec, Dac):
            hop = codec.hop_length
            windows = plan_windows(
                codec.num_frames(len(waveform)), self._window(chunk_seconds), codec.context
            )
            return torch.cat(
                [codec.encode(waveform[w.start * hop : w.end * hop])[:, w.kept] for w in windows], dim=1
            )
        stream = None if chunk_seconds is None else codec.stream(self._window(chunk_seconds), None)
        if stream is None:
            return codec.encode(waveform)
        parts = (stream.feed(waveform), stream.finish()[0])
        return torch.cat([part[STREAM] for part in parts], dim=1)

    def _coder(self, chunk_seconds: float | None = None, num_codebooks: int | None = None) -> Coder | None:
        frames = None if chunk_seconds is None else self._window(chunk_seconds)
        return self.codec.stream(frames, num_codebooks)

    def _decode(self, tokens: SpeechTokens) -> Tensor:
        lengths = [self.output_samples(samples) for samples in tokens.num_samples.tolist()]
        return stack_speech(map(self.codec.decode, rows_of(tokens, STREAM)), lengths)

    def _window(self, seconds: float | None) -> int:
        """Return the frames of a piece of so many seconds, at least one."""
        return max(1, round((seconds or WINDOW_SECONDS) * self.codec.sample_rate / self.codec.hop_length))

    def _networks(self) -> tuple[torch.nn.Module, ...]:
        return (self.codec.model,)

    def _texts(self) -> dict[str, str]:
        return {CONFIG_FILE: self._config_text}

    def _state_dict(self) -> dict[str, Tensor]:
        return read_weights(self.card, {self._weights_path.name: self._weights_path})[1]
