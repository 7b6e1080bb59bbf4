"""Where the parts of a unit tokenizer lie, and the settings beside them.

Conventions: a checkpoint folder has one sub-folder per part, each with the published file of that part under its
published name: `features/`, `kmeans/`, `f0/`, `speaker/`, `vocoder/`. A file of our own holds all parts, each under
its name and a dot.

Contents: `Source`, `find_files`, `find_sources`, `read_settings`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from speechtok.checkpoints.read import read_shapes
from speechtok.errors import CheckpointError
from speechtok.tokenizers.units import convert
from speechtok.tokenizers.units.config import UnitConfig
from speechtok.tokenizers.units.pitch import read_statistics

PARTS = ("features", "kmeans", "f0", "speaker", "vocoder")
"""Names of the sub-folders, and prefixes in our own files."""
STATISTICS, SPEAKERS, CONFIG, PREPROCESSOR = (
    "f0_stats.pth",
    "speakers.json",
    "config.json",
    "preprocessor_config.json",
)
_BESIDE = {
    "f0": (STATISTICS, CONFIG),
    "speaker": (CONFIG, PREPROCESSOR),
    "vocoder": (STATISTICS, SPEAKERS, CONFIG),
}
"""Part → the files that are read beside its weights."""


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
        found += [own / name for name in _BESIDE.get(part, ()) if (own / name).is_file()]
    return {path.relative_to(folder).as_posix(): path for path in found}


def find_sources(files: Mapping[str, Path]) -> dict[str, Source]:
    """Return part → its weights, from `find_files`, or from the one file of our own."""
    if len(files) == 1 and (path := next(iter(files.values()))).name == "model.safetensors":
        tops = {name.split(".")[0] for name in read_shapes(path)}
        return {part: Source(path=path, prefix=f"{part}.") for part in PARTS if part in tops}
    sources = {}
    for name, path in files.items():
        part = name.split("/")[0]
        if part in PARTS and path.name not in _BESIDE.get(part, ()):
            sources[part] = Source(path=path, prefix="generator." if path.name.startswith("g_") else "")
    return sources


def read_settings(config: UnitConfig, files: Mapping[str, Path]) -> UnitConfig:
    """Return the config with what lies beside the weights: pitch statistics and modes, speaker names and network.

    Raises:
        CheckpointError: when a file cannot be read or is of another kind.
    """
    for name, path in files.items():
        part = name.split("/")[0]
        if path.name == STATISTICS:
            found = read_statistics(path)
            by_speaker = {index: list(pair) for index, pair in found.speakers.items()}
            config = replace(config, f0_mean_hz=found.mean_hz, f0_std_hz=found.std_hz, f0_speakers=by_speaker)
        elif path.name == SPEAKERS:
            try:
                names = {str(name): int(index) for name, index in _read_json(path).items()}
            except (ValueError, TypeError) as error:
                raise CheckpointError(f"'{path}' must map speaker names to rows ({error}).") from error
            config = replace(config, speakers=names)
        elif path.name == CONFIG and part == "speaker":
            level = _read_json(path.with_name(PREPROCESSOR)) if path.with_name(PREPROCESSOR).is_file() else {}
            network = _read_json(path) | {"do_normalize": bool(level.get("do_normalize", False))}
            config = replace(config, speaker_network=network)
        elif path.name == CONFIG and part in ("f0", "vocoder"):
            flags = _read_json(path)
            unvoiced = "curve" if flags.get("f0_interp") else "median" if flags.get("f0_median") else None
            config = replace(
                config,
                f0_normalize=bool(flags.get("f0_normalize", config.f0_normalize)),
                f0_unvoiced=unvoiced or config.f0_unvoiced,
            )
    return config


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"'{path}' cannot be read as JSON ({error}).") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"'{path}' must hold a JSON object.")
    return content
