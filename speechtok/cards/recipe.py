"""A recipe: the argument list of `speechtok tokenize`, written down."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from speechtok.cards.yaml_file import apply_changes, build, read_yaml
from speechtok.errors import CardError, RequestError


@dataclass(frozen=True, kw_only=True)
class RaySection:
    """Options of `speechtok tokenize` that are about Ray."""

    address: str | None = None
    """A running Ray cluster."""
    workers: int | None = None
    """Most Ray workers."""
    cpus_per_worker: float | None = None
    """CPUs each worker takes."""
    gpus_per_worker: float | None = None
    """GPUs each worker takes, fractions allowed."""
    runtime_env: dict[str, Any] | None = None
    """What Ray prepares on each node, see its `runtime_env`."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Arguments of `speechtok tokenize`; what is left out keeps the command's default.

    Machine paths are better given on the command line, which overrides the recipe.
    """

    corpus: str | None = None
    """What to tokenize."""
    output: str | None = None
    """Folder of the dataset."""
    tokenizer: str | None = None
    """Card name, card file or saved folder."""
    checkpoint: str | None = None
    """Folder with the published files."""
    device: str | None = None
    """Where the tokenizer runs."""
    split: str | None = None
    """Split of utterances whose corpus names none."""
    shard_seconds: float | None = None
    """Audio per shard, in seconds."""
    file_mb: float | None = None
    """Size of the files of the dataset, in MiB."""
    batch_seconds: float | None = None
    """Audio that is encoded together at most, in seconds."""
    chunk_seconds: float | None = None
    """Recordings longer than this many seconds go through in pieces."""
    segment: str | None = None
    """How long utterances become several: vad, silence or fixed."""
    max_segment_seconds: float | None = None
    """Utterances longer than this many seconds are segmented."""
    channels: str | None = None
    """How several channels become one: mean, first or error."""
    num_codebooks: int | None = None
    """Keep only the first codebooks."""
    dtype: str | None = None
    """Float type of all computation: float32 or float64."""
    columns: dict[str, str] | None = None
    """Names a manifest uses, by the name they have here."""
    corpus_format: str | None = None
    """Format of the corpus, such as folder or ljspeech, instead of looking what it is."""
    limit: int | None = None
    """Take only the first utterances of the corpus, this many."""
    sample: float | None = None
    """Take only this share of the utterances, always the same ones."""
    annotate: tuple[str, ...] | None = None
    """Annotations that are made once the corpus is tokenized, such as quality."""
    annotation_settings: dict[str, dict[str, Any]] | None = None
    """Settings of these, by name."""
    executor: str | None = None
    """local or ray."""
    ray: RaySection | None = None
    """Where and how Ray runs."""
    max_errors: int | str | None = None
    """Quarantined inputs after which the job gives up: a number, or a share such as 1%."""
    timeout_seconds: float | None = None
    """How long reading one recording may take before it is quarantined."""
    memory_mb: int | None = None
    """Memory that decoding may take, in MiB, before the recording is quarantined."""

    def arguments(self) -> dict[str, Any]:
        """Return what the recipe sets, by the names that `speechtok tokenize` has for it."""
        values = asdict(self)
        ray = values.pop("ray") or {}
        values |= {"ray_address": ray.pop("address", None), **ray}
        return {name: value for name, value in values.items() if value is not None}


def read_recipe(path: Path, changes: Iterable[str] = ()) -> Recipe:
    """Return the recipe in the YAML file at `path`.

    Args:
        path: the file.
        changes: fields to set, each as `NAME=VALUE` with a value as YAML has it; the name of a field inside a
            section follows a dot, such as `ray.workers=8`.

    Raises:
        RequestError: when the file is missing or malformed, a change is none, or a field is unknown or of a
            wrong type: a recipe is a request in writing.
    """
    try:
        content = read_yaml(path)
        apply_changes(content, changes)
        return build(Recipe, content, f"Recipe {path}")
    except CardError as error:
        raise RequestError(str(error)) from error
