"""What the spectral codec makes of speech that it is not trained on.

Contents: `validate`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from speechtok.report.training import Sound
from speechtok.shards.statistics import StreamStatistics
from speechtok.tokenizers.spectral.writing import stream_of
from speechtok.training.spectral.examples import SegmentExamples
from speechtok.training.spectral.losses import SpectralDistance
from speechtok.training.spectral.networks import TrainedCodec
from speechtok.training.spectral.settings import SpectralSettings
from speechtok.training.task import Validation

_SHOWN = 3
"""Utterances to listen to."""


def validate(
    codec: TrainedCodec,
    dev: SegmentExamples,
    looked_at: Sequence[int],
    settings: SpectralSettings,
    distance: SpectralDistance,
) -> Validation:
    """Return the spectral distance of utterances with a quarter, half and all of the codebooks, and how the codes are used.

    Args:
        codec: in evaluation mode.
        dev: utterances.
        looked_at: which of them.
        settings: of the run.
        distance: how far speech is apart.
    """
    config, count = settings.codec, settings.codec.num_codebooks
    like = next(codec.parameters())
    device = like.device
    distance.to(device)
    most = int(settings.data.validation_seconds * config.sample_rate)
    numbers = sorted({max(1, count // 4), max(1, count // 2), count})
    found: dict[int, list[float]] = {number: [] for number in numbers}
    counts = np.zeros((count, config.codebook_size), dtype=np.int64)
    sounds: list[Sound] = []
    heard = {looked_at[len(looked_at) * place // _SHOWN] for place in range(_SHOWN)}
    for index in looked_at:
        whole = dev.whole(index)[:most]
        filled = np.pad(whole, (0, max(-len(whole) % config.hop_length, 4 * 2048 - len(whole))))
        filled = filled[: len(filled) // config.hop_length * config.hop_length]
        waveform = torch.from_numpy(filled)[None].to(like)
        latents = codec.standardized(codec.encoder(waveform))
        made = {}
        for number in numbers:
            coded = codec.codebooks(latents, torch.tensor([number], device=device))
            made[number] = codec.decoder(coded.features if codec.codebooks.begun else latents)
            found[number].append(float(distance(made[number], waveform)))
        for stage, codes in enumerate(coded.codes[0].cpu().numpy()):
            counts[stage] += np.bincount(codes, minlength=config.codebook_size)
        if index in heard:
            spoken = {
                f"{number} codebooks": item[0].cpu().numpy()[: len(whole)] for number, item in made.items()
            }
            sounds.append(
                Sound(id=dev.name(index), sample_rate=config.sample_rate, original=whole, made=spoken)
            )
    metrics = {
        f"spectral distance, {number} codebooks": float(np.mean(values)) for number, values in found.items()
    }
    usage = [StreamStatistics(stream=stream_of(config), counts=counts, stored_bytes=0)]
    return Validation(metrics=metrics, sounds=sounds, usage=usage)
