"""Where the parts of a unit tokenizer lie, and the settings beside them.

Conventions: a checkpoint folder has one sub-folder per part, each with the published file of that part under its
published name: `features/`, `kmeans/`, `f0/`, `speaker/`, `vocoder/`. A file of our own holds all parts, each under
its name and a dot.

Contents: `Source`, `find_files`, `find_sources`, `read_settings`.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from speechtok.checkpoints.read import INDEX, read_shapes
from speechtok.errors import CheckpointError
from speechtok.limits import JSON_BYTES, read_bytes, read_json
from speechtok.tokenizers.units import convert, hubert_config
from speechtok.tokenizers.units.config import UnitConfig
from speechtok.tokenizers.units.pitch import read_statistics

PARTS = ("features", "kmeans", "f0", "speaker", "vocoder")
"""Names of the sub-folders, and prefixes in our own files."""
STATISTICS = ("f0_stats.pth", "f0_stats.th")
"""Names of published pitch statistics; a config may state another."""
SPEAKERS, CONFIG, PREPROCESSOR = "speakers.json", "config.json", "preprocessor_config.json"
SPEAKER_LIST, STYLES = "speakers.txt", "styles.txt"
"""Lists of names, one a line in the order of a table's rows."""
_BESIDE = {
    "features": (CONFIG,),
    "f0": (*STATISTICS, CONFIG),
    "speaker": (CONFIG, PREPROCESSOR),
    "vocoder": (*STATISTICS, SPEAKERS, SPEAKER_LIST, STYLES, CONFIG),
}
"""Part → the files that are read beside its weights."""
_CENTRES = (".safetensors", ".npy", ".bin", ".npz", ".pt", ".pth")
"""Endings of k-means files; where there is none of them, the first file is read, whatever its name."""
_PITCHED = ("f0", "vocoder")
_CONFIGS = tuple(f"{part}/{CONFIG}" for part in _PITCHED)
_ROWS = 1_000_000
"""Rows that a table of voices may have."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the entries of a part lie."""

    path: Path
    prefix: str = ""

    def __str__(self) -> str:
        return f"'{self.path}'"


def find_files(folder: Path) -> dict[str, Path]:
    """Return the files of a checkpoint folder's parts by path inside it, the weights file or its list first.

    Raises:
        CheckpointError: when there is no such folder.
    """
    if not folder.is_dir():
        raise CheckpointError(f"There is no checkpoint folder {folder}.")
    found: list[Path] = []
    statistics = _statistics_names({name: folder / name for name in _CONFIGS if (folder / name).is_file()})
    for part in PARTS:
        own = folder / part
        if not own.is_dir():
            continue
        beside = [*_BESIDE.get(part, ()), *(statistics if part in _PITCHED else ())]
        generators = sorted(own.glob("g_*"))
        if generators:
            found.append(generators[-1])  # the last step
        elif part == "kmeans":
            files = sorted(path for path in own.iterdir() if path.suffix in _CENTRES)
            found += files[:1] or sorted(path for path in own.iterdir() if path.is_file())[:1]
        elif any(
            path.suffix in convert.WEIGHT_SUFFIXES and path.name not in beside for path in own.iterdir()
        ):
            found += convert.find_weights(own, apart_from=beside)
        found += [own / name for name in dict.fromkeys(beside) if (own / name).is_file()]
    return {path.relative_to(folder).as_posix(): path for path in found}


def find_sources(files: Mapping[str, Path]) -> dict[str, Source]:
    """Return part → its weights, from `find_files`, or from the one file of our own."""
    if set(files) == {"model.safetensors"}:
        path = files["model.safetensors"]
        tops = {name.split(".")[0] for name in read_shapes(path)}
        return {part: Source(path=path, prefix=f"{part}.") for part in PARTS if part in tops}
    sources: dict[str, Source] = {}
    statistics = _statistics_names(files)
    for name, path in files.items():
        part = name.split("/")[0]
        beside = (*_BESIDE.get(part, ()), *(statistics if part in _PITCHED else ()))
        listed = part in sources and sources[part].path.name.endswith(
            INDEX
        )  # the list comes before its files
        if part in PARTS and path.name not in beside and not listed:
            is_trained = path.name.startswith("g_") or (part == "vocoder" and _holds_generator(path))
            sources[part] = Source(path=path, prefix="generator." if is_trained else "")
    return sources


