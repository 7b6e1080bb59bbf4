"""Training the redecoder of FAcodec: content spoken in any voice, by networks of their own.

The codec is finished: its codes and timbres come from a token dataset. As published, the redecoder is given the first
content codebook and a timbre; prosody and the second content codebook are never shown to it.

Source: `Plachtaa/FAcodec`; Ju et al. 2024, NaturalSpeech 3, arXiv:2403.03100.

Contents: `RedecoderTask`, `train_facodec_redecoder`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from speechtok.corpora.originals import find_originals
from speechtok.report.training import Sound
from speechtok.shards.statistics import StreamStatistics
from speechtok.storage import AnyPath, as_path
from speechtok.tokenizers.facodec_24k.config import Facodec24kConfig
from speechtok.tokenizers.facodec_24k.redecoder import Redecoder
from speechtok.tokenizers.facodec_24k.saving import save_with_redecoder
from speechtok.tokenizers.facodec_24k.tokenizer import Facodec24kTokenizer
from speechtok.tokenizers.factors import factor_streams
from speechtok.training.examples import evenly_spread
from speechtok.training.facodec_24k.code_examples import CodeExamples, read_rows
from speechtok.training.facodec_24k.initial import initialize
from speechtok.training.facodec_24k.judging import Judging, optimizer_of, schedule_of, turns_of
from speechtok.training.facodec_24k.settings import RedecoderSettings
from speechtok.training.facodec_24k.task import MODEL
from speechtok.training.facodec_24k.validation import SHOWN, beginning, sound
from speechtok.training.loop import Watcher, train
from speechtok.training.splits import dataset_splits, dataset_tokenizer, held_out
from speechtok.training.task import Batch, Examples, Networks, Turn, Validation


class RedecoderTask:
    """Redecoder and discriminators; see `Task`.

    Args:
        folder: of the run.
        tokenizer: the codec.
        redecoder: the network that is added to it.
        examples: what is trained on.
        dev: what is held back for validation.
        looked_at: utterances of it that are spoken there.
        settings: of the run.
    """

    def __init__(
        self,
        folder: Path,
        tokenizer: Facodec24kTokenizer,
        redecoder: Redecoder,
        examples: CodeExamples,
        dev: CodeExamples,
        *,
        looked_at: Sequence[int],
        settings: RedecoderSettings,
    ) -> None:
        losses = settings.losses
        self.folder, self.tokenizer, self.redecoder = folder, tokenizer, redecoder
        self.dev, self.looked_at = dev, looked_at
        self.settings = settings
        self.judging = Judging(settings.judges, tokenizer.sample_rate)
        self.examples: Examples = examples
        self.networks: dict[str, nn.Module] = {
            "redecoder": redecoder,
            "discriminators": self.judging.discriminators,
        }
        self.optimizers: dict[str, Optimizer] = {
            name: optimizer_of({name: network}, losses) for name, network in self.networks.items()
        }
        self.schedules: dict[str, LRScheduler] = {
            name: schedule_of(optimizer, losses) for name, optimizer in self.optimizers.items()
        }
        self.schedule_steps = 1
        self.turns: Sequence[Turn] = turns_of("redecoder", self._judges_loss, self._redecoder_loss, losses)
        self.identity: Mapping[str, Any] = {
            **asdict(settings.redecoder),
            **asdict(settings.judges),
            **asdict(losses),
            "tokenizer": tokenizer.fingerprint,
            "clip_frames": settings.data.clip_frames,
            "utterances": len(examples),
        }

    def validate(self) -> Validation:
        """Return the mel distance of dev utterances, and a few to listen to, in their own voice and in another one."""
        config, data = self.tokenizer.config, self.settings.data
        like = next(self.redecoder.parameters())
        distances: list[float] = []
        sounds: list[Sound] = []
        for place, index in enumerate(self.looked_at):
            original = beginning(self.dev.whole(index), config, data, like)
            frames = original.shape[1] // config.hop_length
            made = self._speak(index, index, frames, like)
            distances.append(float(self.judging.mel_loss.to(like.device)(made, original)))
            if place < SHOWN:
                other = self.looked_at[(place + len(self.looked_at) // 2) % len(self.looked_at)]
                waveforms = {"redecoder": made, "in another voice": self._speak(index, other, frames, like)}
                sounds.append(sound(self.dev.name(index), config, original, waveforms))
        metrics = {"mel distance": float(np.mean(distances))}
        return Validation(metrics=metrics, sounds=sounds, usage=self._usage())

    def export(self) -> None:
        """Write the tokenizer with the redecoder into `model/`."""
        save_with_redecoder(
            self.tokenizer, self.redecoder, self.folder / MODEL, config_of(self.tokenizer, self.settings)
        )

    def _judges_loss(self, batch: Batch, networks: Networks) -> tuple[Tensor, Mapping[str, Tensor]]:
        made = _made(batch, networks)
        batch["made"] = made  # the redecoder's turn goes on from it
        loss = self.judging.of_judges(made, batch["waveform"], networks["discriminators"])
        return loss, {"discriminators": loss}

    def _redecoder_loss(self, batch: Batch, networks: Networks) -> tuple[Tensor, Mapping[str, Tensor]]:
        is_judged = "made" in batch
        made = batch.pop("made") if is_judged else _made(batch, networks)
        judges = networks["discriminators"] if is_judged else None
        weight = self.settings.losses.mel_weight
        loss, shown = self.judging.of_made(made, batch["waveform"], judges, weight)
        return loss, {**shown, "redecoder": loss}

    def _speak(self, index: int, voice: int, frames: int, like: Tensor) -> Tensor:
        """Return the beginning of an utterance in the voice of another, `(1, samples)`."""
        content = torch.from_numpy(self.dev.rows[index].content[None, None, :frames].astype(np.int64))
        speaker = torch.from_numpy(self.dev.rows[voice].speaker)[None].to(like)
        made: Tensor = self.redecoder({"content": content.to(like.device)}, speaker)
        return made

    def _usage(self) -> list[StreamStatistics]:
        """Return how often each content code that the redecoder is shown occurs in all dev utterances."""
        config = self.tokenizer.config
        (stream,) = (item for item in factor_streams(config) if item.name == "content")
        codes = np.concatenate([row.content for row in self.dev.rows])
        counts = np.bincount(codes, minlength=config.codebook_size)
        first = replace(stream, num_codebooks=1)
        return [StreamStatistics(stream=first, counts=counts[None], stored_bytes=0)]


def train_facodec_redecoder(
    source: str | AnyPath,
    folder: Path,
    settings: RedecoderSettings,
    *,
    tokenizer: str | Path | None = None,
    checkpoint: str | AnyPath | None = None,
    corpus_root: str | AnyPath | None = None,
    device: str = "cpu",
    watcher: Watcher | None = None,
) -> list[dict[str, Any]]:
    """Train a redecoder for a codec, from the tokens it made; returns the points of all curves.

    `folder/model` is the codec with the redecoder, for `load_tokenizer`; see `training.loop` for the rest.

    Args:
        source: a token dataset that `speechtok tokenize` made.
        folder: of the run; what was begun there goes on.
        settings: of the run.
        tokenizer: what made the dataset, for `load_tokenizer`; None takes the name in the dataset.
        checkpoint: local folder with the tokenizer's published files.
        corpus_root: folder that the recordings' paths start from, and below which alone they are opened.
        device: "cpu", or "cuda".
        watcher: is told of progress.

    Raises:
        CardError, CheckpointError, HubError: when the tokenizer cannot be loaded or is another codec, or what is in the
            folder does not fit.
        DatasetError: when the speech cannot be trained on.
        JobError: see `loop.train`.
        TokensError: when the tokens are another tokenizer's.
        ValueError: when settings contradict each other.
    """
    refusal = "is no FAcodec at 24 kHz, so there is no redecoder to train for it."
    loaded = dataset_tokenizer(source, tokenizer, Facodec24kTokenizer, refusal, checkpoint=checkpoint)
    config, data = config_of(loaded, settings), settings.data
    own, dev = dataset_splits(source, data.train_split, data.dev_split)
    originals = find_originals(own.path, None if corpus_root is None else as_path(corpus_root))
    originals.check("--corpus-root")
    rows = read_rows(own, data.clip_frames)
    if dev is None:
        rows, dev_rows = held_out(rows, data.held_out, settings.loop.seed)
    else:
        dev_rows = read_rows(dev, data.clip_frames)
    torch.manual_seed(settings.loop.seed)
    redecoder = Redecoder(config)
    initialize(redecoder, config)
    _freeze_unused(redecoder)
    examples, dev_examples = (
        CodeExamples(part, originals, config, clip_frames=data.clip_frames, cache_mb=data.cache_mb)
        for part in (rows, dev_rows)
    )
    watcher = watcher or Watcher()
    task = RedecoderTask(
        folder,
        loaded,
        redecoder,
        examples,
        dev_examples,
        looked_at=evenly_spread(dev_examples, data.validation_utterances, watcher.unusable),
        settings=settings,
    )
    return train(task, folder, settings.loop, device=device, watcher=watcher)


def config_of(tokenizer: Facodec24kTokenizer, settings: RedecoderSettings) -> Facodec24kConfig:
    """Return the settings of a codec with the redecoder's sizes.

    Raises:
        ValueError: when the redecoder makes another number of samples of a frame.
    """
    strides, hop = settings.redecoder.decoder_strides, tokenizer.config.hop_length
    if math.prod(strides) != hop:
        raise ValueError(
            f"`redecoder.decoder_strides` {list(strides)} must make {hop} samples of a frame, as the codec does, "
            f"not {math.prod(strides)}."
        )
    sizes = {f"redecoder_{name}": value for name, value in asdict(settings.redecoder).items()}
    return replace(tokenizer.config, **sizes)


def _freeze_unused(redecoder: Redecoder) -> None:
    """Leave alone the tables of codes that the redecoder is never shown."""
    for table in (*redecoder.encoder.prosody_embed, *redecoder.encoder.content_embed[1:]):
        table.requires_grad_(False)


def _made(batch: Batch, networks: Networks) -> Tensor:
    made: Tensor = networks["redecoder"]({"content": batch["content"]}, batch["speaker"])
    return made.to(batch["waveform"].dtype)
