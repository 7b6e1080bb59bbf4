"""What training FAcodec minimises, one function per term.

Sources: Kumar et al. 2023, arXiv:2306.06546, section 3.5 (mel spectra at seven scales, feature matching); Lin et al.
2017, Focal Loss, arXiv:1708.02002, equation 4. Values as in `Plachtaa/FAcodec`.

Conventions: waveforms are `(batch, samples)`; verdicts are what `discriminator.Discriminator` returns.

Contents: `MelLoss`, `stft_distance`, `discriminator_loss`, `adversarial_loss`, `feature_loss`, `focal_loss`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechtok.nets.mel import slaney_filters
from speechtok.nets.spectrum import centred, spectra
from speechtok.training.adversarial import adversarial_loss, discriminator_loss, feature_loss

__all__ = [
    "MelLoss",
    "adversarial_loss",
    "discriminator_loss",
    "feature_loss",
    "focal_loss",
    "stft_distance",
]

SCALES = {32: 5, 64: 10, 128: 20, 256: 40, 512: 80, 1024: 160, 2048: 320}
"""Samples of a window → mel bands."""
FLOOR = 1e-5
"""Magnitudes below this count as this."""
FOCUS = 2
"""Exponent of the focal loss."""
_STFT_WINDOWS = (2048, 512)


class MelLoss(nn.Module):
    """Mean difference of log mel magnitudes, summed over scales; has no weights of its own.

    Some of the narrow filters of short windows lie between two bins and are empty; they add nothing.
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
            self.register_buffer(f"filters_{window}", filters, persistent=False)

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """Return the sum over scales, for two waveforms of equal shape."""
        return torch.stack(self.per_scale(made, real)).sum()

    def per_scale(self, made: Tensor, real: Tensor) -> list[Tensor]:
        """Return the mean absolute difference at each scale."""
        return [functional.l1_loss(self._log_mel(made, w), self._log_mel(real, w)) for w in SCALES]

    def _log_mel(self, waveform: Tensor, window: int) -> Tensor:
        filters: Tensor = getattr(self, f"filters_{window}")
        mel = _magnitude(waveform, window) @ filters.to(waveform.dtype)
        return mel.clamp(min=FLOOR).log10()


def stft_distance(made: Tensor, real: Tensor) -> Tensor:
    """Return the distance of two spectra that the released training shows and does not minimise."""
    total = made.new_zeros(())
    for window in _STFT_WINDOWS:
        first, second = _magnitude(made, window), _magnitude(real, window)
        total = total + functional.l1_loss(first, second)
        first, second = (m.clamp(min=FLOOR).square().log10() for m in (first, second))
        total = total + functional.l1_loss(first, second)
    return total


def focal_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Return (1 − e^−L)² · L of the mean cross entropy L, as the released code does: not frame by frame.

    Args:
        logits: `(batch, frames, classes)`.
        classes: `(batch, frames)`, int64.
    """
    entropy = functional.cross_entropy(logits.transpose(1, 2), classes)
    return (1 - torch.exp(-entropy)) ** FOCUS * entropy


def _magnitude(waveform: Tensor, window: int) -> Tensor:
    """Return `(batch, frames, bins)`."""
    hann = torch.hann_window(window, dtype=torch.float64, device=waveform.device)
    return spectra(centred(waveform, window), hann, window // 4).abs()
