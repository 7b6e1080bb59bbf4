"""The networks before training: new, or taken from a checkpoint.

Contents: `TrainedVocoder`, `build_networks`, `warm_start`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from speechtok.checkpoints.read import check_entries, read_state_dict
from speechtok.errors import CheckpointError
from speechtok.tokenizers.units.jukebox import F0VqVae
from speechtok.tokenizers.units.sources import find_files, find_sources
from speechtok.tokenizers.units.tokenizer import UnitTokenizer
from speechtok.tokenizers.units.vocoder import TABLE_ROWS, UnitVocoder, VocoderSettings
from speechtok.training.checkpoint import NETWORKS, find_checkpoint
from speechtok.training.initial import draw_convolutions
from speechtok.training.unit_vocoder.discriminators import Discriminators
from speechtok.training.unit_vocoder.settings import NetworkSettings

_RATES = {320: (5, 4, 4, 2, 2), 160: (5, 4, 2, 2, 2)}
"""Published up-sampling by samples per unit."""


class TrainedVocoder(nn.Module):
    """A vocoder as a step calls it. Entries: `vocoder`."""

    def __init__(self, vocoder: UnitVocoder) -> None:
        super().__init__()
        self.vocoder = vocoder

    def forward(self, units: Tensor, pitch: Tensor | None, speaker: Tensor | None) -> Tensor:
        """Return `(batch, samples)`.

        Args:
            units: `(batch, frames)`.
            pitch: `(batch, codes)`, for a vocoder with pitch.
            speaker: rows `(batch,)` or vectors `(batch, 512)`, for a vocoder with speakers.
        """
        voice = None if speaker is None else self.vocoder.voice(speaker)
        return self.vocoder.generate(self.vocoder.stack(units, pitch, voice))


def build_networks(
    tokenizer: UnitTokenizer, settings: NetworkSettings, *, voices: int, seed: int
) -> tuple[UnitVocoder, Discriminators]:
    """Return new networks; the vocoder holds the tokenizer's pitch quantizer, frozen.

    Args:
        tokenizer: whose units are spoken.
        settings: sizes.
        voices: number of speakers; a table has at least the 200 rows of published ones.
        seed: decides the first values.

    Raises:
        CheckpointError: when the tokenizer lacks what the vocoder is to take.
        ValueError: when `rates` do not make a unit's samples, or are unknown for its length.
    """
    hop, quantizer = tokenizer.hop_length, tokenizer.parts.f0
    if settings.pitch and quantizer is None:
        raise CheckpointError(
            f"'{tokenizer.name}' has no pitch quantizer; train one (speechtok train f0-vq), "
            "or set network.pitch=false."
        )
    if settings.speaker == "xvector" and tokenizer.parts.speaker is None:
        raise CheckpointError(
            f"'{tokenizer.name}' has no part 'speaker' that makes x-vectors; add one, or set network.speaker=table."
        )
    rates = settings.rates or _RATES.get(hop, ())
    sizes = VocoderSettings(
        num_units=tokenizer.config.num_units,
        rates=rates,
        kernels=tuple(2 * rate + rate % 2 for rate in rates),
        channels=settings.channels,
        embedding=settings.embedding,
        block_kernels=settings.block_kernels,
        f0=quantizer.settings if settings.pitch and quantizer is not None else None,
        f0_codes=quantizer.settings.codebook_size if quantizer is not None else VocoderSettings.f0_codes,
        speaker=settings.speaker,
        voices=max(TABLE_ROWS, voices),
    )
    if not rates or sizes.hop_length != hop:
        raise ValueError(
            f"`network.rates` must have the product {hop}, the samples of a unit of '{tokenizer.name}', "
            f"got {list(rates)}."
        )
    torch.manual_seed(seed)
    vocoder = UnitVocoder(sizes)
    draw_convolutions(vocoder)
    if sizes.f0 is not None and quantizer is not None:
        _freeze(vocoder.quantizer, quantizer)
    return vocoder, Discriminators(
        settings.periods, period_channels=settings.period_channels, scale_channels=settings.scale_channels
    )


def warm_start(path: Path, vocoder: UnitVocoder, discriminators: Discriminators) -> None:
    """Put weights of a checkpoint into new networks; what training them before left behind is not taken over.

    Args:
        path: a published `g_XXXXXXXX`, whose `do_XXXXXXXX` is read too where it lies beside it; a folder with
            the part `vocoder`; or the folder of a training run.
        vocoder: the quantizer inside stays as it is.
        discriminators: filled where the checkpoint has some.

    Raises:
        CheckpointError: when there is no such checkpoint, or it is of other sizes.
    """
    run = find_checkpoint(path / "checkpoints") if path.is_dir() else None
    if run is not None:
        file = run / NETWORKS
        _fill(vocoder, file, "vocoder.vocoder.")
        _fill(discriminators, file, "discriminators.")
        return
    if path.is_dir():
        source = find_sources(_files_of(path)).get("vocoder")
        if source is None:
            raise CheckpointError(f"{path} holds neither a training run nor a vocoder to start from.")
        file, prefix = source.path, source.prefix
    else:
        file, prefix = path, "generator."
    _fill(vocoder, file, prefix)
    if re.fullmatch(r"g_\d+", file.name):
        judges = file.with_name(f"do_{file.name.removeprefix('g_')}")
        if judges.is_file():
            _fill(discriminators, judges, "", wanted=lambda name: name.startswith(("mpd.", "msd.")))


def _files_of(folder: Path) -> dict[str, Path]:
    own = folder / "model.safetensors"
    return {own.name: own} if own.is_file() else find_files(folder)


def _fill(
    network: nn.Module, file: Path, prefix: str, wanted: Callable[[str], bool] = lambda name: True
) -> None:
    found = read_state_dict(file, wanted=lambda name: name.startswith(prefix) and wanted(name))
    stored = {name.removeprefix(prefix): value for name, value in found.items()}
    own = network.state_dict()
    if not any(name in own for name in stored):
        raise CheckpointError(f"'{file}' holds no {type(network).__name__} to start from.")
    frozen = {name: value for name, value in own.items() if name.startswith("quantizer.")}
    filled = {name: value for name, value in stored.items() if not name.startswith("quantizer.")} | frozen
    check_entries(
        {name: tuple(value.shape) for name, value in own.items()},
        {name: tuple(value.shape) for name, value in filled.items()},
        source=f"'{file}'",
    )
    network.load_state_dict(filled)


def _freeze(inside: F0VqVae, quantizer: F0VqVae) -> None:
    inside.load_state_dict(quantizer.state_dict())
    inside.requires_grad_(False)
