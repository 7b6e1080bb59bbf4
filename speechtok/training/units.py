"""Fit k-means units on a corpus.

Contents: `train_kmeans`, `fit_units`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from speechtok.cards import CARD_FILE, TokenizerCard
from speechtok.errors import DatasetError
from speechtok.storage import AnyPath, as_path, download_folder
from speechtok.tokenizers.units.components import Reader, read_reader
from speechtok.tokenizers.units.config import READERS, UnitConfig
from speechtok.tokenizers.units.kmeans import ENTRY
from speechtok.tokens import StreamInfo
from speechtok.training.audio import SAMPLE_RATE, read_utterances
from speechtok.training.minibatch_kmeans import KMeansSettings, fit_kmeans

Array = np.ndarray[Any, np.dtype[Any]]


def train_kmeans(
    corpus: str | AnyPath,
    output: str | Path,
    *,
    features: str = "logmel",
    layer: int = 6,
    checkpoint: str | AnyPath | None = None,
    settings: KMeansSettings,
    share: float = 1.0,
    max_frames: int = 1_000_000,
    on_utterance: Callable[[int], None] | None = None,
    on_batch: Callable[[int, float], None] | None = None,
) -> TokenizerCard:
    """Fit units and write a folder that `load_tokenizer` takes: `kmeans/` and a card.

    Features are computed as audio is read and never written; a uniform sample of them is kept in memory.

    Args:
        corpus: as for `read_corpus`.
        output: folder to write; other parts of a composition can be put beside `kmeans/`.
        features: kind of reader, see `UnitConfig`.
        layer: layer that is read.
        checkpoint: folder with `features/`, for readers with weights.
        settings: how k-means is fitted.
        share: part of the utterances that is read.
        max_frames: frames that are kept.
        on_utterance: is told how many utterances have been read.
        on_batch: see `fit_kmeans`.

    Raises:
        DatasetError: when the corpus gives fewer frames than units.
        CheckpointError: when the reader's weights are missing or do not fit.
    """
    hop = READERS.get(features, 0)
    config = UnitConfig(features=features, layer=layer, num_units=settings.num_clusters, hop_length=hop)
    reader = read_reader(config, None if checkpoint is None else download_folder(as_path(checkpoint)))
    config = replace(config, hop_length=reader.hop_length)
    return fit_units(
        read_utterances(corpus, seed=settings.seed, share=share),
        output,
        config,
        reader,
        settings,
        source=str(corpus),
        max_frames=max_frames,
        on_utterance=on_utterance,
        on_batch=on_batch,
    )


def fit_units(
    utterances: Iterable[Array],
    output: str | Path,
    config: UnitConfig,
    reader: Reader,
    settings: KMeansSettings,
    *,
    source: str,
    max_frames: int = 1_000_000,
    on_utterance: Callable[[int], None] | None = None,
    on_batch: Callable[[int, float], None] | None = None,
) -> TokenizerCard:
    """Fit units on utterances, `(samples,)` float32 at 16 kHz each; see `train_kmeans`.

    Args:
        utterances: the audio.
        output: folder to write.
        config: of the tokenizer.
        reader: makes features.
        settings: how k-means is fitted.
        source: what messages call the audio.
        max_frames: frames that are kept.
        on_utterance: is told how many utterances have been read.
        on_batch: see `fit_kmeans`.

    Raises:
        DatasetError: when there are fewer frames than units.
    """
    sample = _Reservoir(max_frames, settings.seed)
    for count, samples in enumerate(utterances, start=1):
        if len(samples) >= reader.min_samples:
            waveform = torch.from_numpy(samples)[None]
            with torch.inference_mode():
                sample.add(reader(waveform, torch.tensor([len(samples)]))[0].numpy())
        if on_utterance is not None:
            on_utterance(count)
    if sample.size < settings.num_clusters:
        raise DatasetError(
            f"{source} gives {sample.size} frames, too few for {settings.num_clusters} units; use more audio."
        )
    centers = fit_kmeans(sample.frames(), settings, on_batch=on_batch)
    card = _card(Path(output), config)
    (Path(output) / "kmeans").mkdir(parents=True, exist_ok=True)
    save_file({ENTRY: torch.from_numpy(centers)}, Path(output) / "kmeans" / "km.safetensors")
    card.write(Path(output) / CARD_FILE)
    return card


class _Reservoir:
    """A uniform sample of all frames that were added (Vitter 1985, algorithm R)."""

    def __init__(self, most: int, seed: int) -> None:
        self._most, self._seen = most, 0
        self._random = np.random.default_rng(seed)
        self._frames: Array | None = None

    @property
    def size(self) -> int:
        """Frames that are held."""
        return min(self._seen, self._most)

    def add(self, frames: Array) -> None:
        """Take part in the sample with `(frames, channels)`."""
        if self._frames is None:
            self._frames = np.empty((self._most, frames.shape[1]), dtype=np.float32)
        places = np.arange(self._seen, self._seen + len(frames))
        late = places >= self._most
        places[late] = self._random.integers(0, places[late] + 1)
        kept = places < self._most
        self._frames[places[kept]] = frames[kept]
        self._seen += len(frames)

    def frames(self) -> Array:
        """Return the sample, `(frames, channels)` float32."""
        assert self._frames is not None  # noqa: S101 - the caller checked the size
        return self._frames[: self.size]


def _card(output: Path, config: UnitConfig) -> TokenizerCard:
    stream = StreamInfo(
        name="content",
        num_codebooks=1,
        codebook_size=config.num_units,
        frame_rate=SAMPLE_RATE / config.hop_length,
        hop_length=config.hop_length,
    )
    name = output.resolve().name
    return TokenizerCard(
        name=name,
        family="units",
        description=f"{config.num_units} k-means units of {config.features} features, fitted on one's own audio.",
        sample_rate=SAMPLE_RATE,
        streams=(stream,),
        architecture={
            "features": config.features,
            "layer": config.layer,
            "num_units": config.num_units,
            "hop_length": config.hop_length,
        },
        licence_code="Apache-2.0",
        citation="Lakhotia et al. On Generative Spoken Language Modeling from Raw Audio. arXiv:2102.01192, 2021.",
    )
