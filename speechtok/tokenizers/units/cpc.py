"""Features of contrastive predictive coding (the modified CPC of Libri-Light).

Source: Rivière et al. 2020, arXiv:2002.02848, section 3; van den Oord et al. 2018, CPC, arXiv:1807.03748. Entry
names of the published `cpc_big_ll6kh_top_ctc.pt`; the rule for long audio is that of the released GSLM reader
(`facebookresearch/fairseq`, `examples/textless_nlp/gslm/speech2unit/pretrained`), which made the published units.

Conventions: waveforms are `(batch, samples)` at 16 kHz; features are `(batch, frames, channels)`, one frame per
160 samples.

Contents: `CpcSettings`, `Cpc`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

_LAYERS = ((10, 5, 3), (8, 4, 2), (4, 2, 1), (4, 2, 1), (4, 2, 1))
"""Kernel, stride and padding of the convolutions."""


@dataclass(frozen=True, kw_only=True)
class CpcSettings:
    """Sizes of one network."""

    channels: int = 256
    """Channels of the convolutions."""
    hidden: int = 256
    """Channels of the LSTM and of the features."""
    num_layers: int = 2
    """LSTM layers that are run; features are the output of the last."""
    chunk_samples: int = 64_000
    """Samples after which the published reader starts afresh."""


class _ChannelNorm(nn.Module):
    """Zero mean and unit (unbiased) variance over channels at each time. Entries: `weight`, `bias`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, channels, 1))
        self.bias = nn.Parameter(torch.zeros(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, dim=1, keepdim=True)
        return (x - mean) * torch.rsqrt(variance + 1e-5) * self.weight + self.bias


class _Encoder(nn.Module):
    """Entries: `convN`, `batchNormN`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        for index, (kernel, stride, padding) in enumerate(_LAYERS):
            conv = nn.Conv1d(channels if index else 1, channels, kernel, stride, padding)
            self.add_module(f"conv{index}", conv)
            self.add_module(f"batchNorm{index}", _ChannelNorm(channels))

    def forward(self, waveform: Tensor) -> Tensor:
        x = waveform[:, None]
        for index in range(len(_LAYERS)):
            x = functional.relu(
                self.get_submodule(f"batchNorm{index}")(self.get_submodule(f"conv{index}")(x))
            )
        return x


class _Context(nn.Module):
    """Entry: `baseNet`."""

    def __init__(self, settings: CpcSettings) -> None:
        super().__init__()
        self.baseNet = nn.LSTM(settings.channels, settings.hidden, settings.num_layers, batch_first=True)


class Cpc(nn.Module):
    """The convolutions and the LSTM up to the layer that is read. Entries: `gEncoder`, `gAR`."""

    hop_length = 160
    min_samples = 400
    """Fewer samples leave a convolution without its kernel's width."""

    def __init__(self, settings: CpcSettings) -> None:
        super().__init__()
        self.settings = settings
        self.gEncoder = _Encoder(settings.channels)
        self.gAR = _Context(settings)

    @property
    def channels(self) -> int:
        """Channels of the features."""
        return self.settings.hidden

    def num_frames(self, num_samples: int) -> int:
        """Return the frames that `num_samples` samples give, piece by piece."""
        chunk = self.settings.chunk_samples
        whole, rest = divmod(num_samples, chunk)
        if not whole:
            return _frames(num_samples)
        return whole * _frames(chunk) + (_tail_frames(num_samples, rest) if rest else 0)

    def forward(self, waveform: Tensor, num_samples: Tensor) -> Tensor:
        """Return the features of each utterance as if it were alone.

        Audio longer than `chunk_samples` goes in whole chunks, each with a fresh LSTM; what remains after them is
        taken from the end of a pass over the entire utterance, as the published units were made.

        Args:
            waveform: `(batch, samples)`.
            num_samples: `(batch,)`, int64, valid samples of each.

        Returns:
            `(batch, frames, channels)`, zero past an utterance's `num_frames`.
        """
        items = [
            self._one(item[None, :samples])[0]
            for item, samples in zip(waveform, num_samples.tolist(), strict=True)
        ]
        return nn.utils.rnn.pad_sequence(items, batch_first=True)

    def _one(self, waveform: Tensor) -> Tensor:
        samples, chunk = waveform.shape[1], self.settings.chunk_samples
        whole, rest = divmod(samples, chunk)
        if not whole:
            return self._pass(waveform)
        kept = [self._pass(waveform[:, i * chunk : (i + 1) * chunk]) for i in range(whole)]
        if rest and (tail := _tail_frames(samples, rest)):
            kept.append(self._pass(waveform)[:, -tail:])
        return torch.cat(kept, dim=1)

    def _pass(self, waveform: Tensor) -> Tensor:
        """Return `(1, frames, channels)` of one stretch of audio, from a fresh state."""
        features: Tensor = self.gAR.baseNet(self.gEncoder(waveform).transpose(1, 2))[0]
        return features


def _frames(samples: int) -> int:
    for kernel, stride, padding in _LAYERS:
        samples = (samples + 2 * padding - kernel) // stride + 1
    return samples


def _tail_frames(samples: int, rest: int) -> int:
    """Return the frames kept of the last, partial chunk."""
    return rest // (samples // _frames(samples))
