"""A recipe: the argument list of `speechtok tokenize`, written down."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from speechtok.cards.yaml_file import build, read_yaml


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
    executor: str | None = None
    """ray or local."""
    workers: int | None = None
    """Ray workers."""
    ray_address: str | None = None
    """A running Ray cluster."""
    max_errors: int | None = None
    """Quarantined inputs after which the job gives up."""

    def arguments(self) -> dict[str, Any]:
        """Return what the recipe sets."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def read_recipe(path: Path) -> Recipe:
    """Return the recipe in the YAML file at `path`.

    Raises:
        CardError: when the file is missing or malformed, or a field is unknown or of a wrong type.
    """
    return build(Recipe, read_yaml(path), f"Recipe {path}")
