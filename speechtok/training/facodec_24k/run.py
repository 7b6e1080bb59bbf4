"""From a corpus to a trained FAcodec.

Contents: `train_facodec`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from speechtok.storage import AnyPath
from speechtok.tokenizers.facodec_24k.config import Facodec24kConfig
from speechtok.training.corpus import Speech, read_splits
from speechtok.training.examples import evenly_spread
from speechtok.training.facodec_24k.examples import ClipExamples, Targets
from speechtok.training.facodec_24k.initial import initialize
from speechtok.training.facodec_24k.judging import Judging
from speechtok.training.facodec_24k.labels import make_targets
from speechtok.training.facodec_24k.networks import TrainedCodec
from speechtok.training.facodec_24k.predictors import Predictors
from speechtok.training.facodec_24k.settings import DataSettings, FacodecSettings
from speechtok.training.facodec_24k.task import FacodecTask
from speechtok.training.loop import Watcher, train
from speechtok.training.processes import first_before_others


def train_facodec(
    corpus: str | AnyPath,
    folder: Path,
    settings: FacodecSettings,
    *,
    columns: Mapping[str, str] | None = None,
    device: str = "cpu",
    watcher: Watcher | None = None,
    on_prepared: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Train a codec on speech; returns the points of all curves.

    What its parts must tell is prepared first, into `folder/targets`. `folder/model` is the tokenizer, for
    `load_tokenizer`; see `training.loop` for the rest.

    Args:
        corpus: as for `read_corpus`.
        folder: of the run; what was begun there goes on.
        settings: of the run.
        columns: as for `read_corpus`.
        device: "cpu", or "cuda".
        watcher: is told of progress.
        on_prepared: is told how many utterances are prepared, and of how many.

    Raises:
        CardError, CheckpointError, HubError: when a helper cannot be loaded, or what is in the folder does not fit.
        DatasetError: when the speech cannot be trained on.
        JobError: see `loop.train`.
        ValueError: when settings contradict each other.
    """
    config, losses = settings.codec, settings.losses
    speech, dev_speech = read_splits(corpus, settings.data, seed=settings.loop.seed, columns=columns)
    with first_before_others(device):
        targets, classes, kept = make_targets(speech, folder / "targets", settings, on_prepared=on_prepared)
    torch.manual_seed(settings.loop.seed)
    codec = TrainedCodec(
        config,
        replace_codes_every=losses.replace_codes_every * settings.loop.accumulation,
        codebook_dropout=losses.codebook_dropout,
        residual_dropout=losses.residual_dropout,
    )
    predictors = Predictors(
        config.latent_channels, classes.content, classes.speakers, reversal=losses.reversal
    )
    initialize(predictors, config)
    watcher = watcher or Watcher()
    dev = examples_of(dev_speech, None, settings.data, config)
    task = FacodecTask(
        folder,
        codec,
        predictors,
        Judging(settings.judges, config.sample_rate),
        examples_of(speech.of(kept), targets, settings.data, config),
        dev,
        looked_at=evenly_spread(dev, settings.data.validation_utterances, watcher.unusable),
        settings=settings,
        identity={"utterances": len(kept), "content_classes": classes.content, "speakers": classes.speakers},
    )
    return train(task, folder, settings.loop, device=device, watcher=watcher)


def examples_of(
    speech: Speech, targets: Targets | None, data: DataSettings, config: Facodec24kConfig
) -> ClipExamples:
    """Return the clips of utterances."""
    return ClipExamples(
        speech,
        targets,
        sample_rate=config.sample_rate,
        hop_length=config.hop_length,
        clip_frames=data.clip_frames,
        max_seconds=data.max_seconds,
        cache_mb=data.cache_mb,
    )
