"""The parts of a unit tokenizer, built from their files.

All sizes are read from the shapes in the files; only a HuBERT of a size of its own needs its `config.json`.

Contents: `Reader`, `read_reader`, `Components`, `stored_entries`, `with_own_quantizer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechtok.checkpoints.build import making
from speechtok.checkpoints.read import load_strict, read_state_dict
from speechtok.errors import CheckpointError
from speechtok.nets.weight_norm import fold, fold_weight_norm
from speechtok.tokenizers.units import convert
from speechtok.tokenizers.units.config import UnitConfig
from speechtok.tokenizers.units.cpc import Cpc
from speechtok.tokenizers.units.hubert import Hubert
from speechtok.tokenizers.units.hubert_config import KINDS
from speechtok.tokenizers.units.jukebox import F0VqVae
from speechtok.tokenizers.units.kmeans import ENTRY, KMeans, read_centers
from speechtok.tokenizers.units.logmel import LogMel
from speechtok.tokenizers.units.sizes import shapes_of, vocoder_settings, vqvae_settings
from speechtok.tokenizers.units.sources import Source, find_files, find_sources, read_settings
from speechtok.tokenizers.units.vocoder import UnitVocoder
from speechtok.tokenizers.units.vqvae_units import VqVaeUnits
from speechtok.tokenizers.units.wavlm import WavLmSpeaker
from speechtok.tokenizers.units.xvector import XVector

Reader = Hubert | Cpc | LogMel | VqVaeUnits
"""All kinds of content readers; they share `hop_length`, `min_samples`, `channels` and `num_frames`."""
SpeakerNetwork = XVector | WavLmSpeaker
"""All kinds of speaker networks; they share `channels`."""


def read_reader(config: UnitConfig, folder: Path | None) -> Reader:
    """Return the content reader alone, as fitting units needs it.

    Args:
        config: what to read.
        folder: checkpoint folder with `features/`; None for readers without weights.

    Raises:
        CheckpointError: when the weights are missing or do not fit.
    """
    files = find_files(folder) if folder is not None else {}
    return _reader(read_settings(config, files), find_sources(files), torch.float32)


@dataclass(kw_only=True)
class Components:
    """The networks of one composition, on the CPU, ready for inference."""

    reader: Reader
    """Waveforms to features, or straight to units for "vqvae"."""
    kmeans: KMeans | None
    """Features to units; None for "vqvae"."""
    f0: F0VqVae | None
    """The pitch quantizer."""
    speaker: SpeakerNetwork | None
    """Waveforms to speaker vectors."""
    vocoder: UnitVocoder | None
    """Back to waveforms."""

    @staticmethod
    def read(config: UnitConfig, sources: Mapping[str, Source], dtype: torch.dtype) -> Components:
        """Build every part that has a source.

        Raises:
            CheckpointError: when a needed part is missing, or a file is damaged or does not fit.
        """
        vocoder = _vocoder(sources["vocoder"], dtype) if "vocoder" in sources else None
        f0 = _f0(sources["f0"], dtype) if "f0" in sources else None
        if vocoder is not None and vocoder.settings.f0 is not None:
            f0 = vocoder.quantizer  # the one it was trained with
        return Components(
            reader=_reader(config, sources, dtype),
            kmeans=None if config.features == "vqvae" else _kmeans(sources, dtype),
            f0=f0,
            speaker=_speaker(sources["speaker"], dtype, config.speaker_network)
            if "speaker" in sources
            else None,
            vocoder=vocoder,
        )

    def networks(self) -> tuple[nn.Module, ...]:
        """Return all that are there."""
        parts = (self.reader, self.kmeans, self.f0, self.speaker, self.vocoder)
        return tuple(part for part in parts if part is not None)


def stored_entries(config: UnitConfig, sources: Mapping[str, Source]) -> dict[str, Tensor]:
    """Return the entries every part uses, in their stored type, under its name, a dot and their published names."""
    entries: dict[str, Tensor] = {}
    for part, source in sources.items():
        if part == "kmeans":
            own = {ENTRY: _centers(source)}
        elif part == "features" and config.features in KINDS:
            own = convert.read_hubert(
                source.path, config.layer, prefix=source.prefix, stated=config.feature_network
            )[1]
        elif part == "features" and config.features == "cpc":
            own = convert.read_cpc(source.path, config.layer, prefix=source.prefix)[1]
        else:
            own = _stored(source)
        entries |= {f"{part}.{name}": value for name, value in own.items()}
    return entries


def with_own_quantizer(entries: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return entries with the pitch quantizer inside a vocoder, where there is one, in the place of the part `f0`."""
    inside = "vocoder.quantizer."
    if not any(name.startswith(inside) for name in entries):
        return dict(entries)
    kept = {name: value for name, value in entries.items() if not name.startswith(("f0.", inside))}
    own = {
        f"f0.{name.removeprefix(inside)}": value for name, value in entries.items() if name.startswith(inside)
    }
    return kept | own


