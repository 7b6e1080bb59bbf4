"""Short-time spectra: what mel features and spectral distances start from.

Conventions: waveforms are `(..., samples)`; spectra are `(..., frames, bins)`, one-sided and not normalised.

Contents: `spectra`, `power`, `magnitude`, `centred`, `stretch_of`, `log_mel`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def spectra(waveform: Tensor, window: Tensor, hop_length: int, *, fft_length: int | None = None) -> Tensor:
    """Return the Fourier transform of every window that lies wholly in a waveform.

    Args:
        waveform: `(..., samples)`, at least a window.
        window: `(window,)`, any float type.
        hop_length: samples from one window to the next.
        fft_length: points of the transform, with zeros behind the window; None has as many as the window.

    Returns:
        `(..., frames, bins)`, complex.
    """
    frames = waveform.unfold(-1, len(window), hop_length) * window.to(waveform.dtype)
    spectrum: Tensor = torch.fft.rfft(frames, n=fft_length)
    return spectrum


def power(spectrum: Tensor) -> Tensor:
    """Return the squared absolute value of complex numbers."""
    return spectrum.real.square() + spectrum.imag.square()


def magnitude(spectrum: Tensor, *, added: float = 0.0) -> Tensor:
    """Return the absolute value of complex numbers, about three times as fast as `abs`.

    Args:
        spectrum: any shape, complex. Squares must neither overflow nor matter when they vanish.
        added: to the power, so that the root has a gradient at 0.
    """
    squared = power(spectrum)
    return (squared.add_(added) if added else squared).sqrt_()


def centred(waveform: Tensor, size: int) -> Tensor:
    """Return `(batch, samples)` with its ends mirrored, so that the windows of `size` begin half of it before sample 0."""
    return functional.pad(waveform, (size // 2, size // 2), mode="reflect")


def stretch_of(
    waveform: Tensor,
    first: int,
    stop: int,
    *,
    size: int,
    hop_length: int,
    before: int,
    start: int = 0,
    is_end: bool = True,
) -> Tensor:
    """Return the samples that frames `first` to `stop` see, the ends of the signal mirrored.

    Frame t begins `before` samples ahead of sample `hop_length * t`.

    Args:
        waveform: `(batch, samples)`, a stretch of the signal that holds every sample the frames see.
        first: first frame.
        stop: frame after the last.
        size: samples that a frame sees.
        hop_length: samples from one frame to the next.
        before: see above.
        start: where in the signal the stretch starts.
        is_end: whether it reaches the end of the signal.

    Returns:
        `(batch, samples)`, in which the whole windows of `size` are the frames.
    """
    samples = waveform.shape[-1]
    begin = hop_length * first - before - start
    end = hop_length * (stop - 1) - before + size - start
    after = max(0, end - samples) if is_end else 0
    if begin >= 0 and not after:
        return waveform[:, begin:end]
    # mirror more than the frames need, since the mirrored part must lie within the stretch
    padded = functional.pad(waveform, (max(0, -begin), after), mode="reflect")
    return padded[:, max(0, begin) : max(0, begin) + end - begin]


def log_mel(waveform: Tensor, window: Tensor, filters: Tensor, hop_length: int) -> Tensor:
    """Return natural logarithms of mel magnitudes, of at least 1e-5; magnitudes are sqrt(power + 1e-9).

    Source: Kong et al. 2020, HiFi-GAN, arXiv:2010.05646, section 2.4, as released.

    Args:
        waveform: `(..., samples)`.
        window: `(window,)`.
        filters: `(bins, channels)`, any float type.
        hop_length: samples from one frame to the next.

    Returns:
        `(..., frames, channels)`.
    """
    magnitudes = magnitude(spectra(waveform, window, hop_length), added=1e-9)
    return (magnitudes @ filters.to(waveform.dtype)).clamp(min=1e-5).log()
