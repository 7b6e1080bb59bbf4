"""A small corpus, and the smallest codec that can be trained on it."""

import dataclasses
import os
import signal
import sys
from pathlib import Path
from typing import Any

import soundfile
import torch

from speechtok.tokenizers.facodec_24k.config import Facodec24kConfig
from speechtok.tokenizers.facodec_24k.saving import codec_entries, own_card
from speechtok.tokenizers.writing import write_tokenizer
from speechtok.training.facodec_24k import redecoder
from speechtok.training.facodec_24k.networks import PARTS, TrainedCodec
from speechtok.training.facodec_24k.run import train_facodec
from speechtok.training.facodec_24k.settings import (
    ClipSettings,
    DataSettings,
    FacodecSettings,
    JudgeSettings,
    RedecoderSettings,
    RedecoderSizes,
    TargetSettings,
)
from speechtok.training.loop import Watcher
from speechtok.training.settings import LoopSettings
from tests.goldens import recipe
from tests.training.recordings import recordings_of

SETTINGS = FacodecSettings(
    loop=LoopSettings(steps=4, batch_size=2, log_every=2, validate_every=2, save_every=2),
    data=DataSettings(clip_frames=16, max_seconds=0.5, validation_seconds=0.3),
    targets=TargetSettings(num_units=6, num_speakers=2),
    codec=Facodec24kConfig(
        encoder_channels=2,
        decoder_channels=32,
        lstm_layers=1,
        codebook_size=16,
        codebook_dim=4,
        prosody_channels=8,
        prosody_layers=2,
        timbre_channels=8,
    ),
    judges=JudgeSettings(periods=(2, 3), windows=(256,), period_channels=(4, 4, 8), band_channels=4),
)

REDECODER = RedecoderSettings(
    loop=SETTINGS.loop,
    data=ClipSettings(clip_frames=16, validation_seconds=0.3),
    redecoder=RedecoderSizes(channels=8, layers=2, decoder_channels=32),
    judges=SETTINGS.judges,
)


def make_corpus(folder: Path) -> Path:
    """Eight recordings of two speakers, with a manifest that names splits."""
    lines = ["audio\tsplit\tspeaker"]
    for number in range(8):
        name, samples = f"s{number % 2}_{number}.wav", 7000 + 711 * number
        soundfile.write(folder / name, 0.4 * recipe.speechlike(samples, seed=number), 16000)
        lines.append(f"{name}\t{'dev' if number > 5 else 'train'}\ts{number % 2}")
    (folder / "manifest.tsv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.tsv"


def write_codec(folder: Path, config: Facodec24kConfig) -> None:
    """A codec with first values, as a tokenizer."""
    torch.manual_seed(0)
    codec = TrainedCodec(config)
    entries = codec_entries({name: codec.part(name) for name in PARTS})
    write_tokenizer(folder, own_card(folder.name, config), entries)


def changed(section: str, **values: object) -> FacodecSettings:
    """The small settings with other values in one section."""
    part = dataclasses.replace(getattr(SETTINGS, section), **values)
    return dataclasses.replace(SETTINGS, **{section: part})


REPLACING = changed("losses", replace_codes_every=2)
"""Codes without use are replaced before the first and the third step."""


def train_facodec_redecoder(source: str | Path, *arguments: Any, **options: Any) -> Any:
    """Train on a dataset and the recordings it was made from."""
    options.setdefault("corpus_root", recordings_of(source))
    return redecoder.train_facodec_redecoder(source, *arguments, **options)


def run(folder: Path, manifest: str, accumulation: str) -> None:
    """Train some steps, whose batches go through the networks in parts, without what is dropped at random."""
    loop = dataclasses.replace(SETTINGS.loop, batch_size=4, accumulation=int(accumulation))
    losses = dataclasses.replace(
        SETTINGS.losses,
        codebook_dropout=0.0,
        residual_dropout=0.0,
        replace_codes_every=2 * int(accumulation == "1"),
    )
    train_facodec(manifest, folder, dataclasses.replace(SETTINGS, loop=loop, losses=losses))


def main() -> None:
    """Train in this process and die by SIGKILL after a step, without any chance to clean up."""
    manifest, folder, last = sys.argv[1:]

    def stepped(step: int, metrics: object) -> None:
        if step == int(last):
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    train_facodec(manifest, Path(folder), REPLACING, watcher=Watcher(stepped=stepped))


if __name__ == "__main__":
    main()
