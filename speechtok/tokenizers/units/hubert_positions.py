"""The convolutions that tell HuBERT and its kin where a frame stands, of three kinds.

Source: Baevski et al. 2020, wav2vec 2.0, arXiv:2006.11477, section 2 (weight norm); Hassid et al. 2023, TWIST,
arXiv:2305.13009, section 3, whose HuBERT has a batch norm there instead; Baevski et al. 2022, data2vec,
arXiv:2202.03555, section 4 (several layers). Entry names as in `transformers`, with the weight norm folded.

Conventions: features are `(batch, frames, channels)`; `inside` `(batch, frames, 1)` is true for frames an utterance has,
or None when all have all. Frames outside are zero for each convolution, as they are where an utterance ends alone.

Contents: `PositionConv`, `PositionConvs`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechtok.tokenizers.units.hubert_extractor import ACTIVATIONS, EPS, HubertSettings


class PositionConv(nn.Module):
    """One convolution. Entries: `conv`, and `batch_norm` where one goes before it."""

    def __init__(self, settings: HubertSettings) -> None:
        super().__init__()
        self.activate = ACTIVATIONS[settings.conv_activation]
        self.conv = _convolution(settings)
        self.batch_norm = _BatchNorm(settings.channels) if settings.position_norm == "batch" else None

    def forward(self, x: Tensor, inside: Tensor | None) -> Tensor:
        """Return what is added to the features; frames outside mean nothing."""
        if self.batch_norm is not None:
            x = _zeroed(self.batch_norm(x), inside)
        return self.activate(_same_length(self.conv, x))


class PositionConvs(nn.Module):
    """Several convolutions, each with a layer norm without weights behind it. Entries: `layers.N.conv`."""

    def __init__(self, settings: HubertSettings) -> None:
        super().__init__()
        self.activate = ACTIVATIONS[settings.conv_activation]
        self.layers = nn.ModuleList(
            nn.ModuleDict({"conv": _convolution(settings)}) for _ in range(settings.position_layers)
        )

    def forward(self, x: Tensor, inside: Tensor | None) -> Tensor:
        """Return what is added to the features; frames outside mean nothing."""
        for index, layer in enumerate(self.layers):
            x = _same_length(layer["conv"], _zeroed(x, inside) if index else x)  # type: ignore[index]
            x = self.activate(functional.layer_norm(x, x.shape[-1:], eps=EPS))
        return x


class _BatchNorm(nn.Module):
    """The norm of each channel by stored statistics. Entries: `weight`, `bias`, `running_mean`, `running_var`."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight / (self.running_var + EPS).sqrt()
        return (x - self.running_mean) * scale + self.bias


def _convolution(settings: HubertSettings) -> nn.Conv1d:
    kernel, channels = settings.position_kernel, settings.channels
    return nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=settings.position_groups)


def _same_length(conv: nn.Module, x: Tensor) -> Tensor:
    """Return as many frames as there were; an even kernel gives one too many."""
    y: Tensor = conv(x.transpose(1, 2))
    return y[:, :, : x.shape[1]].transpose(1, 2)


def _zeroed(x: Tensor, inside: Tensor | None) -> Tensor:
    return x if inside is None else x * inside
