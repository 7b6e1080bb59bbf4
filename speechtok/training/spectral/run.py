"""From a corpus to a trained spectral codec.

Contents: `train_spectral`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from speechtok.errors import CardError
from speechtok.loading import load_tokenizer
from speechtok.storage import AnyPath
from speechtok.tokenizers.spectral.tokenizer import SpectralTokenizer
from speechtok.training.corpus import read_splits
from speechtok.training.examples import evenly_spread
from speechtok.training.facodec_24k.discriminator import Discriminator
from speechtok.training.loop import Watcher, train
from speechtok.training.spectral.examples import SegmentExamples
from speechtok.training.spectral.networks import TrainedCodec
from speechtok.training.spectral.settings import SpectralSettings
from speechtok.training.spectral.task import SpectralTask
from speechtok.training.splits import check_kind


def train_spectral(
    corpus: str | AnyPath,
    folder: Path,
    settings: SpectralSettings,
    *,
    columns: Mapping[str, str] | None = None,
    start: str | Path | None = None,
    device: str = "cpu",
    watcher: Watcher | None = None,
) -> list[dict[str, Any]]:
    """Train a codec on speech; returns the points of all curves.

    `folder/model` is the tokenizer, for `load_tokenizer`; see `training.loop` for the rest.

    Args:
        corpus: as for `read_corpus`.
        folder: of the run; what was begun there goes on.
        settings: of the run.
        columns: as for `read_corpus`.
        start: begin with the weights of this tokenizer, for `load_tokenizer`, instead of random ones.
        device: "cpu", or "cuda".
        watcher: is told of progress.

    Raises:
        CardError: when `start` is no spectral codec, or one of other sizes.
        CheckpointError: when what is in the folder does not fit.
        DatasetError: when the speech cannot be trained on.
        JobError: see `loop.train`.
    """
    watcher = watcher or Watcher()
    speech, dev_speech = read_splits(corpus, settings.data, seed=settings.loop.seed, columns=columns)
    torch.manual_seed(settings.loop.seed)
    losses, judges = settings.losses, settings.judges
    codec = TrainedCodec(settings.codec, decay=losses.codebook_decay, least_use=0.05)
    if start is not None:
        _begin_with(codec, start, settings)
    dev = SegmentExamples(dev_speech, settings)
    task = SpectralTask(
        folder,
        codec,
        Discriminator((), judges.windows, band_channels=judges.channels),
        SegmentExamples(speech, settings),
        dev,
        looked_at=evenly_spread(dev, settings.data.validation_utterances, watcher.unusable),
        settings=settings,
        identity={"utterances": len(speech.utterances)} | ({} if start is None else {"start": str(start)}),
    )
    return train(task, folder, settings.loop, device=device, watcher=watcher)


def _begin_with(codec: TrainedCodec, start: str | Path, settings: SpectralSettings) -> None:
    """Give a codec the weights of a tokenizer."""
    found = check_kind(
        load_tokenizer(start), SpectralTokenizer, "is no spectral codec, so training cannot start with it."
    )
    if found.config != settings.codec:
        raise CardError(
            f"'{found.name}' in {start} has other sizes than the recipe; take its `architecture` as the recipe's `codec`."
        )
    frames = settings.loop.batch_size * settings.data.segment_frames
    codec.take(found.codec, features_per_step=frames)