def _holds_generator(path: Path) -> bool:
    return any(name.startswith("generator.") for name in read_shapes(path))


def _statistics_names(files: Mapping[str, Path]) -> tuple[str, ...]:
    """Return the names that pitch statistics have: those that the configs among the files ask for, and the usual."""
    stated = []
    for path in (files[name] for name in _CONFIGS if name in files):
        stated_there = _read_json(path)
        asked = stated_there.get("f0_stats") if stated_there.get("f0") is not False else None
        if asked is not None and not isinstance(asked, str):
            raise CheckpointError(f"'{path}' must state a file name as f0_stats.")
        stated += [PurePosixPath(asked.replace("\\", "/")).name] if asked else []
    return (*stated, *STATISTICS)


def read_settings(config: UnitConfig, files: Mapping[str, Path]) -> UnitConfig:
    """Return the config with what lies beside the weights: pitch statistics and modes, speaker names and network.

    Raises:
        CheckpointError: when a file cannot be read or is of another kind.
    """
    statistics = _statistics_names(files)
    if config.features in hubert_config.KINDS:
        stated = hubert_config.read_statement(files, config.features)
        config = replace(config, feature_network=stated or config.feature_network)
    for name, path in files.items():
        part = name.split("/")[0]
        if part in _PITCHED and path.name in statistics:
            found = read_statistics(path)
            by_speaker = {index: list(pair) for index, pair in found.speakers.items()}
            config = replace(config, f0_mean_hz=found.mean_hz, f0_std_hz=found.std_hz, f0_speakers=by_speaker)
        elif path.name == SPEAKERS:
            names = _read_json(path)
            if not all(type(row) is int and 0 <= row < _ROWS for row in names.values()):
                raise CheckpointError(f"'{path}' must map speaker names to rows, which are whole numbers.")
            config = replace(config, speakers=names)
        elif path.name in (SPEAKER_LIST, STYLES):
            names = _read_names(path)
            is_styles = path.name == STYLES
            config = replace(config, styles=names) if is_styles else replace(config, speakers=names)
        elif path.name == CONFIG and part == "speaker":
            level = _read_json(path.with_name(PREPROCESSOR)) if path.with_name(PREPROCESSOR).is_file() else {}
            network = _read_json(path) | {"do_normalize": _flag(level, "do_normalize", False, path)}
            config = replace(config, speaker_network=network)
        elif path.name == CONFIG and part in ("f0", "vocoder"):
            config = _with_flags(config, path)
    asked = statistics[: -len(STATISTICS)]
    if config.f0_normalize and asked and not any(path.name in statistics for path in files.values()):
        raise CheckpointError(
            f"The config beside the vocoder or pitch quantizer asks for the pitch statistics {asked[0]!a}, which are "
            f"not there, and without which codes differ; put that file into the folder vocoder/ or f0/."
        )
    return config


def _with_flags(config: UnitConfig, path: Path) -> UnitConfig:
    """Return the config with what a trainer's settings say of pitch."""
    flags = _read_json(path)
    curve, median = _flag(flags, "f0_interp", False, path), _flag(flags, "f0_median", False, path)
    unvoiced = "curve" if curve else "median" if median else config.f0_unvoiced
    normalize = _flag(flags, "f0_normalize", config.f0_normalize, path)
    return replace(config, f0_normalize=normalize, f0_unvoiced=unvoiced)


def _flag(values: Mapping[str, Any], name: str, default: bool, path: Path) -> bool:
    """Return a setting that is true or false; null is the default."""
    value = values.get(name)
    if value is None:
        return default
    if value not in (True, False):
        raise CheckpointError(
            f"'{path}' has {reprlib.repr(value)} in field {name}, which must be true or false."
        )
    return bool(value)


def _read_names(path: Path) -> dict[str, int]:
    """Return name → line of a list of names."""
    text = read_bytes(path, JSON_BYTES, "list of names", error=CheckpointError).decode("utf-8", "replace")
    names = text.splitlines()
    if not names or len(set(names)) != len(names) or not all(name == name.strip() != "" for name in names):
        raise CheckpointError(
            f"'{path}' must hold one name a line, each once, in the order of the table's rows."
        )
    return {name: row for row, name in enumerate(names)}


def _read_json(path: Path) -> dict[str, Any]:
    content = read_json(path, error=CheckpointError)
    if not isinstance(content, dict):
        raise CheckpointError(f"'{path}' must hold a JSON object.")
    return content
