"""FunCodec with semantic augmentation: the decoder reads phone labels beside the codes.

Source: repository `modelscope/FunCodec`, `funcodec/models/codec_semantic_aug.py` (mode "concat").

Conventions: labels are `(1, labels)`, int64, evenly spaced, `per_frame` of them to a code frame. Encoding does not
depend on them.

Contents: `SemanticCodec`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechtok.nets.vector_quantizer import Table
from speechtok.tokenizers.funcodec.codec import Codec
from speechtok.tokenizers.funcodec.config import FuncodecConfig
from speechtok.tokenizers.funcodec.convolutions import Conv
from speechtok.tokenizers.funcodec.layers import Elu


class SemanticCodec(Codec):
    """A codec whose decoder is conditioned on phones. Entries beside the codec's: `ppg_embedding`, `ppg_ds_layer`, `ppg_cond_layer`.

    Args:
        config: architecture, with `phones`.
    """

    def __init__(self, config: FuncodecConfig) -> None:
        super().__init__(config)
        assert config.phones is not None  # noqa: S101 - chosen by it
        channels, ratio = config.encoder.dimension, config.phones.per_frame
        self.ppg_embedding = Table(config.phones.num_phones, channels)
        self.ppg_ds_layer = nn.ModuleList(
            [
                Conv(channels, channels, [7]),
                Elu(),
                Conv(channels, channels, [2 * ratio], stride=[ratio], num_groups=0),
            ]
        )
        self.ppg_cond_layer = nn.ModuleList([Conv(2 * channels, channels, [3], num_groups=0)])

    @torch.no_grad()
    def decode_with_phones(
        self,
        codes: Tensor,
        num_frames: Tensor,
        phones: Sequence[Tensor],
        num_samples: Sequence[int],
        scale: Tensor | None = None,
    ) -> list[Tensor]:
        """Return the waveform of each item.

        Args:
            codes: `(batch, codebooks, frames)`.
            num_frames: `(batch,)`, int64, at least 1.
            phones: labels `(1, labels)` of each item.
            num_samples: length of each item.
            scale: `(batch,)` levels to restore; None leaves about unit level.
        """
        latents = [
            self.condition(latent, labels, length)
            for latent, labels, length in zip(
                self.latents(codes, num_frames), phones, num_samples, strict=True
            )
        ]
        return self.generate(latents, scale)

    def condition(self, latent: Tensor, phones: Tensor, num_samples: int) -> Tensor:
        """Return the decoder's input `(1, channels, frames)`.

        Labels come down to the rate of the codes, of which whole frames of audio are kept (one at least); the
        last of them stands for the rest.

        Args:
            latent: `(1, channels, frames)`, quantized.
            phones: `(1, labels)`.
            num_samples: length of the utterance.
        """
        x = self.ppg_embedding(phones).transpose(1, 2)  # (1, channels, labels)
        for layer in self.ppg_ds_layer:
            x, _ = layer(x)
        x = x[..., : max(1, num_samples // self.config.hop_length)]
        frames = latent.shape[-1]
        x = functional.pad(x, (0, max(0, frames - x.shape[-1])), mode="replicate")[..., :frames]
        joined = torch.cat([x, latent], dim=1)  # (1, 2 * channels, frames)
        for layer in self.ppg_cond_layer:
            joined, _ = layer(joined)
        return joined
