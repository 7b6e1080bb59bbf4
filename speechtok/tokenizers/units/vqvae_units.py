"""Content units of an encoder that was trained together with a vocoder.

Source: Polyak et al. 2021, arXiv:2104.00355, section 2.1 (the VQ-VAE of its comparison).

Contents: `VqVaeUnits`.
"""

from __future__ import annotations

from torch import Tensor, nn

from speechtok.audio.pitch import PEAK
from speechtok.tokenizers.units.jukebox import Codebook, VqEncoder, VqVaeSettings


class VqVaeUnits(nn.Module):
    """Raw audio straight to units. Entries: `code_encoder`, `code_vq`."""

    def __init__(self, settings: VqVaeSettings) -> None:
        super().__init__()
        self.settings = settings
        self.code_encoder = VqEncoder(settings)
        self.code_vq = Codebook(settings)

    @property
    def hop_length(self) -> int:
        """Samples per unit."""
        return self.settings.hop_length

    @property
    def min_samples(self) -> int:
        """Samples of one unit."""
        return self.hop_length

    @property
    def channels(self) -> int:
        """Channels of a unit's vector."""
        return self.settings.channels

    def num_frames(self, num_samples: int) -> int:
        """Return `floor(num_samples / hop_length)`."""
        return num_samples // self.hop_length

    def forward(self, waveform: Tensor, num_samples: Tensor) -> Tensor:
        """Return units `(batch, frames)` of `(batch, samples)`, each utterance first brought to a peak of 0.95."""
        rows = []
        for item, samples in zip(waveform, num_samples.tolist(), strict=True):
            own = item[:samples]
            peak = own.abs().max()
            own = own * (PEAK / peak) if float(peak) > 0 else own
            rows.append(self.code_vq.encode(self.code_encoder(own[None, None]))[0])
        return nn.utils.rnn.pad_sequence(rows, batch_first=True)
