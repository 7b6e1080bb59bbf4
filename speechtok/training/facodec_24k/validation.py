"""A look at speech that is not trained on: how close the audio comes, and which codes occur.

Contents: `validate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechtok.report.training import Sound
from speechtok.shards.statistics import StreamStatistics
from speechtok.tokenizers.facodec_24k.config import Facodec24kConfig
from speechtok.tokenizers.factors import factor_streams
from speechtok.training.facodec_24k.codes import usage
from speechtok.training.facodec_24k.examples import ClipExamples
from speechtok.training.facodec_24k.losses import MelLoss
from speechtok.training.facodec_24k.networks import Made, TrainedCodec
from speechtok.training.facodec_24k.settings import ClipSettings
from speechtok.training.task import Validation

Array = np.ndarray[Any, np.dtype[Any]]

SHOWN = 3
"""Utterances to listen to."""


def validate(
    dev: ClipExamples,
    looked_at: Sequence[int],
    codec: TrainedCodec,
    mel_loss: MelLoss,
    data: ClipSettings,
) -> Validation:
    """Return mel distance, codes in use, and a few sounds, of beginnings of utterances.

    Args:
        dev: the utterances.
        looked_at: those of them that are encoded and decoded.
        codec: in evaluation mode.
        mel_loss: what is minimised in training.
        data: how much of each.
    """
    config = codec.config
    distances: list[float] = []
    sounds: list[Sound] = []
    counts = {
        name: torch.zeros(count, config.codebook_size, dtype=torch.int64)
        for name, count in config.codebooks.items()
    }
    for index in looked_at:
        original = beginning(dev.whole(index), config, data, next(codec.parameters()))
        made: Made = codec(original, original, torch.tensor([original.shape[1]], device=original.device))
        distances.append(float(mel_loss(made.waveform, original)))
        for name, part in made.found.parts.items():
            counts[name] += usage(part.codes, config.codebook_size).cpu()
        if len(sounds) < SHOWN:
            sounds.append(sound(dev.name(index), config, original, {"codec": made.waveform}))
    metrics = {"mel distance": float(np.mean(distances))}
    used = [
        StreamStatistics(stream=stream, counts=counts[stream.name].numpy(), stored_bytes=0)
        for stream in factor_streams(config)
    ]
    for item in used:
        for number, (share, perplexity) in enumerate(zip(item.used, item.perplexity, strict=True), start=1):
            metrics[f"share of codes in use, {item.stream.name} {number}"] = float(share)
            metrics[f"perplexity, {item.stream.name} {number}"] = float(perplexity)
    return Validation(metrics=metrics, sounds=sounds, usage=used)


def beginning(whole: Array, config: Facodec24kConfig, data: ClipSettings, like: Tensor) -> Tensor:
    """Return the beginning of an utterance, `(1, samples)`, whole frames, where and as precise as `like`."""
    most = max(data.clip_frames * config.hop_length, int(data.validation_seconds * config.sample_rate))
    frames = min(len(whole), most) // config.hop_length
    return torch.from_numpy(whole[: frames * config.hop_length])[None].to(like.device, like.dtype)


def sound(name: str, config: Facodec24kConfig, original: Tensor, made: dict[str, Tensor]) -> Sound:
    """Return an utterance to listen to."""
    return Sound(
        id=name,
        sample_rate=config.sample_rate,
        original=original[0].float().cpu().numpy(),
        made={name: waveform[0].float().cpu().numpy() for name, waveform in made.items()},
    )
