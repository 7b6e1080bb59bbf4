"""What training the spectral codec minimises besides being told apart.

Sources: Kumar et al. 2023, arXiv:2306.06546, section 3.5 (log mel magnitudes at several scales); Yamamoto et al. 2020, Parallel
WaveGAN, arXiv:1910.11480, section 2.2 (log magnitudes); Braun and Tashev 2020, arXiv:2008.06412, section 3 (compressed complex
spectra, exponent 0.3); Taal et al. 2011, doi:10.1109/TASL.2011.2114881, section II (band envelopes over 384 ms). The
weights, and mel magnitudes with the same compression, are choices of ours.

Conventions: waveforms are `(batch, samples)`.

Contents: `SpectralDistance`, `EnvelopeDistance`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechtok.nets.mel import slaney_filters
from speechtok.nets.spectrum import centred, magnitude, spectra
from speechtok.training.processes import mean_of_all

SCALES = {256: 40, 512: 80, 1024: 80, 2048: 120}
"""Samples of a window → mel bands."""
COMPLEX = 512
"""The scale at which spectra are compared with their phases."""
MAGNITUDE_WEIGHT, COMPRESSED_WEIGHT, COMPLEX_WEIGHT = 0.4, 2.0, 0.5
COMPRESSION = 0.3
_MEL_FLOOR, _MAGNITUDE_FLOOR, _COMPRESSED_FLOOR, _POWER_FLOOR = 1e-5, 1e-3, 1e-6, 1e-9


class SpectralDistance(nn.Module):
    """How far spectra are apart, summed over scales; has no weights of its own.

    Args:
        sample_rate: Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        for window, bands in SCALES.items():
            filters = slaney_filters(
                bands,
                fft_length=window,
                sample_rate=sample_rate,
                min_hz=0.0,
                max_hz=sample_rate / 2,
                equal_area=True,
            )
            self.register_buffer(f"filters_{window}", filters.float(), persistent=False)
            self.register_buffer(f"hann_{window}", torch.hann_window(window), persistent=False)

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """Return the distance of two batches of equal shape."""
        return torch.stack([self._at(made, real, window) for window in SCALES]).sum()

    def _at(self, made: Tensor, real: Tensor, window: int) -> Tensor:
        hann: Tensor = getattr(self, f"hann_{window}")
        filters: Tensor = getattr(self, f"filters_{window}").to(made.dtype)
        of_made, of_real = (spectra(centred(item, window), hann, window // 4) for item in (made, real))
        loud, true = (magnitude(item, added=_POWER_FLOOR) for item in (of_made, of_real))
        mel, true_mel = loud @ filters, true @ filters
        distance = functional.l1_loss(mel.clamp(min=_MEL_FLOOR).log(), true_mel.clamp(min=_MEL_FLOOR).log())
        logs = functional.l1_loss((loud + _MAGNITUDE_FLOOR).log(), (true + _MAGNITUDE_FLOOR).log())
        soft, true_soft = ((item + _COMPRESSED_FLOOR) ** COMPRESSION for item in (mel, true_mel))
        compressed = (soft - true_soft).abs().mean() / mean_of_all(true_soft.mean())
        distance = distance + MAGNITUDE_WEIGHT * logs + COMPRESSED_WEIGHT * compressed
        if window == COMPLEX:
            apart = torch.view_as_real(
                of_made * loud ** (COMPRESSION - 1) - of_real * true ** (COMPRESSION - 1)
            )
            level = mean_of_all((true**COMPRESSION).mean())
            distance = distance + COMPLEX_WEIGHT * 2 * apart.abs().mean() / level
        return distance


class EnvelopeDistance(nn.Module):
    """1 − the correlation of the envelopes of third-octave bands over 384 ms, where there is speech.

    Args:
        sample_rate: Hz; 16 kHz or more.
    """

    bands: Tensor
    hann: Tensor
    _FFT, _BANDS, _LOWEST_HZ, _FRAMES, _STEP, _SILENT = 512, 15, 150.0, 30, 5, 1e-2

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self.hop, window = round(0.0128 * sample_rate), round(0.0256 * sample_rate)
        centres = self._LOWEST_HZ * 2 ** (torch.arange(self._BANDS) / 3)
        hz = torch.linspace(0, sample_rate / 2, self._FFT // 2 + 1)[:, None]
        inside = (hz >= centres * 2 ** (-1 / 6)) & (hz < centres * 2 ** (1 / 6))
        self.register_buffer("bands", inside.float(), persistent=False)
        self.register_buffer("hann", torch.hann_window(window), persistent=False)

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """Return the mean over bands and stretches of two batches of equal shape; 0 where all is silent."""
        ours, true = (self._envelopes(item) for item in (made, real))
        ours, true = ours - ours.mean(dim=-1, keepdim=True), true - true.mean(dim=-1, keepdim=True)
        level = true.norm(dim=-1)
        alike = (ours * true).sum(dim=-1) / (ours.norm(dim=-1) * level + 1e-6)
        heard = (level > self._SILENT).to(made.dtype)
        distance: Tensor = ((1 - alike) * heard).sum() / mean_of_all(heard.sum()).clamp(min=1)
        return distance

    def _envelopes(self, waveform: Tensor) -> Tensor:
        """Return `(batch, stretches, bands, frames)`."""
        spectrum = spectra(waveform, self.hann, self.hop, fft_length=self._FFT)
        power = (spectrum.real.square() + spectrum.imag.square()) @ self.bands.to(waveform.dtype)
        return (power + 1e-8).sqrt().unfold(1, self._FRAMES, self._STEP)