def _stored(source: Source, wanted: Callable[[str], bool] = bool) -> dict[str, Tensor]:
    def needed(name: str) -> bool:
        return name.startswith(source.prefix) and wanted(name.removeprefix(source.prefix))

    stored = read_state_dict(source.path, wanted=needed)
    return {name.removeprefix(source.prefix): value for name, value in stored.items()}


def _filled(network: nn.Module, entries: Mapping[str, Tensor], dtype: torch.dtype, source: Source) -> None:
    cast = {name: value.to(dtype) if value.is_floating_point() else value for name, value in entries.items()}
    load_strict(network, cast, source=str(source))
    fold(network)
    network.eval()


def _reader(config: UnitConfig, sources: Mapping[str, Source], dtype: torch.dtype) -> Reader:
    if config.features == "logmel":
        return LogMel()
    if "features" not in sources:
        raise CheckpointError(
            f"The checkpoint lacks the part 'features': a folder features/ with the weights of {config.features}."
        )
    source = sources["features"]
    if config.features == "vqvae":
        shapes = shapes_of(source)
        encoder = VqVaeUnits(vqvae_settings(shapes, "code_encoder.", "code_vq.", source))
        _filled(encoder, _stored(source, lambda name: name.startswith("code_")), dtype, source)
        return encoder
    if config.features == "cpc":
        cpc_sizes, weights = convert.read_cpc(source.path, config.layer, prefix=source.prefix)
        return convert.build_cpc(cpc_sizes, weights, dtype=dtype, source=str(source))
    sizes, weights = convert.read_hubert(
        source.path, config.layer, prefix=source.prefix, stated=config.feature_network
    )
    return convert.build_hubert(sizes, weights, normalize=config.normalize, dtype=dtype, source=str(source))


def _centers(source: Source) -> Tensor:
    return _stored(source)[ENTRY] if source.prefix else read_centers(source.path)


def _kmeans(sources: Mapping[str, Source], dtype: torch.dtype) -> KMeans:
    if "kmeans" not in sources:
        raise CheckpointError(
            "The checkpoint lacks the part 'kmeans': a folder kmeans/ with km.bin, a .npy or a .safetensors file."
        )
    centers = _centers(sources["kmeans"])
    with making(str(sources["kmeans"])):
        network = KMeans(*centers.shape)
    _filled(network, {ENTRY: centers}, dtype, sources["kmeans"])
    return network


def _f0(source: Source, dtype: torch.dtype) -> F0VqVae:
    settings = vqvae_settings(shapes_of(source), "encoder.", "vq.", source)
    with making(str(source)):
        network = F0VqVae(settings)
    _filled(network, _stored(source), dtype, source)
    return network


def _speaker(source: Source, dtype: torch.dtype, network: Mapping[str, Any]) -> SpeakerNetwork:
    if network:
        with making(str(source)):
            wavlm = WavLmSpeaker(network)
        stored = _stored(source)
        cast = {name: value.to(dtype) for name, value in wavlm.entries(stored).items()}
        load_strict(wavlm.to(dtype), cast, source=str(source))
        return wavlm.eval()
    with making(str(source)):
        xvector = XVector()
    _filled(xvector, _stored(source), dtype, source)
    return xvector


def _vocoder(source: Source, dtype: torch.dtype) -> UnitVocoder:
    with making(str(source)):
        network = UnitVocoder(vocoder_settings(shapes_of(source), source))
        if "conv_pre.weight" in shapes_of(source):
            fold_weight_norm(network)  # the file was saved folded
    _filled(network, _stored(source), dtype, source)
    return network
