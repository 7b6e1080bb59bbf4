"""The log-mel spectrogram that prosody and timbre are read from.

Source: O'Shaughnessy 1987, Speech Communication (mel scale, as in HTK); values as in the released code,
`Plachtaa/FAcodec`: a periodic Hann window of 1200 samples in a Fourier transform of 2048 points, power,
80 triangles of height 1 from 0 to 12 kHz, m = (ln(1e-5 + mel) + 4) / 4. Window and filters are entries of the
checkpoint.

Conventions: frame t covers the window around sample `hop_length * t`, the ends of the signal are mirrored.

Contents: `LogMel`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechtok.nets.spectrum import power, spectra, stretch_of

FLOOR = 1e-5
"""Added to the power before the logarithm."""
MEAN, SCALE = -4.0, 4.0
"""Subtracted from the logarithm, then divided by."""


class LogMel(nn.Module):
    """Entries: `spectrogram.window` `(window_length,)`, `mel_scale.fb` `(fft_length / 2 + 1, num_mels)`."""

    def __init__(self, hop_length: int, fft_length: int, window_length: int, num_mels: int) -> None:
        super().__init__()
        self.hop_length, self.fft_length, self.window_length = hop_length, fft_length, window_length
        self.spectrogram = _Constant("window", torch.hann_window(window_length))
        self.mel_scale = _Constant("fb", torch.zeros(fft_length // 2 + 1, num_mels))

    def forward(
        self,
        waveform: Tensor,
        first: int = 0,
        stop: int | None = None,
        *,
        start: int = 0,
        is_end: bool = True,
    ) -> Tensor:
        """Return frames `first` to `stop`; all, `samples // hop_length`, unless told otherwise.

        Args:
            waveform: `(batch, samples)`, a stretch of the signal that holds every sample the frames see.
            first: first frame.
            stop: frame after the last.
            start: where in the signal the stretch starts.
            is_end: whether it reaches the end of the signal.

        Returns:
            `(batch, frames, num_mels)`.
        """
        size, hop = self.window_length, self.hop_length
        stop = waveform.shape[-1] // hop if stop is None else stop
        piece = stretch_of(
            waveform, first, stop, size=size, hop_length=hop, before=size // 2, start=start, is_end=is_end
        )
        spectrum = spectra(piece, self.spectrogram.value, hop, fft_length=self.fft_length)
        return ((power(spectrum) @ self.mel_scale.value.to(piece.dtype) + FLOOR).log() - MEAN) / SCALE


class _Constant(nn.Module):
    """Holds one tensor under a name."""

    def __init__(self, name: str, value: Tensor) -> None:
        super().__init__()
        self.register_buffer(name, value)
        self._name = name

    @property
    def value(self) -> Tensor:
        value: Tensor = getattr(self, self._name)
        return value
