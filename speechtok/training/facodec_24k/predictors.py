"""Networks that read F0, loudness, phones and speaker from the parts of speech, or must fail to.

Source: Ju et al. 2024, NaturalSpeech 3, arXiv:2403.03100, section 3.2.2 (information bottleneck, supervision, gradient
reversal); Ganin and Lempitsky 2015, arXiv:1409.7495 (reversal). Sizes and entry names as in `Plachtaa/FAcodec`.

Conventions: features are `(batch, frames, channels)`.

Contents: `Predictors`, `Predictions`, `reverse_gradient`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from speechtok.nets.anti_aliased import TAPS, AntiAliasedSnake, anti_aliased_snake
from speechtok.nets.residual import ResidualUnit
from speechtok.nets.weight_norm import WeightNormConv1d

DILATIONS = (1, 2, 3)
KERNEL_SIZE = 7


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What the predictors say. The names that begin with `rev_` stand behind a gradient reversal."""

    f0: Tensor
    """`(batch, frames)`, from prosody."""
    energy: Tensor
    """`(batch, frames)`, from prosody."""
    content: Tensor
    """`(batch, frames, num_phones)`, logits, from content."""
    speaker: Tensor
    """`(batch, num_speakers)`, logits, from the timbre vector."""
    rev_f0: Tensor
    """`(batch, frames)`, from the residual."""
    rev_energy: Tensor
    """`(batch, frames)`, from the residual."""
    rev_content: Tensor
    """`(batch, frames, num_phones)`, from the residual."""
    rev_speaker: Tensor
    """`(batch, num_speakers)`, from the sum of all parts."""


class Predictors(nn.Module):
    """The module `fa_predictors` of the published file, without two parts that are never called.

    Args:
        channels: of the features.
        num_phones: classes of content.
        num_speakers: classes of speakers.
        reversal: how strongly gradients are reversed.
    """

    def __init__(self, channels: int, num_phones: int, num_speakers: int, *, reversal: float = 1.0) -> None:
        super().__init__()
        self.f0_predictor = _Head(channels, (1, 1))
        self.phone_predictor = _Head(channels, (num_phones,))
        self.timbre_predictor = nn.Linear(channels, num_speakers)
        self.rev_f0_predictor = _reversed(_Head(channels, (1, 1)), reversal)
        self.rev_content_predictor = _reversed(_Head(channels, (num_phones,)), reversal)
        self.rev_timbre_predictor = _reversed(_Head(channels, (num_speakers,), mean=True), reversal)

    def forward(self, prosody: Tensor, content: Tensor, residual: Tensor, speaker: Tensor) -> Predictions:
        """Return all predictions.

        Args:
            prosody: `(batch, frames, channels)`, quantized.
            content: likewise.
            residual: likewise.
            speaker: `(batch, channels)`.
        """
        f0, energy = self.f0_predictor(prosody)
        (phones,) = self.phone_predictor(content)
        rev_f0, rev_energy = self.rev_f0_predictor(residual)
        (rev_phones,) = self.rev_content_predictor(residual)
        (rev_speaker,) = self.rev_timbre_predictor(prosody + content + residual)
        return Predictions(
            f0=f0[..., 0],
            energy=energy[..., 0],
            content=phones,
            speaker=self.timbre_predictor(speaker),
            rev_f0=rev_f0[..., 0],
            rev_energy=rev_energy[..., 0],
            rev_content=rev_phones,
            rev_speaker=rev_speaker,
        )


class _Head(nn.Module):
    """Convolutions, then linear layers. Entries: `model.N`, `heads.N`."""

    def __init__(self, channels: int, sizes: tuple[int, ...], *, mean: bool = False) -> None:
        super().__init__()
        self.mean = mean
        self.model = nn.Sequential(
            *(_residual_unit(channels, dilation) for dilation in DILATIONS), _TrainedSnake(channels)
        )
        self.heads = nn.ModuleList(nn.Linear(channels, size) for size in sizes)

    def forward(self, features: Tensor) -> list[Tensor]:
        x = self.model(features)
        x = x.mean(dim=1) if self.mean else x
        return [head(x) for head in self.heads]


class _TrainedSnake(AntiAliasedSnake):
    """The activation with its constants computed at each call, so that they can be learned."""

    def forward(self, x: Tensor, num_valid: Tensor | None = None) -> Tensor:
        gain = (self.act.beta.exp() + 1e-9).reciprocal()
        up, down = self.upsample.filter.view(TAPS), self.downsample.lowpass.filter.view(TAPS)
        return anti_aliased_snake(x, self.act.alpha.exp(), gain, up, down, num_valid)


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradient, None


def reverse_gradient(x: Tensor, strength: float = 1.0) -> Tensor:
    """Return `x`, whose gradient arrives with the other sign, `strength` times as large."""
    reversed_: Tensor = _Reversal.apply(x, strength)  # type: ignore[no-untyped-call]
    return reversed_


class _GradientReversal(nn.Module):
    def __init__(self, strength: float) -> None:
        super().__init__()
        self.strength = strength

    def forward(self, x: Tensor) -> Tensor:
        return reverse_gradient(x, self.strength)


def _reversed(head: _Head, strength: float) -> nn.Sequential:
    """Return a head behind a reversal; its entries begin with `1.`."""
    return nn.Sequential(_GradientReversal(strength), head)


def _residual_unit(channels: int, dilation: int) -> ResidualUnit:
    padding = (KERNEL_SIZE - 1) // 2 * dilation
    return ResidualUnit(
        _TrainedSnake(channels),
        WeightNormConv1d(channels, channels, KERNEL_SIZE, padding=padding, dilation=dilation),
        _TrainedSnake(channels),
        WeightNormConv1d(channels, channels, 1),
    )
