"""Training FAcodec, as the loop sees it.

Source: Ju et al. 2024, NaturalSpeech 3, arXiv:2403.03100, section 3.2; the rules are those of `Plachtaa/FAcodec`.

Contents: `FacodecTask`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from speechtok.tokenizers.facodec_24k.saving import codec_entries, own_card
from speechtok.tokenizers.writing import write_tokenizer
from speechtok.training.facodec_24k.examples import ClipExamples
from speechtok.training.facodec_24k.judging import Judging, optimizer_of, schedule_of, turns_of
from speechtok.training.facodec_24k.losses import focal_loss
from speechtok.training.facodec_24k.networks import PARTS, Made, TrainedCodec
from speechtok.training.facodec_24k.predictors import Predictions, Predictors
from speechtok.training.facodec_24k.settings import FacodecSettings
from speechtok.training.facodec_24k.targets import normalize_f0
from speechtok.training.facodec_24k.validation import validate
from speechtok.training.task import Batch, Examples, Networks, Turn, Validation

MODEL = "model"
"""Folder of the tokenizer, inside the run's."""


class FacodecTask:
    """Codec, predictors and discriminators; see `Task`.

    Args:
        folder: of the run.
        codec: the networks that become the tokenizer.
        predictors: what its parts are told apart by.
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
        predictors: Predictors,
        judging: Judging,
        examples: ClipExamples,
        dev: ClipExamples,
        *,
        looked_at: Sequence[int],
        settings: FacodecSettings,
        identity: Mapping[str, Any],
    ) -> None:
        losses = settings.losses
        self.folder, self.codec, self.judging = folder, codec, judging
        self.dev, self.looked_at = dev, looked_at
        self.settings, self.losses = settings, losses
        self.examples: Examples = examples
        self.networks: dict[str, nn.Module] = {
            "codec": codec,
            "predictors": predictors,
            "discriminators": judging.discriminators,
        }
        groups = {**{name: codec.part(name) for name in PARTS}, "predictors": predictors}
        self.optimizers: dict[str, Optimizer] = {
            "codec": optimizer_of(groups, losses),
            "discriminators": optimizer_of({"discriminators": judging.discriminators}, losses),
        }
        self.schedules: dict[str, LRScheduler] = {
            name: schedule_of(optimizer, losses) for name, optimizer in self.optimizers.items()
        }
        self.schedule_steps = 1
        self.turns: Sequence[Turn] = turns_of("codec", self._judges_loss, self._codec_loss, losses)
        self.identity: Mapping[str, Any] = {
            **asdict(settings.codec),
            **asdict(settings.judges),
            **asdict(losses),
            **identity,
        }

    def validate(self) -> Validation:
        """Return the mel distance of dev utterances, how many codes they use, and a few to listen to."""
        return validate(self.dev, self.looked_at, self.codec, self.judging.mel_loss, self.settings.data)

    def export(self) -> None:
        """Write the tokenizer into `model/`."""
        config = self.settings.codec
        entries = codec_entries({name: self.codec.part(name) for name in PARTS})
        write_tokenizer(self.folder / MODEL, own_card(self.folder.resolve().name, config), entries)

    def _judges_loss(self, batch: Batch, networks: Networks) -> tuple[Tensor, Mapping[str, Tensor]]:
        made = _made(batch, networks)
        batch["made"] = made  # the codec's turn goes on from it
        loss = self.judging.of_judges(made.waveform, batch["waveform"], networks["discriminators"])
        return loss, {"discriminators": loss}

    def _codec_loss(self, batch: Batch, networks: Networks) -> tuple[Tensor, Mapping[str, Tensor]]:
        losses = self.losses
        is_judged = "made" in batch
        made: Made = batch.pop("made") if is_judged else _made(batch, networks)
        judges = networks["discriminators"] if is_judged else None
        loss, shown = self.judging.of_made(made.waveform, batch["waveform"], judges, losses.mel_weight)
        parts = list(made.found.parts.values())
        commitment = torch.stack([part.commitment_loss for part in parts]).sum()
        codebook = torch.stack([part.codebook_loss for part in parts]).sum()
        said: Predictions = networks["predictors"](
            *(part.features for part in parts), made.found.speaker_embedding
        )
        terms = _told(said, batch)
        weights = {
            "f0": losses.f0_weight,
            "energy": losses.energy_weight,
            "content": losses.content_weight,
            "speaker": losses.speaker_weight,
        }
        for name, (own, reversed_) in terms.items():
            loss = loss + weights[name] * (own + reversed_)
            shown |= {name: own, f"{name} from elsewhere": reversed_}
        loss = loss + losses.commitment_weight * commitment + losses.codebook_weight * codebook
        return loss, {**shown, "commitment": commitment, "codebook": codebook, "codec": loss}


def _made(batch: Batch, networks: Networks) -> Made:
    made: Made = networks["codec"](batch["waveform"], batch["utterance"], batch["num_samples"])
    return made


def _told(said: Predictions, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
    """Return by target how far off the part is that must tell it, and that which must not."""
    f0, energy = normalize_f0(batch["f0"]), batch["energy"]
    content, speaker = batch["content"], batch["speaker"]
    return {
        "f0": (functional.smooth_l1_loss(said.f0, f0), functional.smooth_l1_loss(said.rev_f0, f0)),
        "energy": (
            functional.smooth_l1_loss(said.energy, energy),
            functional.smooth_l1_loss(said.rev_energy, energy),
        ),
        "content": (focal_loss(said.content, content), focal_loss(said.rev_content, content)),
        "speaker": (
            functional.cross_entropy(said.speaker, speaker),
            functional.cross_entropy(said.rev_speaker, speaker),
        ),
    }
