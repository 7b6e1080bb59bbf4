"""Encoding one utterance that arrives in blocks, in memory that does not grow.

The windows are those of `Codec.encode` in all that matters: full context to both sides, or the true
end. Only version 1 can be encoded so: prosody of version 2 depends on the whole utterance.

Contents: `FacodecStream`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from speechtok.nets.precision import exact
from speechtok.nets.windows import JoinedBlocks
from speechtok.tokenizers.facodec.codec import ENCODER_WINDOW, Codec
from speechtok.tokenizers.facodec.network import ENCODER_CONTEXT


class FacodecStream:
    """Takes one utterance in blocks and gives what `Codec.encode` gives for the whole.

    Args:
        codec: a codec of version 1.
        chunk_samples: samples per window; None takes all that are there, at least a frame.
        num_codebooks: as in `Codec.encode`.
    """

    def __init__(
        self, codec: Codec, *, chunk_samples: int | None = None, num_codebooks: int | None = None
    ) -> None:
        self._codec, self._num_codebooks = codec, num_codebooks
        self._size = None if chunk_samples is None else max(1, chunk_samples // codec.config.hop_length)
        self._signal, self._timbre = JoinedBlocks(), codec.timbre()
        self._first = 0
        codebooks, device = codec.config.codebooks.items(), next(codec.parameters()).device
        self._none = {
            name: torch.zeros(1, min(count, num_codebooks or count), 0, dtype=torch.int64, device=device)
            for name, count in codebooks
        }

    def feed(self, samples: Tensor) -> dict[str, Tensor]:
        """Return stream → codes `(codebooks, frames)` that are final after `samples` `(samples,)`; often of no frames."""
        self._signal.add(samples)
        final = self._signal.stop // self._codec.config.hop_length - ENCODER_CONTEXT
        return self._up_to(final, least=self._size or 1)

    def finish(self) -> tuple[dict[str, Tensor], Tensor]:
        """Return the codes that were left, and the speaker vector `(1, channels)`."""
        codes = self._up_to(self._codec.num_frames(self._signal.stop), least=1)
        return codes, self._timbre.vector()

    def _up_to(self, final: int, *, least: int) -> dict[str, Tensor]:
        """Return the codes of the next frames before `final`, as long as there are `least` of them."""
        parts = [self._none]
        while final - self._first >= least:
            parts.append(self._window(min(self._first + (self._size or ENCODER_WINDOW), final)))
        return {name: torch.cat([part[name] for part in parts], dim=-1)[0] for name in self._none}

    def _window(self, stop: int) -> dict[str, Tensor]:
        """Return the codes of the frames before `stop`, and forget what came before them."""
        hop, first = self._codec.config.hop_length, self._first
        start = max(0, first - ENCODER_CONTEXT)
        piece = self._signal.read(hop * start, hop * (stop + ENCODER_CONTEXT))
        with exact(piece.device):
            latent = self._codec.encoder(piece[None])[:, first - start : stop - start]
        self._timbre.add(latent)
        self._signal.forget(hop * max(0, stop - ENCODER_CONTEXT))
        self._first = stop
        return self._codec.factors.encode(latent, None, self._num_codebooks)
