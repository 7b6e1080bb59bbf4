"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

VERBOSE = "verbose"
"""Key of the flag in the state that `main` reads."""

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

EXISTING = click.Path(exists=True, path_type=Path)
"""A file or folder that must be there."""


def _remember(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    context.ensure_object(dict)[VERBOSE] = value


verbose: Decorator = click.option(
    "--verbose", is_flag=True, expose_value=False, callback=_remember, help="Show the trace of an error."
)

tokenizer: Decorator = click.option(
    "--tokenizer", default="dmel_16k", show_default=True, help="Card name, card file or saved folder."
)

other_tokenizer: Decorator = click.option(
    "--tokenizer", help="Card name, card file or saved folder. [default: the name in the dataset]"
)

checkpoint: Decorator = click.option(
    "--checkpoint", type=EXISTING, help="Folder with the published files; otherwise they come from the Hub."
)

device: Decorator = click.option(
    "--device", default="cpu", show_default=True, help="Where the tokenizer runs."
)

executor: Decorator = click.option(
    "--executor",
    type=click.Choice(["ray", "local"]),
    default="ray",
    show_default=True,
    help="Run on Ray, or in this process alone.",
)

channels: Decorator = click.option(
    "--channels",
    type=click.Choice(["mean", "first", "error"]),
    default="mean",
    show_default=True,
    help="How recordings of several channels become one.",
)

num_codebooks: Decorator = click.option(
    "--num-codebooks", type=click.IntRange(min=1), help="Keep only the first codebooks of each stream."
)
