"""Training the unit vocoder, as the loop sees it.

Source: Polyak et al. 2021, arXiv:2104.00355, section 2.3; Kong et al. 2020, HiFi-GAN, arXiv:2010.05646, section 2.

Contents: `UnitVocoderTask`, `learning_rate_factor`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from speechtok.report.training import Sound
from speechtok.shards.statistics import StreamStatistics
from speechtok.tokenizers.units.saving import save_with_vocoder
from speechtok.tokenizers.units.tokenizer import UnitTokenizer
from speechtok.tokenizers.units.vocoder import UnitVocoder
from speechtok.training.adversarial import adversarial_loss, discriminator_loss, feature_loss
from speechtok.training.task import Batch, Examples, Networks, Turn, Validation
from speechtok.training.unit_vocoder.discriminators import Discriminators
from speechtok.training.unit_vocoder.examples import UnitExamples
from speechtok.training.unit_vocoder.mel import LogMel
from speechtok.training.unit_vocoder.networks import TrainedVocoder
from speechtok.training.unit_vocoder.rows import SAMPLE_RATE
from speechtok.training.unit_vocoder.settings import LossSettings, UnitVocoderSettings

MODEL = "model"
"""Folder of the tokenizer with the vocoder, inside the run's."""
_SHOWN = 3
"""Utterances to listen to."""
_CODES = {"content": "units", "pitch": "pitch"}
"""Stream → name of its codes in an utterance."""


