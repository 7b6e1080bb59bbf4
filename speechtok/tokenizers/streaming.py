"""One utterance that arrives in blocks, and its tokens as soon as they are final.

Contents: `Coder`, `WindowCoder`, `TokenStream`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from speechtok.errors import AudioError
from speechtok.nets.compiling import uncompiled
from speechtok.nets.precision import exact
from speechtok.nets.windows import JoinedBlocks
from speechtok.tokens import SpeechTokens

if TYPE_CHECKING:
    from speechtok.tokenizers.base import SpeechTokenizer


class Coder(Protocol):
    """What a family gives to have a stream: codes of one utterance, in memory that does not grow with its length."""

    def feed(self, samples: Tensor) -> Mapping[str, Tensor]:
        """Return stream → codes `(codebooks, frames)`, often of no frames, that are final after `samples` `(samples,)`."""

    def finish(self) -> tuple[Mapping[str, Tensor], Tensor | None]:
        """Return the codes that were left, and the speaker vector `(1, channels)` where the family has one."""


class WindowCoder:
    """The coder of codes that depend on so many frames to each side, in windows with that context.

    The windows are those of `nets.windows.plan_windows` in all that matters: full context to both sides, or the true end.

    Args:
        analyse: gives stream → codes `(codebooks, frames)` of a stretch `(samples,)`, of the frames at the slice alone.
        codebooks: stream → codebooks that are kept.
        num_frames: gives the frames of so many samples.
        hop_length: samples per frame.
        context: frames that a code depends on, to each side.
        size: frames per window; None takes all that are there.
        most: frames per window, at most.
        speaker: gives the speaker vector `(1, channels)` at the end, where the family has one.
    """

    def __init__(
        self,
        analyse: Callable[[Tensor, slice], Mapping[str, Tensor]],
        *,
        codebooks: Mapping[str, int],
        num_frames: Callable[[int], int],
        hop_length: int,
        context: int,
        size: int | None,
        most: int,
        speaker: Callable[[], Tensor] | None = None,
    ) -> None:
        self._analyse, self._codebooks, self._num_frames = analyse, codebooks, num_frames
        self._hop, self._context, self._size, self._most = hop_length, context, size, most
        self._speaker = speaker
        self._signal, self._first = JoinedBlocks(), 0

    def feed(self, samples: Tensor) -> Mapping[str, Tensor]:
        """Return the codes that are final: those of windows whose context is there."""
        self._signal.add(samples)
        final = self._signal.stop // self._hop - self._context
        return self._up_to(final, least=self._size or 1, like=samples)

    def finish(self) -> tuple[Mapping[str, Tensor], Tensor | None]:
        """Return the codes that were left, up to the true end."""
        end = self._signal.stop
        codes = self._up_to(self._num_frames(end), least=1, like=self._signal.read(end, end))
        return codes, None if self._speaker is None else self._speaker()

    def _up_to(self, final: int, *, least: int, like: Tensor) -> dict[str, Tensor]:
        """Return the codes of the next frames before `final`, as long as there are `least` of them."""
        parts: list[Mapping[str, Tensor]] = [
            {name: like.new_zeros(count, 0, dtype=torch.int64) for name, count in self._codebooks.items()}
        ]
        while final - self._first >= least:
            parts.append(self._window(min(self._first + (self._size or self._most), final)))
        return {name: torch.cat([part[name] for part in parts], dim=1) for name in self._codebooks}

    def _window(self, stop: int) -> Mapping[str, Tensor]:
        """Return the codes of the frames before `stop`, and forget what came before them."""
        start = max(0, self._first - self._context)
        stretch = self._signal.read(self._hop * start, self._hop * (stop + self._context))
        codes = self._analyse(stretch, slice(self._first - start, stop - start))
        self._signal.forget(self._hop * max(0, stop - self._context))
        self._first = stop
        return codes


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

    @uncompiled
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

    @uncompiled
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
