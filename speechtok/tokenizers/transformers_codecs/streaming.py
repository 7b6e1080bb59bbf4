"""Mimi in blocks: the codes of the whole, with memory that does not grow.

All of Mimi's encoder looks back only: convolutions remember the end of the last block (`padding_cache` of transformers),
attention the last 250 steps. What is left to us is the end: a lone utterance is filled up to a whole frame before each
convolution, with zeros or with its last value, and not before the first one.

Contents: `MimiStream`.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from speechtok.tokenizers.transformers_codecs.architectures import Mimi


class MimiStream:
    """Takes one utterance in pieces and gives its codes as soon as they are final.

    Args:
        codec: the codec.
        block_samples: samples that are processed at once, a multiple of its hop.
    """

    def __init__(self, codec: Mimi, *, block_samples: int) -> None:
        self._codec = codec
        self._block = block_samples
        self._held: list[Tensor] = []
        self._memory: dict[str, Any] = {"padding_cache": None, _cache_name(codec): None}
        self.num_samples = 0

    def feed(self, samples: Tensor) -> Tensor:
        """Return the codes `(codebooks, frames)` that are final after `samples` `(samples,)`."""
        self._held.append(samples)
        self.num_samples += len(samples)
        held = sum(map(len, self._held))
        if held < self._block:
            return self._none()
        waveform = torch.cat(self._held)
        whole = held // self._block * self._block
        self._held = [waveform[whole:].clone()]
        starts = range(0, whole, self._block)
        return torch.cat([self._step(waveform[start : start + self._block]) for start in starts], dim=1)

    def finish(self) -> Tensor:
        """Return the codes of what is left; the stream ends with them."""
        rest = torch.cat(self._held) if self._held else torch.zeros(0)
        self._held = []
        if len(rest) == 0:
            return self._none()
        layers = [layer for layer in self._codec.model.modules() if type(layer).__name__ == "MimiConv1d"]
        hooks = [layer.register_forward_pre_hook(_fill) for layer in layers]
        try:
            return self._step(rest)
        finally:
            for hook in hooks:
                hook.remove()

    def _step(self, block: Tensor) -> Tensor:
        """Return the codes of the next block and remember what the one after it needs."""
        found = self._codec.model.encode(
            block[None, None], num_quantizers=self._codec.num_codebooks, use_streaming=True, **self._memory
        )
        self._memory = {name: found[name] for name in self._memory}
        codes: Tensor = found.audio_codes[0]
        return codes

    def _none(self) -> Tensor:
        return torch.zeros(self._codec.num_codebooks, 0, dtype=torch.int64, device=self._codec.model.device)


def _cache_name(codec: Mimi) -> str:
    """Return what this version of transformers calls the memory of attention."""
    names = inspect.signature(codec.model.encode).parameters
    return "encoder_cache" if "encoder_cache" in names else "encoder_past_key_values"


def _fill(layer: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Fill the end of a convolution's input up to a whole step, as the lone utterance is filled there."""
    hidden, *others = inputs
    missing = -hidden.shape[-1] % layer.conv.stride[0]
    mode = str(layer.pad_mode)
    return (nn.functional.pad(hidden, (0, missing), mode=mode), *others)
