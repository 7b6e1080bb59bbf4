"""Training the spectral codec, as the loop sees it.

Contents: `SpectralTask`, `learning_rate_factor`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from speechtok.tokenizers.spectral.writing import write_codec
from speechtok.training.adversarial import adversarial_loss, discriminator_loss, feature_loss
from speechtok.training.spectral.examples import SegmentExamples
from speechtok.training.spectral.losses import EnvelopeDistance, SpectralDistance
from speechtok.training.spectral.networks import Made, TrainedCodec
from speechtok.training.spectral.settings import LossSettings, SpectralSettings
from speechtok.training.spectral.validation import validate
from speechtok.training.task import Batch, Examples, Networks, Turn, Validation

MODEL = "model"
"""Folder of the tokenizer, inside the run's."""
_RISING_STEPS = 500
"""Steps in which the weight of the discriminators rises evenly, once they have joined."""
_DECISIVE = ("segment_frames", "train_split", "dev_split", "held_out", "gain_db", "speed")
"""Fields of `DataSettings` that change what is learnt."""


class SpectralTask:
    """A codec and its discriminators; see `Task`.

    Args:
        folder: of the run.
        codec: the networks that become the tokenizer.
        discriminators: of spectrograms, whose feature maps end with a verdict.
        examples: what is trained on.
        dev: what is held back for validation.
        looked_at: utterances of it that are looked at.
        settings: of the run.
        identity: plain values that decide what is learnt, besides the settings.
    """

    def __init__(
        self,
        folder: Path,
        codec: TrainedCodec,
        discriminators: nn.Module,
        examples: SegmentExamples,
        dev: SegmentExamples,
        *,
        looked_at: Sequence[int],
        settings: SpectralSettings,
        identity: Mapping[str, Any],
    ) -> None:
        losses = settings.losses
        self.folder, self.dev, self.looked_at, self.settings = folder, dev, looked_at, settings
        self.examples: Examples = examples
        self.average = copy.deepcopy(codec).requires_grad_(False)
        self.networks: dict[str, nn.Module] = {
            "codec": codec,
            "discriminators": discriminators,
            "average": self.average,
        }
        self._followed = -1
        self.spectra = SpectralDistance(settings.codec.sample_rate)
        self.envelopes = EnvelopeDistance(settings.codec.sample_rate)
        rates = {"discriminators": losses.judge_rate * losses.learning_rate, "codec": losses.learning_rate}
        self.optimizers: dict[str, Optimizer] = {
            name: AdamW(
                self.networks[name].parameters(),
                lr=rate,
                betas=losses.betas,
                weight_decay=losses.weight_decay,
            )
            for name, rate in rates.items()
        }
        steps = settings.loop.steps
        self.schedules: dict[str, LRScheduler] = {
            name: LambdaLR(optimizer, lambda step: learning_rate_factor(step, steps, losses))
            for name, optimizer in self.optimizers.items()
        }
        self.schedule_steps = 1
        most = losses.max_gradient_norm
        self.turns: Sequence[Turn] = (
            Turn(
                optimizer="discriminators",
                loss=self._judges_loss,
                first_step=losses.adversarial_from,
                max_gradient_norm=2 * most,
            ),
            Turn(optimizer="codec", loss=self._codec_loss, max_gradient_norm=most),
        )
        data = {name: value for name, value in asdict(settings.data).items() if name in _DECISIVE}
        sizes = {f"judge_{name}": value for name, value in asdict(settings.judges).items()}
        self.identity: Mapping[str, Any] = {
            **data,
            **asdict(settings.codec),
            **sizes,
            **asdict(losses),
            **identity,
        }

    def validate(self) -> Validation:
        """Return distances of dev utterances at three bit rates, their code usage, and a few to listen to."""
        return validate(self.average, self.dev, self.looked_at, self.settings, self.spectra)

    def export(self) -> None:
        """Write the tokenizer into `model/`."""
        write_codec(self.folder / MODEL, self.settings.name, self.settings.codec, self.average.codec().cpu())

    def _judges_loss(self, batch: Batch, networks: Networks) -> tuple[Tensor, Mapping[str, Tensor]]:
        made = self._made(batch, networks)
        batch["made"] = made  # the codec's turn goes on from it
        judges = networks["discriminators"]
        loss = discriminator_loss(
            judges(self._judged(made.waveform.detach(), batch)),
            judges(self._judged(batch["waveform"], batch)),
        )
        return loss, {"discriminators": loss}

    def _codec_loss(self, batch: Batch, networks: Networks) -> tuple[Tensor, Mapping[str, Tensor]]:
        is_judged = "made" in batch
        made: Made = batch.pop("made") if is_judged else self._made(batch, networks)
        real, losses = batch["waveform"], self.settings.losses
        for distance in (self.spectra, self.envelopes):
            distance.to(real.device)
        spectra, envelopes = self.spectra(made.waveform, real), self.envelopes(made.waveform, real)
        loss = spectra + losses.envelope_weight * envelopes
        loss = (
            loss + losses.commitment_weight * made.commitment + losses.correlation_weight * made.correlation
        )
        shown = {"spectral distance": spectra, "envelope distance": envelopes}
        shown |= {"commitment": made.commitment, "correlation": made.correlation}
        if is_judged:
            judges = networks["discriminators"]
            with torch.no_grad():
                of_real = judges(self._judged(real, batch))
            of_made = judges(self._judged(made.waveform, batch))
            adversarial, features = adversarial_loss(of_made), feature_loss(of_made, of_real)
            risen = min(1.0, (self._step - losses.adversarial_from) / _RISING_STEPS)
            loss = loss + losses.adversarial_weight * risen * (adversarial + features)
            shown |= {"adversarial": adversarial, "feature distance": features}
        return loss, shown

    @property
    def _step(self) -> int:
        """Steps that the codec has taken."""
        return self.schedules["codec"].last_epoch

    def _made(self, batch: Batch, networks: Networks) -> Made:
        """Return what the codec makes of a batch, once per step, and keep what follows the steps up to date."""
        codec, losses = self.networks["codec"], self.settings.losses
        assert isinstance(codec, TrainedCodec)  # noqa: S101 - built so
        self._follow(codec)
        frames = batch["waveform"].shape[1] // self.settings.codec.hop_length
        if not codec.codebooks.begun and self._step >= losses.codebooks_from:
            codec.codebooks.begin(self.settings.loop.batch_size * frames)
        noise = None if bool(codec.codebooks.begun) else losses.noise * batch["noise"]
        made: Made = networks["codec"](batch["waveform"], batch["num_codebooks"], noise)
        return made

    @torch.no_grad()
    def _follow(self, codec: TrainedCodec) -> None:
        """Let the average follow the codec as it was after the step before, once per step."""
        if self._followed == self._step:
            return
        self._followed = self._step
        share = max(1 - self.settings.losses.average_decay, 1 / (self._step + 1))
        for mean, value in zip(self.average.parameters(), codec.parameters(), strict=True):
            mean.lerp_(value, share)
        for (name, kept), constant in zip(self.average.named_buffers(), codec.buffers(), strict=True):
            if name.startswith("standardized."):  # of what averaged weights give, as nearly as can be told
                kept.lerp_(constant, share)
            else:
                kept.copy_(constant)

    def _judged(self, waveform: Tensor, batch: Batch) -> Tensor:
        """Return the stretch of each item that discriminators see."""
        size = round(self.settings.judges.seconds * self.settings.codec.sample_rate)
        starts = batch["judged_from"].tolist()
        return torch.stack([row[start : start + size] for row, start in zip(waveform, starts, strict=True)])


def learning_rate_factor(step: int, steps: int, losses: LossSettings) -> float:
    """Return what the learning rate of an optimizer is multiplied with after `step` of its steps.

    It rises at the beginning, and falls along half a cosine over the second half.

    Args:
        step: steps taken.
        steps: of the run.
        losses: its settings.
    """
    warm = min(1.0, (step + 1) / losses.warmup_steps)
    late = max(0.0, min(1.0, (step - steps / 2) / (steps / 2)))
    return warm * max(losses.final_rate, (1 + math.cos(math.pi * late)) / 2)
