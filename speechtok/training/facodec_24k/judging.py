"""What codec and redecoder have in common in training: how close the audio is, who judges it, and how fast they learn.

Source: `Plachtaa/FAcodec`.

Contents: `Judging`, `optimizer_of`, `schedule_of`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from speechtok.training.adversarial import adversarial_loss, discriminator_loss, feature_loss
from speechtok.training.facodec_24k.discriminator import Discriminator
from speechtok.training.facodec_24k.losses import MelLoss
from speechtok.training.facodec_24k.settings import JudgeSettings, LearningSettings
from speechtok.training.task import Batch, Networks, Turn

Loss = Callable[[Batch, Networks], tuple[Tensor, Mapping[str, Tensor]]]
"""What a turn minimises, see `Turn`."""


class Judging:
    """Discriminators and mel distance.

    Args:
        settings: sizes.
        sample_rate: Hz.
    """

    def __init__(self, settings: JudgeSettings, sample_rate: int) -> None:
        self.discriminators = Discriminator(
            settings.periods,
            settings.windows,
            period_channels=settings.period_channels,
            band_channels=settings.band_channels,
        )
        self.mel_loss = MelLoss(sample_rate)

    def of_judges(self, made: Tensor, real: Tensor, judges: nn.Module) -> Tensor:
        """Return what the discriminators minimise, for waveforms `(batch, samples)`."""
        return discriminator_loss(judges(made.detach()), judges(real))

    def of_made(
        self, made: Tensor, real: Tensor, judges: nn.Module | None, mel_weight: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what is minimised of the audio, and its terms; without discriminators the mel distance alone."""
        distance = self.mel_loss.to(made.device)(made, real)
        loss, shown = mel_weight * distance, {"mel distance": distance}
        if judges is not None:
            with torch.no_grad():
                of_real = judges(real)
            of_made = judges(made)
            adversarial, features = adversarial_loss(of_made), feature_loss(of_made, of_real)
            loss = loss + adversarial + features
            shown |= {"adversarial": adversarial, "feature distance": features}
        return loss, shown


def turns_of(name: str, of_judges: Loss, of_made: Loss, losses: LearningSettings) -> Sequence[Turn]:
    """Return what a step does: the discriminators learn, from `adversarial_from` on, then what makes audio.

    Args:
        name: optimizer of what makes audio; the other one is "discriminators".
        of_judges: what the discriminators minimise.
        of_made: what the other minimises.
        losses: when they begin, and where gradients are scaled down.
    """
    return (
        Turn(
            optimizer="discriminators",
            loss=of_judges,
            first_step=losses.adversarial_from,
            max_gradient_norm=losses.max_judge_gradient_norm,
        ),
        Turn(optimizer=name, loss=of_made, max_gradient_norm=losses.max_gradient_norm),
    )


def optimizer_of(networks: Mapping[str, nn.Module], losses: LearningSettings) -> Optimizer:
    """Return AdamW with a group for each network, whose gradients are clipped on their own."""
    return AdamW(
        [{"params": list(network.parameters()), "name": name} for name, network in networks.items()],
        lr=losses.learning_rate,
        betas=losses.betas,
        eps=losses.epsilon,
        weight_decay=losses.weight_decay,
    )


def schedule_of(optimizer: Optimizer, losses: LearningSettings) -> LRScheduler:
    """Return a warm-up, then exponential decay, step by step."""

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / losses.warmup_steps) if losses.warmup_steps else 1.0
        return float(warm * losses.decay**step)

    return LambdaLR(optimizer, factor)
