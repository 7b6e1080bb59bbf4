"""One utterance that arrives in blocks, and its tokens as soon as they are final.

Contents: `Coder`, `TokenStream`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from speechtok.errors import AudioError
from speechtok.nets.precision import exact
from speechtok.tokens import SpeechTokens

if TYPE_CHECKING:
    from speechtok.tokenizers.base import SpeechTokenizer


class Coder(Protocol):
    """What a family gives to have a stream: codes of one utterance, in memory that does not grow with its length."""

    def feed(self, samples: Tensor) -> Mapping[str, Tensor]:
        """Return stream → codes `(codebooks, frames)`, often of no frames, that are final after `samples` `(samples,)`."""

    def finish(self) -> tuple[Mapping[str, Tensor], Tensor | None]:
        """Return the codes that were left, and the speaker vector `(1, channels)` where the family has one."""


class TokenStream:
    """Takes one utterance in blocks of any length; made by `SpeechTokenizer.stream`.

    The pieces of tokens that `feed` and `finish` return are, joined by `SpeechTokens.join`, those of the whole
    utterance. A speaker vector is that of the whole utterance and comes with the last piece.

    Args:
        tokenizer: whose tokens they are.
        coder: its network at work.
    """

    def __init__(self, tokenizer: SpeechTokenizer, coder: Coder) -> None:
        self._tokenizer = tokenizer
        self._coder: Coder | None = coder
        self._out = 0
        self.num_samples = 0
        """Samples fed so far."""

    def feed(self, samples: Any) -> SpeechTokens:
        """Return the tokens that are final after some more samples, often none.

        Args:
            samples: float in [-1, 1] or int16, `(samples,)`, at the tokenizer's rate, of any length.

        Raises:
            AudioError: for samples of more axes, NaN or infinity.
            ValueError: after `finish`.
        """
        coder, tokenizer = self._open(), self._tokenizer
        if np.ndim(samples) != 1:
            raise AudioError(f"A block must be mono, of shape (samples,), got {np.shape(samples)}.")
        with exact(tokenizer.device):
            block = torch.zeros(0, dtype=tokenizer.dtype, device=tokenizer.device)
            if len(samples):
                block = tokenizer.batch(samples).waveform[0]
            self.num_samples += len(block)
            codes = coder.feed(block)
        hops = {stream.name: stream.hop_length for stream in tokenizer.streams}
        return self._tokens(codes, max(hops[name] * part.shape[1] for name, part in codes.items()))

    def finish(self) -> SpeechTokens:
        """Return the tokens of what is left; the stream ends with them.

        Raises:
            AudioError: when the whole is too short to have tokens.
            ValueError: when it has ended already.
        """
        coder = self._open()
        self._tokenizer._check_length(torch.tensor([self.num_samples]))
        with exact(self._tokenizer.device):
            codes, speaker = coder.finish()
        self._coder = None
        return self._tokens(codes, self.num_samples - self._out, speaker)

    def _open(self) -> Coder:
        if self._coder is None:
            raise ValueError("The stream has ended; begin another utterance with `tokenizer.stream()`.")
        return self._coder

    def _tokens(
        self, codes: Mapping[str, Tensor], samples: int, speaker: Tensor | None = None
    ) -> SpeechTokens:
        self._out += samples
        device = self._tokenizer.device
        streams = {stream.name: codes[stream.name][None].long() for stream in self._tokenizer.streams}
        return SpeechTokens(
            streams=streams,
            num_frames={
                name: torch.tensor([found.shape[2]], device=device) for name, found in streams.items()
            },
            num_samples=torch.tensor([samples], device=device),
            speaker_embedding=speaker,
            info=self._tokenizer.info,
        )
