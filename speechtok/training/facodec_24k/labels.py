"""From settings to the targets of a corpus: helpers are chosen, units fitted, voices numbered.

Contents: `Classes`, `make_targets`, `make_helpers`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speechtok.cards import CARD_FILE
from speechtok.errors import AudioError, DatasetError
from speechtok.metrics.speaker import SpeakerModel
from speechtok.storage import replacing
from speechtok.tokenizers.units.components import read_reader
from speechtok.tokenizers.units.config import READERS, UnitConfig
from speechtok.training.audio import SAMPLE_RATE
from speechtok.training.corpus import Speech, read_audio
from speechtok.training.facodec_24k import helpers
from speechtok.training.facodec_24k.examples import Targets
from speechtok.training.facodec_24k.prepare import Helpers, Prepared, Voices, prepare
from speechtok.training.facodec_24k.settings import FacodecSettings
from speechtok.training.minibatch_kmeans import KMeansSettings, fit_kmeans, nearest_centers
from speechtok.training.units import fit_units

Array = np.ndarray[Any, np.dtype[Any]]

_FITTED = "units"
"""Folder of the units that are fitted, inside that of the targets."""
_FIT_FRAMES = 200_000
"""Frames that units are fitted on: 33 minutes."""
_CLASSES = "classes.json"


@dataclass(frozen=True, kw_only=True)
class Classes:
    """How many classes the predictors tell apart."""

    content: int
    """Units or phones."""
    speakers: int
    """Voices."""


def make_targets(
    speech: Speech,
    folder: Path,
    settings: FacodecSettings,
    *,
    on_prepared: Callable[[int, int], None] | None = None,
) -> tuple[Targets, Classes, list[int]]:
    """Return what the parts must tell of the utterances that can be used, how many classes, and which these are.

    Args:
        speech: what is trained on.
        folder: where targets are kept.
        settings: of the run.
        on_prepared: is told how many utterances are prepared, and of how many.

    Raises:
        CardError, CheckpointError, HubError: when a helper cannot be loaded, or what is in the folder does not fit.
        DatasetError: when the speech cannot be trained on.
        JobError: when a helper's package is not installed.
    """
    config = settings.codec
    total = len(speech.utterances)
    prepared = prepare(
        speech,
        folder,
        lambda: make_helpers(speech, folder, settings),
        sample_rate=config.sample_rate,
        hop_length=config.hop_length,
        least_frames=settings.data.clip_frames,
        identity=_identity(settings),
        on_utterance=None if on_prepared is None else lambda done: on_prepared(done, total),
    )
    counts = json.loads((folder / _CLASSES).read_text(encoding="utf-8"))
    speaker, num_speakers = _speakers(speech.of(prepared.kept), prepared, settings, counts)
    targets = Targets(f0_hz=prepared.f0_hz, energy=prepared.energy, content=prepared.content, speaker=speaker)
    return targets, Classes(content=counts["content"], speakers=num_speakers), prepared.kept


def _identity(settings: FacodecSettings) -> dict[str, Any]:
    """Return what decides the targets that are kept; clusters are formed anew."""
    config, told = settings.codec, asdict(settings.targets)
    told.pop("num_speakers")
    spectrogram = {"fft_length": config.fft_length, "window_length": config.window_length}
    rates = {"sample_rate": config.sample_rate, "hop_length": config.hop_length, "num_mels": config.num_mels}
    return {**told, **spectrogram, **rates, "seed": settings.loop.seed}


def make_helpers(speech: Speech, folder: Path, settings: FacodecSettings) -> Helpers:
    """Return the networks that targets come from, loaded or fitted as the settings say."""
    config, told = settings.codec, settings.targets
    contents: helpers.Contents
    if told.content == "phones":
        contents = helpers.PhoneContents(config, told.content_from or helpers.PHONES)
    else:
        source = told.content_from or _fitted_units(speech, folder / _FITTED, settings)
        contents = helpers.UnitContents(config, source)
    pitches: helpers.Pitches = (
        helpers.YaaptPitches(config)
        if told.f0_from is None or told.f0 == "yaapt"
        else helpers.NetworkPitches(config, told.f0_from)
    )
    voices, speakers = _voices(settings)
    with replacing(folder / _CLASSES) as temporary:
        counts = {"content": contents.num_classes, "speaker": speakers}
        temporary.write_text(json.dumps(counts), encoding="utf-8")
    return Helpers(contents=contents, pitches=pitches, mel=helpers.target_mel(config), voices=voices)


def _voices(settings: FacodecSettings) -> tuple[Voices | None, int | None]:
    """Return what an utterance tells about its speaker, and the classes where it is one."""
    config, told = settings.codec, settings.targets
    if told.speaker == "labels":
        return None, None
    if told.speaker == "classifier":
        classifier = helpers.SpeakerClassifier(config, told.speaker_from or "")
        return lambda samples: np.array([classifier(samples)]), classifier.num_classes
    if told.speaker_from is not None:
        model = SpeakerModel(told.speaker_from)
        return lambda samples: model(samples, config.sample_rate), None
    mel = helpers.target_mel(config)
    return lambda samples: helpers.mel_vector(mel, samples), None


def _speakers(
    speech: Speech, prepared: Prepared, settings: FacodecSettings, counts: dict[str, Any]
) -> tuple[Array, int]:
    """Return `(utterances,)` classes, and how many there are."""
    if settings.targets.speaker == "labels":
        nameless = [item.id for item in speech.utterances if item.speaker is None]
        if nameless:
            raise DatasetError(
                f"{len(nameless)} utterances have no speaker, such as '{nameless[0]}'; set targets.speaker=clusters."
            )
        names = sorted({item.speaker or "" for item in speech.utterances})
        numbers = {name: number for number, name in enumerate(names)}
        return np.array([numbers[item.speaker or ""] for item in speech.utterances]), len(names)
    assert prepared.voices is not None  # noqa: S101 - the helpers gave them
    if settings.targets.speaker == "classifier":
        return prepared.voices[:, 0].astype(np.int64), int(counts["speaker"])
    return _clusters(prepared.voices, settings.targets.num_speakers, settings.loop.seed)


def _clusters(vectors: Array, most: int, seed: int) -> tuple[Array, int]:
    vectors = (vectors - vectors.mean(axis=0)) / np.maximum(vectors.std(axis=0), 1e-6)
    count = min(most, len(vectors))
    centers = fit_kmeans(vectors, KMeansSettings(num_clusters=count, reassignment_ratio=0.1, seed=seed))
    return nearest_centers(vectors, centers)[0].astype(np.int64), count


def _fitted_units(speech: Speech, folder: Path, settings: FacodecSettings) -> Path:
    """Fit units of log-mel on the corpus, unless they are there."""
    if not (folder / CARD_FILE).is_file():
        count, seed = settings.targets.num_units, settings.loop.seed
        config = UnitConfig(features="logmel", num_units=count, hop_length=READERS["logmel"])
        how = KMeansSettings(num_clusters=count, passes=20, seed=seed)
        audio = _some_audio(speech, seed, _FIT_FRAMES * config.hop_length)
        fit_units(audio, folder, config, read_reader(config, None), how, source="The corpus")
    return folder


def _some_audio(speech: Speech, seed: int, num_samples: int) -> Iterator[Array]:
    """Yield utterances at 16 kHz in random order, `num_samples` samples or a little more in all."""
    for index in np.random.default_rng(seed).permutation(len(speech.utterances)):
        try:
            samples = read_audio(speech, speech.utterances[index], SAMPLE_RATE)
        except AudioError:
            continue
        yield samples
        num_samples -= len(samples)
        if num_samples <= 0:
            return
