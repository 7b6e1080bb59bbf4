"""Latents of utterances: what lies between waveform and codes.

Contents: `Latents`.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Latents:
    """A batch of utterances before quantizing, as `SpeechTokenizer.encode_latents` returns it.

    `dataclasses.replace(latents, values=made)` gives what `decode_latents` makes other speech of.
    """

    values: Tensor
    """`(batch, channels, frames)`, float, zero past `num_frames`."""
    num_frames: Tensor
    """`(batch,)`, int64."""
    num_samples: Tensor
    """`(batch,)`, int64, samples of the audio at the tokenizer's rate."""
    speaker_embedding: Tensor | None = None
    """`(batch, channels)`, where the family speaks with a timbre."""
    scale: Tensor | None = None
    """`(batch,)`, the level that was divided out, where the family does."""
