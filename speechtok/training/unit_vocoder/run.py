"""From a token dataset or lists to a trained vocoder.

Contents: `train_unit_vocoder`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from speechtok.errors import DatasetError
from speechtok.loading import load_tokenizer
from speechtok.storage import AnyPath, as_path
from speechtok.tokenizers.units.tokenizer import UnitTokenizer
from speechtok.training.examples import evenly_spread
from speechtok.training.loop import Watcher, train
from speechtok.training.splits import check_kind, dataset_tokenizer, held_out
from speechtok.training.unit_vocoder.examples import PITCH_HOP, Conditions, UnitExamples
from speechtok.training.unit_vocoder.networks import build_networks, warm_start
from speechtok.training.unit_vocoder.rows import Row, named, read_dataset, read_lists
from speechtok.training.unit_vocoder.settings import UnitVocoderSettings
from speechtok.training.unit_vocoder.task import UnitVocoderTask


def train_unit_vocoder(
    source: str | Path,
    folder: Path,
    settings: UnitVocoderSettings,
    *,
    dev_list: Path | None = None,
    corpus_root: str | AnyPath | None = None,
    tokenizer: str | Path | None = None,
    checkpoint: str | AnyPath | None = None,
    start: Path | None = None,
    device: str = "cpu",
    watcher: Watcher | None = None,
) -> list[dict[str, Any]]:
    """Train a vocoder for the units of a tokenizer; returns the points of all curves.

    `folder/model` is the tokenizer with the vocoder, for `load_tokenizer`; see `training.loop` for the rest.

    Args:
        source: a token dataset that `speechtok tokenize` made, or a list with a dictionary per line.
        folder: of the run; what was begun there goes on.
        settings: of the run.
        dev_list: list that is looked at for validation, where `source` is one; None holds out a share.
        corpus_root: folder that the recordings' paths start from, and below which alone they are opened; a dataset
            needs it, and None takes a list's own.
        tokenizer: what made the units, for `load_tokenizer`; None takes the name in the dataset.
        checkpoint: local folder with the tokenizer's published files.
        start: checkpoint whose weights the networks begin with, see `warm_start`.
        device: "cpu", or "cuda".
        watcher: is told of progress.

    Raises:
        CardError, CheckpointError, HubError: when tokenizer or checkpoint cannot be loaded, or do not fit.
        DatasetError: when the speech cannot be trained on.
        JobError: see `loop.train`.
        TokensError: when the tokens are another tokenizer's.
        ValueError: when settings contradict each other.
    """
    watcher = watcher or Watcher()
    path = as_path(source)
    is_list = path.is_file() and path.suffix == ".txt"
    loaded = _tokenizer(source, is_list, tokenizer, checkpoint)
    hop = loaded.hop_length
    step = int(np.lcm(hop, PITCH_HOP)) if settings.network.pitch else hop
    if settings.data.segment_samples % step:
        raise ValueError(
            f"`data.segment_samples` must be a multiple of {step}, got {settings.data.segment_samples}."
        )
    data = settings.data
    if is_list:
        (rows, recordings), second = read_lists(
            Path(source), dev_list, hop_length=hop, corpus_root=corpus_root
        )
    else:
        (rows, recordings), second = read_dataset(
            path, data.train_split, data.dev_split, hop_length=hop, corpus_root=corpus_root
        )
    if second is not None:
        dev_rows, dev_recordings = second
    else:
        rows, dev_rows = held_out(rows, data.held_out, settings.loop.seed)
        dev_recordings = recordings
    _check_units([*rows, *dev_rows], loaded)
    voices: dict[str, int] = {}
    if settings.network.speaker == "table":
        rows, dev_rows = named(rows, data.voices_by), named(dev_rows, data.voices_by)
        voices = _voices(rows)
        dev_rows = [row for row in dev_rows if row.speaker in voices]
        if not dev_rows:
            raise DatasetError(
                f"No voice of the utterances for validation is among the {len(voices)} of training, "
                "and a table knows no others; hold out utterances of the same voices, or set network.speaker=xvector."
            )
    vocoder, discriminators = build_networks(
        loaded, settings.network, voices=len(voices), seed=settings.loop.seed
    )
    if start is not None:
        warm_start(start, vocoder, discriminators)
    conditions = Conditions(
        config=loaded.config,
        f0=loaded.parts.f0 if settings.network.pitch else None,
        voices=voices if settings.network.speaker == "table" else None,
        encoder=loaded.speaker_encoder if settings.network.speaker == "xvector" else None,
    )
    examples, dev = (
        UnitExamples(
            own,
            reader,
            conditions,
            segment_samples=data.segment_samples,
            cache_mb=data.cache_mb,
        )
        for own, reader in ((rows, recordings), (dev_rows, dev_recordings))
    )
    identity = {
        "tokenizer": loaded.fingerprint,
        "utterances": len(rows),
        "start": None if start is None else str(start),
    }
    task = UnitVocoderTask(
        folder,
        loaded,
        vocoder,
        discriminators,
        examples,
        dev,
        looked_at=evenly_spread(dev, data.validation_utterances, watcher.unusable),
        voices=voices,
        settings=settings,
        identity=identity,
    )
    return train(task, folder, settings.loop, device=device, watcher=watcher)


def _tokenizer(
    source: str | Path, is_list: bool, name: str | Path | None, checkpoint: str | AnyPath | None
) -> UnitTokenizer:
    refusal = "is no tokenizer of units, so there is no vocoder to train for it."
    if not is_list:
        return dataset_tokenizer(source, name, UnitTokenizer, refusal, checkpoint=checkpoint)
    if name is None:
        raise DatasetError(f"{source} does not say what made its units; name the tokenizer.")
    return check_kind(load_tokenizer(name, checkpoint=checkpoint), UnitTokenizer, refusal)


def _check_units(rows: list[Row], tokenizer: UnitTokenizer) -> None:
    for row in rows:
        if len(row.units) and int(row.units.max()) >= tokenizer.config.num_units:
            raise DatasetError(
                f"'{row.id}' has the unit {int(row.units.max())}, but '{tokenizer.name}' has {tokenizer.config.num_units}."
            )


def _voices(rows: list[Row]) -> dict[str, int]:
    """Return name → row, sorted by name."""
    nameless = [row.id for row in rows if row.speaker is None]
    if nameless:
        raise DatasetError(
            f"{len(nameless)} utterances have no speaker, such as '{nameless[0]}'; set data.voices_by to take names "
            "from paths, or to single, or network.speaker to xvector or null."
        )
    return {name: number for number, name in enumerate(sorted({row.speaker or "" for row in rows}))}
