"""HuBERT and wav2vec 2.0: the convolutions that turn samples into frames.

Source: Baevski et al. 2020, wav2vec 2.0, arXiv:2006.11477, section 2; Hsu et al. 2021, HuBERT,
arXiv:2106.07447, section 3. Entry names as in `facebook/hubert-base-ls960` on the Hugging Face Hub.

Exact batching: the only step here that looks at a whole utterance is the group norm after the first
convolution. Its mean and variance are linear and quadratic forms of the covariance of the ten samples a frame
sees, so they are computed from each utterance's valid samples alone and folded into that convolution; what is
left has a finite reach and goes in blocks that fit a processor's cache.

Contents: `HubertSettings`, `ACTIVATIONS`, `Extractor`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechtok.nets.windows import plan_windows

EPS = 1e-5
"""Added to variances by the norms of the convolutions, and by all where nothing else is stated."""
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_tanh": partial(functional.gelu, approximate="tanh"),
    "relu": functional.relu,
}
"""Name → activation."""
_BLOCK_FRAMES = 50
"""Feature frames whose convolutions run in one pass on a CPU, so that their tensors stay in its cache."""


@dataclass(frozen=True, kw_only=True)
class HubertSettings:
    """Sizes of one network; the defaults are HuBERT base cut after layer 6."""

    num_layers: int = 6
    """Transformer layers that are run; features are the output of the last."""
    channels: int = 768
    """Channels of the transformer and of the features."""
    num_heads: int = 12
    """Attention heads."""
    hidden: int = 3072
    """Channels inside the feed-forward part."""
    conv_channels: int = 512
    """Channels of the convolutions."""
    kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    """Kernel sizes of the convolutions."""
    strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    """Their strides."""
    conv_bias: bool = False
    """Whether the convolutions have a bias."""
    layer_norm: bool = False
    """Layer norm after every convolution (the large models); otherwise group norm after the first only (base)."""
    norm_first: bool = False
    """Norms before each attention and feed-forward part (the large models); otherwise after each (base)."""
    epsilon: float = EPS
    """Added to variances by the norms behind the convolutions."""
    activation: str = "gelu"
    """Activation of the feed-forward parts, one of `ACTIVATIONS`."""
    conv_activation: str = "gelu"
    """Activation of all convolutions, one of `ACTIVATIONS`."""
    position_kernel: int = 128
    """Frames the positional convolution sees."""
    position_groups: int = 16
    """Its groups."""
    position_layers: int = 1
    """How many such convolutions follow each other."""
    position_norm: str = "weight"
    """"weight" (folded), "batch" (a batch norm before it), or "layer" (a layer norm without weights behind each)."""
    projection_norm: bool = True
    """Whether a layer norm goes before the projection to `channels`; DistilHuBERT has none."""
    buckets: int = 0
    """Buckets of distances of WavLM's gated relative positions; 0 for networks without."""
    max_distance: int = 0
    """Frames from which all distances share a bucket."""

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        hop = 1
        for stride in self.strides:
            hop *= stride
        return hop

    @property
    def min_samples(self) -> int:
        """Samples one frame sees."""
        reach = 1
        for kernel, stride in zip(reversed(self.kernels), reversed(self.strides), strict=True):
            reach = (reach - 1) * stride + kernel
        return reach


class _Conv(nn.Module):
    """One convolution block. Entries: `conv`, and `layer_norm` where there is a norm."""

    def __init__(self, index: int, settings: HubertSettings) -> None:
        super().__init__()
        s = settings
        in_channels = s.conv_channels if index else 1
        self.conv = nn.Conv1d(
            in_channels, s.conv_channels, s.kernels[index], s.strides[index], bias=s.conv_bias
        )
        if s.layer_norm:
            self.layer_norm: nn.LayerNorm | nn.GroupNorm = nn.LayerNorm(s.conv_channels, eps=EPS)
        elif index == 0:
            self.layer_norm = nn.GroupNorm(s.conv_channels, s.conv_channels, eps=EPS)


class Extractor(nn.Module):
    """Entries: `conv_layers.N`."""

    def __init__(self, settings: HubertSettings) -> None:
        super().__init__()
        self.settings = settings
        self.conv_layers: list[_Conv] = nn.ModuleList(  # type: ignore[assignment]
            _Conv(index, settings) for index in range(len(settings.kernels))
        )

    def forward(self, waveform: Tensor, num_samples: list[int], frames: int) -> Tensor:
        """Return `(batch, frames, conv_channels)`; frames an utterance does not have mean nothing."""
        hop, reach = self.settings.hop_length, self.settings.min_samples
        missing = max(0, (frames - 1) * hop + reach - waveform.shape[1])
        waveform = functional.pad(waveform, (0, missing))
        weight, bias = self._first(waveform, num_samples)
        block = _BLOCK_FRAMES if waveform.device.type == "cpu" else frames
        out = waveform.new_empty(waveform.shape[0], frames, self.settings.conv_channels)
        for window in plan_windows(frames, block, 0):
            samples = waveform[:, window.first * hop : (window.stop - 1) * hop + reach]
            out[:, window.first : window.stop] = self._convolve(samples, weight, bias).transpose(1, 2)
        return out

    def _convolve(self, samples: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return `(batch, conv_channels, frames)` with the first convolution's own weights per utterance."""
        activate = ACTIVATIONS[self.settings.conv_activation]
        for index, layer in enumerate(self.conv_layers):
            if index:
                samples = layer.conv(samples)
            elif weight.shape[0] > 1 and bias is not None:  # one set of weights per utterance
                frames = samples.unfold(1, weight.shape[-1], self.settings.strides[0]).transpose(1, 2)
                samples = torch.baddbmm(bias[:, :, None], weight[:, :, 0], frames)
            else:
                flat = None if bias is None else bias.flatten()
                samples = functional.conv1d(samples[:, None], weight[0], flat, self.settings.strides[0])
            if self.settings.layer_norm:
                samples = layer.layer_norm(samples.transpose(1, 2)).transpose(1, 2)
            samples = activate(samples)
        return samples

    def _first(self, waveform: Tensor, num_samples: list[int]) -> tuple[Tensor, Tensor | None]:
        """Return the first convolution with the group norm folded in.

        Returns:
            Weights `(batch or 1, conv_channels, 1, kernel)` and biases `(batch or 1, conv_channels)` or None.
        """
        first = self.conv_layers[0]
        weight = first.conv.weight
        if self.settings.layer_norm:
            return weight[None], None if first.conv.bias is None else first.conv.bias[None]
        rows, kernel = weight[:, 0].double(), weight.shape[-1]  # float64: a variance is a difference
        weights, biases = [], []
        for item, samples in zip(waveform, num_samples, strict=True):
            frames = item[:samples].double().unfold(0, kernel, self.settings.strides[0])
            mean = frames.mean(dim=0)
            frames = frames - mean
            covariance = frames.T @ frames / frames.shape[0]
            variance = ((rows @ covariance) * rows).sum(dim=1)
            scale = first.layer_norm.weight.double() / (variance + EPS).sqrt()
            weights.append((rows * scale[:, None])[:, None].to(weight.dtype))
            shift = first.layer_norm.bias.double() - rows @ mean * scale
            biases.append(shift.to(weight.dtype))
        return torch.stack(weights), torch.stack(biases)
