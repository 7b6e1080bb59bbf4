"""dMel: log-mel channels on a fixed grid of levels, the tokenizer that needs no weights.

Source: Bai et al. 2024, dMel: Speech Tokenization Made Simple, arXiv:2407.15835, Section 2.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from speechtok.cards import TokenizerCard
from speechtok.nets.threads import one_thread
from speechtok.tokenizers.base import SpeechTokenizer
from speechtok.tokenizers.dmel.config import DMelConfig
from speechtok.tokenizers.dmel.inversion import codes_to_waveform
from speechtok.tokenizers.dmel.mel import MelCodeStream, mel_codes
from speechtok.tokenizers.fingerprint import fingerprint
from speechtok.tokenizers.streaming import Coder
from speechtok.tokens import SpeechTokens, StreamInfo

METHOD = "dmel/1"
"""Family and version; the version rises when a change of code changes codes."""
STREAM = "mel"
"""The only stream."""
CODE_SETTINGS = (
    "sample_rate",
    "num_channels",
    "num_levels",
    "hop_length",
    "window_length",
    "fft_length",
    "min_hz",
    "max_hz",
    "min_db",
    "max_db",
)
"""Fields of `DMelConfig` that decide what a code means; the others only shape the decoded waveform."""


class DMelTokenizer(SpeechTokenizer):
    """Log-mel levels and back.

    One stream, `mel`: codebook k is mel channel k, from low to high, and a code is a level in dB.
    Codes of a frame depend on the samples of one window around it, and are always computed in blocks
    of frames of one size, so batches and chunks cannot change them.

    Args:
        card: what was released; its `architecture` holds fields of `DMelConfig`.
        device: where tensors live.
        dtype: float32 or float64.

    Raises:
        CardError: when the card's architecture or streams do not fit.
    """

    def __init__(
        self, card: TokenizerCard, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        self.config = card.build_config(DMelConfig)
        stream = StreamInfo(
            name=STREAM,
            num_codebooks=self.config.num_channels,
            codebook_size=self.config.num_levels,
            frame_rate=self.config.sample_rate / self.config.hop_length,
            hop_length=self.config.hop_length,
        )
        identity = fingerprint(METHOD, {name: getattr(self.config, name) for name in CODE_SETTINGS})
        super().__init__(card, fingerprint=identity, streams=(stream,), device=device, dtype=dtype)

    @classmethod
    def from_card(
        cls, card: TokenizerCard, files: Mapping[str, Path], *, device: torch.device | str, dtype: torch.dtype
    ) -> Self:
        """Build the tokenizer a card describes; there are no files."""
        return cls(card, device=device, dtype=dtype)

    def num_frames(self, num_samples: int, stream: str = STREAM) -> int:
        """Return `ceil(num_samples / hop_length)`."""
        self.info.stream(stream)
        return -(-num_samples // self.config.hop_length)

    @one_thread()
    def _encode(
        self,
        waveform: Tensor,
        num_samples: Tensor,
        *,
        chunk_seconds: float | None = None,
        num_codebooks: int | None = None,
    ) -> SpeechTokens:
        # In blocks whatever `chunk_seconds` is: the codes of one block are all the memory it takes.
        return self._tokens(mel_codes(waveform, num_samples, self.config)[:, :num_codebooks], num_samples)

    @one_thread()
    def _decode(self, tokens: SpeechTokens) -> Tensor:
        codes = tokens[STREAM]
        missing = self.config.num_channels - codes.shape[1]
        codes = torch.nn.functional.pad(codes, (0, 0, 0, missing))  # channels left out are silent
        return codes_to_waveform(codes, tokens.num_samples, self.config, dtype=self.dtype)

    def _coder(self, chunk_seconds: float | None = None, num_codebooks: int | None = None) -> Coder:
        at_once = chunk_seconds is None  # otherwise in blocks, whatever it is
        return _MelCoder(
            MelCodeStream(self.config, dtype=self.dtype, device=self.device, at_once=at_once), num_codebooks
        )

    def _tokens(self, codes: Tensor, num_samples: Tensor) -> SpeechTokens:
        frames = -(-num_samples // self.config.hop_length)
        return SpeechTokens(
            streams={STREAM: codes}, num_frames={STREAM: frames}, num_samples=num_samples, info=self.info
        )


class _MelCoder:
    """The codes of a stream, in one thread."""

    def __init__(self, stream: MelCodeStream, num_codebooks: int | None) -> None:
        self._stream, self._num_codebooks = stream, num_codebooks

    @one_thread()
    def feed(self, samples: Tensor) -> dict[str, Tensor]:
        """Return the codes that are final."""
        return {STREAM: self._stream.push(samples)[: self._num_codebooks]}

    @one_thread()
    def finish(self) -> tuple[dict[str, Tensor], None]:
        """Return the codes of the last frames."""
        return {STREAM: self._stream.finish()[: self._num_codebooks]}, None
