"""The parts of a unit tokenizer and the files they come from.

Conventions: a checkpoint folder has one sub-folder per part, each with the published file of that part under its
published name: `features/`, `kmeans/`, `f0/`, `speaker/`, `vocoder/`. All sizes are read from the shapes in the
files, so no `config.json` is needed. A file of our own holds all parts, each under its name and a dot.

Contents: `Source`, `find_files`, `find_sources`, `read_settings`, `Components`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from speechtok.checkpoints.read import load_strict, read_shapes, read_state_dict
from speechtok.errors import CheckpointError
from speechtok.nets.weight_norm import fold, fold_weight_norm
from speechtok.tokenizers.units import convert
from speechtok.tokenizers.units.config import UnitConfig
from speechtok.tokenizers.units.cpc import Cpc
from speechtok.tokenizers.units.hubert import Hubert
from speechtok.tokenizers.units.jukebox import F0VqVae, VqVaeSettings
from speechtok.tokenizers.units.kmeans import ENTRY, KMeans, read_centers
from speechtok.tokenizers.units.logmel import LogMel
from speechtok.tokenizers.units.pitch import read_statistics
from speechtok.tokenizers.units.vocoder import UnitVocoder, VocoderSettings
from speechtok.tokenizers.units.vqvae_units import VqVaeUnits
from speechtok.tokenizers.units.xvector import XVector

Reader = Hubert | Cpc | LogMel | VqVaeUnits
"""All kinds of content readers; they share `hop_length`, `min_samples`, `channels` and `num_frames`."""
PARTS = ("features", "kmeans", "f0", "speaker", "vocoder")
"""Names of the sub-folders, and prefixes in our own files."""
STATISTICS, SPEAKERS = "f0_stats.pth", "speakers.json"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the entries of a part lie."""

    path: Path
    prefix: str = ""

    def __str__(self) -> str:
        return f"'{self.path}'"


def find_files(folder: Path) -> dict[str, Path]:
    """Return the files of a checkpoint folder's parts by path inside it, one weights file per part.

    Raises:
        CheckpointError: when there is no such folder.
    """
    if not folder.is_dir():
        raise CheckpointError(f"There is no checkpoint folder {folder}.")
    found: list[Path] = []
    for part in PARTS:
        own = folder / part
        if not own.is_dir():
            continue
        generators = sorted(own.glob("g_*"))
        if generators:
            found.append(generators[-1])  # the last step
        elif part == "kmeans":
            files = sorted(path for path in own.iterdir() if path.suffix in (".safetensors", ".npy", ".bin"))
            found += files[:1] or sorted(path for path in own.iterdir() if path.is_file())[:1]
        elif any(path.suffix in convert.WEIGHT_SUFFIXES for path in own.iterdir()):
            found.append(convert.find_weights(own))
        found += [own / name for name in (STATISTICS, SPEAKERS) if (own / name).is_file()]
    return {path.relative_to(folder).as_posix(): path for path in found}


def find_sources(files: Mapping[str, Path]) -> dict[str, Source]:
    """Return part → its weights, from `find_files`, or from the one file of our own."""
    if len(files) == 1 and (path := next(iter(files.values()))).name == "model.safetensors":
        tops = {name.split(".")[0] for name in read_shapes(path)}
        return {part: Source(path=path, prefix=f"{part}.") for part in PARTS if part in tops}
    sources = {}
    for name, path in files.items():
        part = name.split("/")[0]
        if part in PARTS and path.name not in (STATISTICS, SPEAKERS):
            sources[part] = Source(path=path, prefix="generator." if path.name.startswith("g_") else "")
    return sources


def read_settings(config: UnitConfig, files: Mapping[str, Path]) -> UnitConfig:
    """Return the config with the pitch statistics and speaker names that lie beside the weights.

    Raises:
        CheckpointError: when a file cannot be read or is of another kind.
    """
    for path in files.values():
        if path.name == STATISTICS:
            found = read_statistics(path)
            by_speaker = {index: list(pair) for index, pair in found.speakers.items()}
            config = replace(config, f0_mean_hz=found.mean_hz, f0_std_hz=found.std_hz, f0_speakers=by_speaker)
        if path.name == SPEAKERS:
            try:
                names = {str(name): int(index) for name, index in json.loads(path.read_text()).items()}
            except (ValueError, TypeError, AttributeError) as error:
                raise CheckpointError(f"'{path}' must map speaker names to rows ({error}).") from error
            config = replace(config, speakers=names)
    return config


def read_reader(config: UnitConfig, folder: Path | None) -> Reader:
    """Return the content reader alone, as fitting units needs it.

    Args:
        config: what to read.
        folder: checkpoint folder with `features/`; None for readers without weights.

    Raises:
        CheckpointError: when the weights are missing or do not fit.
    """
    sources = find_sources(find_files(folder)) if folder is not None else {}
    return _reader(config, sources, torch.float32)


@dataclass(kw_only=True)
class Components:
    """The networks of one composition, on the CPU, ready for inference."""

    reader: Reader
    """Waveforms to features, or straight to units for "vqvae"."""
    kmeans: KMeans | None
    """Features to units; None for "vqvae"."""
    f0: F0VqVae | None
    """The pitch quantizer."""
    speaker: XVector | None
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
            speaker=_speaker(sources["speaker"], dtype) if "speaker" in sources else None,
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
        elif part == "features" and config.features in ("hubert", "wav2vec2"):
            own = convert.read_hubert(source.path, config.layer, prefix=source.prefix)[1]
        elif part == "features" and config.features == "cpc":
            own = convert.read_cpc(source.path, config.layer, prefix=source.prefix)[1]
        else:
            own = _stored(source)
        entries |= {f"{part}.{name}": value for name, value in own.items()}
    return entries


