"""FreqCodec's front end and synthesis: waveform ↔ log magnitude and phase of short-time spectra.

Source: Du et al. 2023, FunCodec, arXiv:2309.07405, section 3.3; repository `modelscope/FunCodec`,
`funcodec/models/codec_freq.py`.

Conventions: frames are centred, the ends reflected by half a window, spectra one-sided and not
normalised; F = 1 + floor(samples / hop_length) frames.

Contents: `Spectrum`, `analyse`, `synthesise`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechtok.nets.spectrum import centred, spectra

FLOOR = 1e-6
"""Least magnitude, before the logarithm and as a divisor."""


class Spectrum(nn.Module):
    """One side's transform. Entry `window`, the periodic Hann window as it was stored.

    Args:
        domain: "mag_phase" (log magnitude, and the unit phase vector's real and imaginary part) or
            "mag_angle" (log magnitude, angle).
        fft_length: points of the transform and samples of the window.
        hop_length: samples between spectra.
    """

    window: Tensor

    def __init__(self, domain: str, fft_length: int, hop_length: int) -> None:
        super().__init__()
        self.domain, self.hop_length = domain, hop_length
        self.register_buffer("window", torch.empty(fft_length))

    @property
    def bins(self) -> int:
        """Frequencies of a spectrum."""
        return len(self.window) // 2 + 1

    def analyse(self, waveform: Tensor) -> Tensor:
        """Return the network's input.

        Args:
            waveform: `(batch, samples)`, at least half a window and one sample.

        Returns:
            `(batch, channels, bins, frames)`, 3 channels for "mag_phase", 2 for "mag_angle".
        """
        exact = waveform.double()  # the phase of a quiet bin is lost in float32's rounding
        spectrum = spectra(centred(exact, len(self.window)), self.window, self.hop_length).transpose(1, 2)
        magnitude = spectrum.abs().clamp(min=FLOOR)
        if self.domain == "mag_angle":
            parts = [magnitude.log(), spectrum.angle()]
        else:
            parts = [magnitude.log(), spectrum.real / magnitude, spectrum.imag / magnitude]
        return torch.stack(parts, dim=1).to(waveform.dtype)

    def synthesise(self, features: Tensor) -> Tensor:
        """Return the waveform of the network's output.

        The magnitude is the softplus of channel 0; a "mag_phase" phase vector is used as it comes.

        Args:
            features: `(batch, channels, bins, frames)`.

        Returns:
            `(batch, hop_length * (frames - 1))`.
        """
        magnitude = functional.softplus(features[:, 0])
        if self.domain == "mag_angle":
            angle = math.pi * torch.sin(features[:, 1])
            spectrum = torch.polar(magnitude, angle)
        else:
            spectrum = torch.complex(magnitude * features[:, 1], magnitude * features[:, 2])
        waveform: Tensor = torch.istft(
            spectrum, len(self.window), self.hop_length, window=self.window, center=True
        )
        return waveform