class UnitVocoderTask:
    """A vocoder and its discriminators; see `Task`.

    Args:
        folder: of the run.
        tokenizer: whose units are spoken.
        vocoder: from `build_networks`.
        discriminators: likewise.
        examples: what is trained on.
        dev: what is held back for validation.
        looked_at: utterances of it that are spoken there.
        voices: name → row of the vocoder's table; empty without one.
        settings: of the run.
        identity: plain values that decide what is learnt, besides the settings.
    """

    def __init__(
        self,
        folder: Path,
        tokenizer: UnitTokenizer,
        vocoder: UnitVocoder,
        discriminators: Discriminators,
        examples: UnitExamples,
        dev: UnitExamples,
        *,
        looked_at: Sequence[int],
        voices: Mapping[str, int],
        settings: UnitVocoderSettings,
        identity: Mapping[str, Any],
    ) -> None:
        losses = settings.losses
        self.folder, self.tokenizer, self.dev, self.voices = folder, tokenizer, dev, voices
        self.looked_at, self.settings, self.losses = looked_at, settings, losses
        self.examples: Examples = examples
        self.networks: dict[str, nn.Module] = {
            "vocoder": TrainedVocoder(vocoder),
            "discriminators": discriminators,
        }
        self.log_mel = LogMel(SAMPLE_RATE)
        self.optimizers: dict[str, Optimizer] = {
            name: AdamW(
                [item for item in network.parameters() if item.requires_grad],
                lr=losses.learning_rate,
                betas=losses.betas,
                weight_decay=losses.weight_decay,
            )
            for name, network in self.networks.items()
        }
        epoch_steps = max(1, len(examples) // settings.loop.batch_size)
        self.schedules: dict[str, LRScheduler] = {
            name: LambdaLR(optimizer, lambda step: learning_rate_factor(step, epoch_steps, losses))
            for name, optimizer in self.optimizers.items()
        }
        self.schedule_steps = 1
        self.turns: Sequence[Turn] = (
            Turn(optimizer="discriminators", loss=self._judges_loss, first_step=losses.adversarial_from),
            Turn(optimizer="vocoder", loss=self._vocoder_loss),
        )
        data = {name: value for name, value in asdict(settings.data).items() if name in _DECISIVE}
        self.identity: Mapping[str, Any] = {**data, **asdict(settings.network), **asdict(losses), **identity}

    def validate(self) -> Validation:
        """Return the mel distance of dev utterances, code usage of all of them, and a few to listen to."""
        data, rate = self.settings.data, SAMPLE_RATE
        distances: list[float] = []
        sounds: list[Sound] = []
        heard = {self.looked_at[len(self.looked_at) * place // _SHOWN] for place in range(_SHOWN)}
        for index in self.looked_at:
            original, made = self._speak(index, int(data.validation_seconds * rate))
            distances.append(float(self._distance(made, original)))
            if index in heard:
                waveforms = [item[0].float().cpu().numpy() for item in (original, made)]
                sounds.append(
                    Sound(
                        id=self.dev.name(index),
                        sample_rate=rate,
                        original=waveforms[0],
                        made={"vocoder": waveforms[1]},
                    )
                )
        metrics = {"mel distance": float(np.mean(distances))}
        return Validation(metrics=metrics, sounds=sounds, usage=self._usage())

    def export(self) -> None:
        """Write the tokenizer with the vocoder into `model/`."""
        network = self.networks["vocoder"]
        assert isinstance(network, TrainedVocoder)  # noqa: S101 - built so
        save_with_vocoder(self.tokenizer, network.vocoder, self.folder / MODEL, speakers=self.voices)

    def _judges_loss(self, batch: Batch, networks: Networks) -> tuple[Tensor, Mapping[str, Tensor]]:
        made = _made(networks["vocoder"], batch)
        batch["made"] = made  # the vocoder's turn goes on from it
        judges = networks["discriminators"]
        of_real = judges(batch["waveform"])
        loss = discriminator_loss(judges(made.detach()), of_real)
        return loss, {"discriminators": loss}

    def _vocoder_loss(self, batch: Batch, networks: Networks) -> tuple[Tensor, Mapping[str, Tensor]]:
        is_judged = "made" in batch
        made, real = batch.pop("made") if is_judged else _made(networks["vocoder"], batch), batch["waveform"]
        distance = self._distance(made, real)
        loss, shown = self.losses.mel_weight * distance, {"mel distance": distance}
        if is_judged:
            judges = networks["discriminators"]
            with torch.no_grad():
                of_real = judges(real)
            of_made = judges(made)
            adversarial = adversarial_loss(of_made)
            features = feature_loss(of_made, of_real, with_verdicts=True)
            loss = loss + adversarial + self.losses.feature_weight * features
            shown |= {"adversarial": adversarial, "feature distance": features}
        return loss, shown | {"vocoder": loss}

    def _distance(self, made: Tensor, real: Tensor) -> Tensor:
        self.log_mel.to(made.device)
        made, real = (item if item.dtype == torch.float64 else item.float() for item in (made, real))
        return functional.l1_loss(self.log_mel(made), self.log_mel(real))

    def _speak(self, index: int, most: int) -> tuple[Tensor, Tensor]:
        """Return the beginning of an utterance and what the vocoder makes of it, `(1, samples)` each."""
        device = next(self.networks["vocoder"].parameters()).device
        whole, hop = self.dev.whole(index), self.dev.recordings.hop_length
        step = hop * len(whole.units) // (len(whole.units) if whole.pitch is None else len(whole.pitch))
        samples = min(len(whole.waveform), max(step, most // step * step))
        batch = {"waveform": whole.waveform[:samples], "units": whole.units[: samples // hop]}
        if whole.pitch is not None:
            batch["pitch"] = whole.pitch[: samples // step]
        if whole.speaker is not None:
            batch["speaker"] = whole.speaker
        tensors = {
            name: torch.from_numpy(np.asarray(value))[None].to(device) for name, value in batch.items()
        }
        made: Tensor = _made(self.networks["vocoder"], tensors)
        return tensors["waveform"], made

    def _usage(self) -> list[StreamStatistics]:
        """Return how often the codes of each stream occur in all dev rows."""
        usage = []
        for stream in self.tokenizer.streams:
            codes = [getattr(row, _CODES[stream.name]) for row in self.dev.rows]
            if all(item is not None for item in codes):
                counts = np.bincount(np.concatenate(codes), minlength=stream.codebook_size)
                usage.append(StreamStatistics(stream=stream, counts=counts[None], stored_bytes=0))
        return usage


def learning_rate_factor(step: int, epoch_steps: int, losses: LossSettings) -> float:
    """Return what the learning rate of an optimizer is multiplied with after `step` of its steps."""
    warm = min(1.0, (step + 1) / losses.warmup_steps) if losses.warmup_steps else 1.0
    factor: float = warm * losses.decay ** (step // epoch_steps)
    return factor


_DECISIVE = ("segment_samples", "train_split", "dev_split", "held_out", "voices_by")
"""Fields of `DataSettings` that change what is learnt."""


def _made(vocoder: nn.Module, batch: Batch) -> Tensor:
    made: Tensor = vocoder(batch["units"], batch.get("pitch"), batch.get("speaker"))
    return made