def _stored(source: Source, wanted: Callable[[str], bool] = bool) -> dict[str, Tensor]:
    def needed(name: str) -> bool:
        return name.startswith(source.prefix) and wanted(name.removeprefix(source.prefix))

    stored = read_state_dict(source.path, wanted=needed)
    return {name.removeprefix(source.prefix): value for name, value in stored.items()}


def _shapes(source: Source) -> dict[str, tuple[int, ...]]:
    shapes = read_shapes(source.path).items()
    return {
        name.removeprefix(source.prefix): shape for name, shape in shapes if name.startswith(source.prefix)
    }


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
        shapes = _shapes(source)
        encoder = VqVaeUnits(_vqvae_settings(shapes, "code_encoder.", "code_vq.", source))
        _filled(encoder, _stored(source, lambda name: name.startswith("code_")), dtype, source)
        return encoder
    if config.features == "cpc":
        cpc_sizes, weights = convert.read_cpc(source.path, config.layer, prefix=source.prefix)
        return convert.build_cpc(cpc_sizes, weights, dtype=dtype, source=str(source))
    sizes, weights = convert.read_hubert(source.path, config.layer, prefix=source.prefix)
    return convert.build_hubert(sizes, weights, normalize=config.normalize, dtype=dtype, source=str(source))


def _centers(source: Source) -> Tensor:
    return _stored(source)[ENTRY] if source.prefix else read_centers(source.path)


def _kmeans(sources: Mapping[str, Source], dtype: torch.dtype) -> KMeans:
    if "kmeans" not in sources:
        raise CheckpointError(
            "The checkpoint lacks the part 'kmeans': a folder kmeans/ with km.bin, a .npy or a .safetensors file."
        )
    centers = _centers(sources["kmeans"])
    with torch.device("meta"):
        network = KMeans(*centers.shape)
    _filled(network, {ENTRY: centers}, dtype, sources["kmeans"])
    return network


def _f0(source: Source, dtype: torch.dtype) -> F0VqVae:
    settings = _vqvae_settings(_shapes(source), "encoder.", "vq.", source)
    with torch.device("meta"):
        network = F0VqVae(settings)
    _filled(network, _stored(source), dtype, source)
    return network


def _speaker(source: Source, dtype: torch.dtype) -> XVector:
    with torch.device("meta"):
        network = XVector()
    _filled(network, _stored(source), dtype, source)
    return network


def _vocoder(source: Source, dtype: torch.dtype) -> UnitVocoder:
    with torch.device("meta"):
        network = UnitVocoder(_vocoder_settings(_shapes(source), source))
        if "conv_pre.weight" in _shapes(source):
            fold_weight_norm(network)  # the file was saved folded
    _filled(network, _stored(source), dtype, source)
    return network


def _vqvae_settings(
    shapes: Mapping[str, tuple[int, ...]], encoder: str, codebook: str, source: Source
) -> VqVaeSettings:
    pattern = re.compile(re.escape(encoder) + r"level_blocks\.0\.model\.(\d+)\.0\.weight$")
    kernels = {int(match[1]): shape[2] for name, shape in shapes.items() if (match := pattern.match(name))}
    vectors = shapes.get(f"{codebook}level_blocks.0.k")
    if not kernels or vectors is None:
        raise CheckpointError(f"{source} holds no VQ-VAE: it has no entries {encoder}* and {codebook}*.")
    return VqVaeSettings(
        strides=tuple(kernels[index] // 2 for index in sorted(kernels)),
        codebook_size=vectors[0],
        channels=vectors[1],
    )


def _vocoder_settings(shapes: Mapping[str, tuple[int, ...]], source: Source) -> VocoderSettings:
    def weight(name: str) -> tuple[int, ...] | None:
        return shapes.get(f"{name}.weight_v") or shapes.get(f"{name}.weight")

    kernels: list[int] = []
    while (up := weight(f"ups.{len(kernels)}")) is not None:
        kernels.append(up[2])
    first, table = weight("conv_pre"), shapes.get("dict.weight")
    if first is None or not kernels:
        raise CheckpointError(f"{source} holds no unit vocoder: it has no entries conv_pre.* and ups.*.")
    blocks = [shape[2] for n in range(3) if (shape := weight(f"resblocks.{n}.convs1.0")) is not None]
    learned = None
    if table is None:
        learned = _vqvae_settings(shapes, "code_encoder.", "code_vq.", source)
    has_f0, speaker = "f0_dict.weight" in shapes, None
    if "spkr.weight" in shapes:
        speaker = "xvector" if "spkr.bias" in shapes else "table"
    return VocoderSettings(
        num_units=table[0] if table is not None else VocoderSettings.num_units,
        rates=tuple(kernel // 2 for kernel in kernels),
        kernels=tuple(kernels),
        channels=first[0],
        embedding=table[1] if table is not None else first[1],
        block_kernels=tuple(blocks),
        f0=_vqvae_settings(shapes, "quantizer.encoder.", "quantizer.vq.", source) if has_f0 else None,
        f0_codes=shapes["f0_dict.weight"][0] if has_f0 else VocoderSettings.f0_codes,
        speaker=speaker,
        unit_encoder=learned,
    )
