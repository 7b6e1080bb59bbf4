"""Codecs that look back only, in blocks: the codes of the whole, with memory that does not grow.

Mimi and EnCodec remember the end of the last block before each convolution, Mimi's attention the last 250 steps,
EnCodec's LSTM its state. transformers has such a memory for Mimi (`padding_cache`) and none for EnCodec, whose layers are
therefore called one by one. What is left to us besides is the end: a lone utterance is filled up to a whole step before
each convolution, by reflection, zeros or its last value.

Contents: `MimiStream`, `EncodecStream`.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from speechtok.tokenizers.transformers_codecs.config import STREAM

if TYPE_CHECKING:
    from speechtok.tokenizers.transformers_codecs.architectures import Codec

LONGEST = 125
"""Most frames of a block: 10 s of Mimi."""


class _BlockStream(ABC):
    """Takes one utterance in pieces and gives its codes as soon as they are final.

    Args:
        codec: the codec.
        frames: frames that are processed at once; None takes all that are there.
        num_codebooks: codebooks to keep; None keeps all.
    """

    least = 1
    """Fewest frames of the first block, unless it is the only one."""

    def __init__(self, codec: Codec, frames: int | None, num_codebooks: int | None) -> None:
        self._codec, self._frames, self._num_codebooks = codec, frames, num_codebooks
        self._held: list[Tensor] = []
        self._num_held = 0
        self._has_begun = False

    def feed(self, samples: Tensor) -> dict[str, Tensor]:
        """Return the codes that are final after `samples` `(samples,)`, as "acoustic" `(codebooks, frames)`."""
        self._held.append(samples)
        self._num_held += len(samples)
        hop, codes = self._codec.hop_length, []
        while self._num_held // hop >= (
            least := max(self._frames or 1, 1 if self._has_begun else self.least)
        ):
            waveform = torch.cat(self._held)
            stop = hop * (least if self._frames else min(self._num_held // hop, max(least, LONGEST)))
            codes.append(self._encode(waveform[:stop], is_last=False))
            self._held, self._num_held = [waveform[stop:].clone()], self._num_held - stop
            self._has_begun = True
        return self._codes(codes)

    def finish(self) -> tuple[dict[str, Tensor], None]:
        """Return the codes of what is left; the stream ends with them."""
        codes = [self._encode(torch.cat(self._held), is_last=True)] if self._num_held else []
        return self._codes(codes), None

    @abstractmethod
    def _encode(self, block: Tensor, *, is_last: bool) -> Tensor:
        """Return the codes `(codebooks, frames)` of the next block and remember what the one after it needs."""

    def _codes(self, parts: list[Tensor]) -> dict[str, Tensor]:
        none = torch.zeros(self._codec.num_codebooks, 0, dtype=torch.int64, device=self._codec.model.device)
        return {STREAM: torch.cat([none, *parts], dim=1)[: self._num_codebooks]}


class MimiStream(_BlockStream):
    """Mimi in blocks."""

    def __init__(self, codec: Codec, frames: int | None, num_codebooks: int | None) -> None:
        super().__init__(codec, frames, num_codebooks)
        self._memory: dict[str, Any] = {"padding_cache": None, _cache_name(codec): None}

    def _encode(self, block: Tensor, *, is_last: bool) -> Tensor:
        layers = [layer for layer in self._codec.model.modules() if type(layer).__name__ == "MimiConv1d"]
        hooks = [layer.register_forward_pre_hook(_fill) for layer in layers if is_last]
        try:
            found = self._codec.model.encode(
                block[None, None],
                num_quantizers=self._codec.num_codebooks,
                use_streaming=True,
                **self._memory,
            )
        finally:
            for hook in hooks:
                hook.remove()
        self._memory = {name: found[name] for name in self._memory}
        codes: Tensor = found.audio_codes[0]
        return codes


class EncodecStream(_BlockStream):
    """EnCodec in blocks."""

    def __init__(self, codec: Codec, frames: int | None, num_codebooks: int | None) -> None:
        super().__init__(codec, frames, num_codebooks)
        layers = [layer for layer in codec.model.encoder.modules() if hasattr(layer, "padding_total")]
        self.least = 1 + max(
            int(layer.padding_total) for layer in layers
        )  # what reflection at the start sees
        self._past: dict[nn.Module, Tensor] = {}
        self._state: Any = None

    def _encode(self, block: Tensor, *, is_last: bool) -> Tensor:
        if is_last and not self._has_begun:
            return self._codec.encode(block)
        hidden = block[None, None]
        for layer in self._codec.model.encoder.layers:
            hidden = self._apply(layer, hidden, is_last)
        codes: Tensor = self._codec.model.quantizer.encode(hidden, self._codec.config.target_bandwidths[-1])
        return codes[:, 0]

    def _apply(self, layer: Any, hidden: Tensor, is_last: bool) -> Tensor:
        """Return what a layer makes of `(1, channels, steps)` that follow those it was given before."""
        if hasattr(layer, "padding_total"):
            return self._convolve(layer, hidden, is_last)
        found: Tensor
        if hasattr(layer, "lstm"):
            steps = hidden.permute(2, 0, 1)
            found, self._state = layer.lstm(steps, self._state)
            return (found + steps).permute(1, 2, 0)
        if not hasattr(layer, "block"):
            found = layer(hidden)
            return found
        found = hidden
        for part in layer.block:
            found = self._apply(part, found, is_last)
        return self._apply(layer.shortcut, hidden, is_last) + found

    def _convolve(self, layer: Any, hidden: Tensor, is_last: bool) -> Tensor:
        before, mode = int(layer.padding_total), str(layer.pad_mode)
        past = self._past.get(layer)
        missing = -hidden.shape[-1] % layer.conv.stride[0]
        if past is None:
            hidden = nn.functional.pad(hidden, (before, 0), mode=mode)
        else:
            hidden = torch.cat([past, hidden], dim=-1)
        self._past[layer] = hidden[..., hidden.shape[-1] - before :].clone()
        found: Tensor = layer.conv(nn.functional.pad(hidden, (0, missing), mode=mode) if is_last else hidden)
        return found


def _cache_name(codec: Codec) -> str:
    """Return what this version of transformers calls the memory of attention."""
    names = inspect.signature(codec.model.encode).parameters
    return "encoder_cache" if "encoder_cache" in names else "encoder_past_key_values"


def _fill(layer: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Fill the end of a convolution's input up to a whole step, as the lone utterance is filled there."""
    hidden, *others = inputs
    missing = -hidden.shape[-1] % layer.conv.stride[0]
    mode = str(layer.pad_mode)
    return (nn.functional.pad(hidden, (0, missing), mode=mode), *others)
