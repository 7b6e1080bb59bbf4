"""The spectrum whose distance the unit vocoder minimises.

Source: Kong et al. 2020, HiFi-GAN, arXiv:2010.05646, section 2.4; values as in `facebookresearch/speech-resynthesis`.

Contents: `LogMel`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechtok.nets.mel import slaney_filters
from speechtok.nets.spectrum import log_mel

WINDOW, HOP, BANDS = 1024, 256, 80
"""Samples, samples, and filters up to half the rate."""


class LogMel(nn.Module):
    """Natural logarithms of mel magnitudes; has no weights of its own."""

    filters: Tensor
    hann: Tensor

    def __init__(self, sample_rate: int = 16_000) -> None:
        super().__init__()
        filters = slaney_filters(
            BANDS,
            fft_length=WINDOW,
            sample_rate=sample_rate,
            min_hz=0.0,
            max_hz=sample_rate / 2,
            equal_area=True,
        )
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("hann", torch.hann_window(WINDOW, dtype=torch.float64), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Return `(batch, samples / 256, bands)` of `(batch, samples)`."""
        x = functional.pad(waveform, ((WINDOW - HOP) // 2,) * 2, mode="reflect")
        return log_mel(x, self.hann, self.filters, HOP)
