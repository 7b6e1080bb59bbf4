"""What every training run is told, and how recipes are read.

Contents: `LoopSettings`, `read_training_recipe`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from speechtok.cards import find_recipe
from speechtok.cards.yaml_file import apply_changes, build, read_yaml
from speechtok.errors import CardError, RequestError

T = TypeVar("T")

PRECISIONS = ("float32", "bfloat16")
"""Values of `precision`."""


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How long a run lasts, and what it leaves on the way."""

    steps: int = 400_000
    """Steps in all; a finished run with more goes on."""
    batch_size: int = 16
    """Examples per step, over all processes."""
    accumulation: int = 1
    """Parts that a batch goes through the networks in, for batches that do not fit into memory."""
    precision: str = "float32"
    """Type the networks compute in: "float32" or "bfloat16"; weights are float32 in either case."""
    max_gradient_norm: float | None = None
    """Gradients of a group of parameters longer than this are scaled down to it, where the trainer has no rule of its own; None leaves them alone."""
    seed: int = 1234
    """Decides everything random."""
    log_every: int = 50
    """Steps between two points of the curves."""
    validate_every: int = 1000
    """Steps between two looks at speech that is not trained on; the page and the model are written there too."""
    save_every: int = 1000
    """Steps after which the state is saved, so that a run that was killed goes on from there."""
    keep_checkpoints: int = 2
    """Saved states that are kept."""
    workers: int = 0
    """Processes that prepare batches ahead; 0 prepares them between steps."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulation", "log_every", "validate_every", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if self.keep_checkpoints < 1:
            raise ValueError(f"`keep_checkpoints` must be at least 1, got {self.keep_checkpoints}.")
        if self.precision not in PRECISIONS:
            raise ValueError(f"`precision` must be one of {', '.join(PRECISIONS)}, got '{self.precision}'.")


FREE = ("steps", "log_every", "validate_every", "save_every", "keep_checkpoints", "workers")
"""Fields of `LoopSettings` that may differ when a run goes on: they do not change what is learnt."""


def read_training_recipe(kind: type[T], path: str | Path | None, changes: Iterable[str] = ()) -> T:
    """Return a training recipe: the file at a path or the shipped one of that name, with changes.

    Args:
        kind: the recipe's dataclass.
        path: file or name; None takes the defaults.
        changes: fields to set, each as `NAME=VALUE`; fields of sections as `SECTION.NAME=VALUE`.

    Raises:
        RequestError: when there is no such file, or a field is unknown or of a wrong type.
    """
    try:
        content = {} if path is None else read_yaml(file := find_recipe(path, "training"))
        apply_changes(content, changes)
        return build(kind, content, "The recipe" if path is None else f"Recipe {file}")
    except CardError as error:
        raise RequestError(str(error)) from error
