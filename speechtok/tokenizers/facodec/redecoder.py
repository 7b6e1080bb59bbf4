"""The voice converter of FACodec version 1: stored codes spoken with another timbre.

Source: NaturalSpeech 3, arXiv:2403.03100, appendix on FACodec (zero-shot voice conversion); released
code `open-mmlab/Amphion`, `models/codec/ns3_codec/facodec.py`, whose embedding and inference steps
this follows. The one-call `forward` of the released class lacks a transpose and is not imitated.

Contents: `Redecoder`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from speechtok.nets.vector_quantizer import Table
from speechtok.tokenizers.facodec.config import FacodecConfig
from speechtok.tokenizers.facodec.factors import STREAMS, global_transformer
from speechtok.tokenizers.facodec.network import Generator


class Redecoder(Generator):
    """A generator with embedding tables of its own and a prosody encoder that knows the target voice.

    Entries: `prosody_embs.N`, `content_embs.N`, `residual_embs.N`, `timbre_cond_prosody_enc`, and those
    of `Generator`.
    """

    def __init__(self, config: FacodecConfig) -> None:
        super().__init__(config.latent_channels, config.redecoder_channels, config.strides[::-1])
        size, channels = config.codebook_size, config.latent_channels
        for name, count in config.codebooks.items():
            tables = nn.ModuleList(Table(size, channels) for _ in range(count))
            self.add_module(f"{name}_embs", tables)
        self.timbre_cond_prosody_enc = global_transformer(config, styled=True)

    def prosody(self, codes: Tensor, speaker: Tensor) -> Tensor:
        """Return the prosody part of the embedding; it depends on the whole utterance.

        Args:
            codes: `(1, codebooks, frames)`, prosody codes of one utterance.
            speaker: `(1, channels)`, the target's vector.

        Returns:
            `(1, frames, channels)`.
        """
        features: Tensor = self.timbre_cond_prosody_enc(self.look_up({"prosody": codes}), style=speaker)
        return features

    def look_up(self, codes: Mapping[str, Tensor]) -> Tensor:
        """Return the sum of the codes' table rows.

        Args:
            codes: stream → `(batch, codebooks, frames)`.

        Returns:
            `(batch, frames, channels)`.
        """
        rows = [
            table(level)
            for name in STREAMS
            if name in codes
            for level, table in zip(codes[name].unbind(1), getattr(self, f"{name}_embs"), strict=False)
        ]
        return torch.stack(rows).sum(dim=0)
