"""What the parts of FAcodec must tell about each utterance, computed once and kept in the run's folder.

`targets/` holds `NNNNN.safetensors`, each of a few hundred utterances (entries `N.f0`,
`N.energy`, `N.content` and `N.voice` under the utterance's number), `NNNNN.json` with their lengths, voices, and why an utterance cannot be used; `about.json`
says what they were made from and with. A file is there as a whole or not at all, so preparation that was
interrupted goes on with the first that is missing.

Contents: `Prepared`, `Helpers`, `prepare`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from speechtok.errors import AudioError, CheckpointError, DatasetError
from speechtok.storage import replacing
from speechtok.training.batches import MAX_UNUSABLE
from speechtok.training.corpus import Speech, read_audio
from speechtok.training.facodec_24k.helpers import Contents, Pitches
from speechtok.training.facodec_24k.targets import TargetMel, energy_of
from speechtok.wording import count_text

Array = np.ndarray[Any, np.dtype[Any]]

SHARD = 256
"""Utterances per file."""
ABOUT = "about.json"


class Voices(Protocol):
    """What an utterance tells about its speaker: a vector, or a class in an array of one element."""

    def __call__(self, samples: Array) -> Array:
        """Return `(values,)`, float32."""
        ...


@dataclass(frozen=True, kw_only=True)
class Helpers:
    """Who makes the targets."""

    contents: Contents
    """What is spoken."""
    pitches: Pitches
    """How high."""
    mel: TargetMel
    """Gives loudness."""
    voices: Voices | None
    """By whom; None where the corpus says so."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Targets of the utterances that can be used."""

    kept: list[int]
    """Their numbers among all."""
    f0_hz: list[Array]
    """`(frames,)` each, float32, 0 where unvoiced."""
    energy: list[Array]
    """`(frames,)` each, float32, logarithm of loudness."""
    content: list[Array]
    """`(frames,)` each, int32."""
    voices: Array | None
    """`(utterances, values)`, float32, of those that are kept."""
    left_out: Mapping[str, str]
    """Id → why it cannot be used."""


def prepare(
    speech: Speech,
    folder: Path,
    make: Callable[[], Helpers],
    *,
    sample_rate: int,
    hop_length: int,
    least_frames: int,
    identity: Mapping[str, Any],
    on_utterance: Callable[[int], None] | None = None,
) -> Prepared:
    """Return the targets of all utterances, computing those that are not in the folder yet.

    Args:
        speech: the utterances.
        folder: where targets lie.
        make: makes the helpers, when there is something to compute.
        sample_rate: Hz.
        hop_length: samples per frame.
        least_frames: shorter utterances are left out.
        identity: plain values that decide what the targets are.
        on_utterance: is told how many utterances are done.

    Raises:
        CheckpointError: when the folder holds targets of other speech, or made otherwise.
        DatasetError: when too many recordings cannot be used, or all are too short.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _check_about(folder, {"speech": _fingerprint(speech), **identity})
    helpers: Helpers | None = None
    tensors: dict[str, Array] = {}
    facts: list[dict[str, Any]] = []
    for first in range(0, len(speech.utterances), SHARD):
        path = folder / f"{first // SHARD:05d}.safetensors"
        if not path.is_file():
            helpers = helpers or make()
            _make_shard(speech, first, path, helpers, sample_rate, hop_length, on_utterance)
        tensors |= load_file(path)
        facts += json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        if on_utterance is not None:
            on_utterance(len(facts))
    return _usable(speech, tensors, facts, least_frames)


def _make_shard(
    speech: Speech,
    first: int,
    path: Path,
    helpers: Helpers,
    sample_rate: int,
    hop_length: int,
    on_utterance: Callable[[int], None] | None,
) -> None:
    tensors: dict[str, Array] = {}
    facts: list[dict[str, Any]] = []
    for number, utterance in enumerate(speech.utterances[first : first + SHARD], start=first):
        try:
            samples = read_audio(speech, utterance, sample_rate)
            frames = len(samples) // hop_length
            tensors[f"{number}.f0"] = helpers.pitches(samples, frames).astype(np.float32)
            mel = helpers.mel(torch.from_numpy(samples)[None])
            tensors[f"{number}.energy"] = energy_of(mel)[0, :frames].numpy()
            tensors[f"{number}.content"] = helpers.contents(samples, frames).astype(np.int32)
            if helpers.voices is not None:
                tensors[f"{number}.voice"] = helpers.voices(samples).astype(np.float32)
            facts.append({"frames": frames})
        except AudioError as error:
            for name in ("f0", "energy", "content"):
                tensors.pop(f"{number}.{name}", None)
            facts.append({"frames": 0, "reason": str(error)})
        if on_utterance is not None:
            on_utterance(number + 1)
    with replacing(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(facts), encoding="utf-8")
    with replacing(path) as temporary:
        save_file(tensors, temporary)


def _usable(
    speech: Speech, tensors: Mapping[str, Array], facts: list[dict[str, Any]], least_frames: int
) -> Prepared:
    ids = [utterance.id for utterance in speech.utterances]
    bad = {name: fact["reason"] for name, fact in zip(ids, facts, strict=True) if "reason" in fact}
    if len(bad) > max(1, MAX_UNUSABLE * len(ids)):
        raise DatasetError(
            f"{count_text(len(bad), 'utterance')} of {len(ids)} cannot be trained on: {next(iter(bad.values()))}"
        )
    kept = [number for number, fact in enumerate(facts) if fact["frames"] >= least_frames]
    if not kept:
        raise DatasetError(
            f"None of the {len(ids)} utterances is as long as a clip of {least_frames} frames; "
            "use longer recordings, or smaller data.clip_frames."
        )
    short = {
        ids[number]: f"It has {fact['frames']} frames, fewer than a clip."
        for number, fact in enumerate(facts)
        if "reason" not in fact and fact["frames"] < least_frames
    }
    voices = [tensors[f"{number}.voice"] for number in kept if f"{number}.voice" in tensors]
    return Prepared(
        kept=kept,
        f0_hz=[tensors[f"{number}.f0"] for number in kept],
        energy=[tensors[f"{number}.energy"] for number in kept],
        content=[tensors[f"{number}.content"] for number in kept],
        voices=np.stack(voices) if voices else None,
        left_out=bad | short,
    )


def _check_about(folder: Path, about: Mapping[str, Any]) -> None:
    path = folder / ABOUT
    if not path.is_file():
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(about), encoding="utf-8")
        return
    stored = json.loads(path.read_text(encoding="utf-8"))
    for name, value in json.loads(json.dumps(about)).items():
        if stored.get(name) != value:
            what = "other utterances" if name == "speech" else f"{name}={stored.get(name)}, not {value}"
            raise CheckpointError(
                f"The targets in {folder} were made with {what}; repeat the first command, or use another output folder."
            )


def _fingerprint(speech: Speech) -> str:
    names = [[item.id, item.audio, item.start, item.segment_seconds] for item in speech.utterances]
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()
