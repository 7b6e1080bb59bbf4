"""Speaker vectors: the x-vector network.

Source: Snyder et al. 2018, X-vectors, ICASSP, section 2; released weights `speechbrain/spkrec-xvect-voxceleb` on
the Hugging Face Hub, whose entry names are kept. The released pooling adds random noise to the mean at inference
too; none is added here.

Conventions: waveforms are `(batch, samples)` at 16 kHz; the vector is `(batch, 512)`, not of unit length.

Contents: `XVector`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechtok.nets.spectrum import power, spectra

_FFT, _HOP, _BANDS = 400, 160, 24
_FLOOR, _RANGE_DB = 1e-10, 80.0
_BLOCKS = ((24, 512, 5, 1), (512, 512, 3, 2), (512, 512, 3, 3), (512, 512, 1, 1), (512, 1500, 1, 1))
"""Input channels, output channels, kernel and dilation of each block."""


class _Conv(nn.Module):
    """Convolution that keeps the length by mirroring the ends. Entry: `conv`."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.reach = dilation * (kernel - 1) // 2
        self.conv = nn.Conv1d(in_channels, out_channels, kernel, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(functional.pad(x, (self.reach, self.reach), mode="reflect"))
        return out


class _Norm(nn.Module):
    """Entry: `norm`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x)
        return out


class _Pooling(nn.Module):
    """Mean and deviation over time, one after the other. No entries."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `(batch, 2 channels)` of `(batch, channels, frames)`."""
        return torch.cat([x.mean(dim=2), x.std(dim=2) + 1e-5], dim=1)


class _Linear(nn.Module):
    """Entry: `w`."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.w = nn.Linear(in_features, out_features)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.w(x)
        return out


class XVector(nn.Module):
    """Log-mel features, time-delay network, pooling, projection. Entries: `blocks.N`."""

    channels = 512
    min_samples = 1_280
    """Fewer samples leave fewer frames than the convolutions mirror."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for in_channels, out_channels, kernel, dilation in _BLOCKS:
            layers += [
                _Conv(in_channels, out_channels, kernel, dilation),
                nn.LeakyReLU(0.01),
                _Norm(out_channels),
            ]
        layers += [_Pooling(), _Linear(2 * _BLOCKS[-1][1], self.channels)]
        self.blocks = nn.Sequential(*layers)
        # kept in float64 and cast when used, so that they survive a network built on the meta device
        with torch.device("cpu"):
            self._window = torch.hamming_window(_FFT, dtype=torch.float64)
            self._bank = _mel_bank()

    def log_mel(self, waveform: Tensor) -> Tensor:
        """Return `(1, 24, frames)` mel energies in dB of one utterance, at most 80 dB below its loudest."""
        padded = functional.pad(waveform, (_FFT // 2, _FFT // 2))
        spectrum = spectra(padded, self._window.to(waveform.device), _HOP)
        energy = power(spectrum) @ self._bank.to(waveform.device, waveform.dtype)
        level = 10 * energy.clamp(min=_FLOOR).log10().transpose(1, 2)
        return torch.maximum(level, level.amax() - _RANGE_DB)

    def forward(self, waveform: Tensor, num_samples: Tensor) -> Tensor:
        """Return the speaker vector of each utterance as if it were alone.

        Args:
            waveform: `(batch, samples)`, peaks at 0.95; shorter utterances than `min_samples` are repeated.
            num_samples: `(batch,)`, int64, valid samples of each.

        Returns:
            `(batch, 512)`.
        """
        vectors = []
        for item, samples in zip(waveform, num_samples.tolist(), strict=True):
            own = item[:samples]
            if samples < self.min_samples:
                own = own.repeat(-(-self.min_samples // samples))[: self.min_samples]
            features = self.log_mel(own[None])
            vectors.append(self.blocks(features - features.mean(dim=2, keepdim=True)))
        return torch.cat(vectors)


def _mel_bank() -> Tensor:
    """Return triangles in Hz, both slopes as wide as the step to the band below: `(bins, bands)`, float64."""
    top = 2595 * torch.log10(torch.tensor(1 + 8000 / 700, dtype=torch.float64))
    mel = torch.linspace(0, float(top), _BANDS + 2, dtype=torch.float64)
    hz = 700 * (10 ** (mel / 2595) - 1)
    width, center = hz[1:-1] - hz[:-2], hz[1:-1]
    bins = torch.linspace(0, 8000, _FFT // 2 + 1, dtype=torch.float64)[:, None]
    slope = (bins - center) / width
    return torch.minimum(slope + 1, 1 - slope).clamp(min=0)
