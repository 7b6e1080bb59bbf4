"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from speechtok.storage import StorePath, as_path, is_uri
from speechtok.utterances import CORPUS_FORMATS

VERBOSE = "verbose"
"""Key of the flag in the state that `main` reads."""

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class _Place(click.Path):
    """A path or the URI of an object store, of which the command itself will say whether it is there."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return as_path(value) if is_uri(value) else super().convert(value, param, ctx)


class _Local(click.Path):
    """A path on this machine."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        place = as_path(value) if is_uri(value) else value
        if isinstance(place, StorePath):
            self.fail(f"{place} lies in an object store; give a path on this machine.", param, ctx)
        return super().convert(place, param, ctx)


EXISTING = _Place(exists=True, path_type=Path)
"""A file or folder that must be there, or a URI."""
PLACE = _Place(path_type=Path)
"""A file or folder that may be there, or a URI."""
LOCAL = _Local(path_type=Path)
"""A file or folder on this machine that may be there."""
LOCAL_FILE = _Local(path_type=Path, dir_okay=False)
"""A file on this machine that may be there."""
LOCAL_FOLDER = _Local(path_type=Path, file_okay=False)
"""A folder on this machine that may be there."""
LOCAL_EXISTING = _Local(exists=True, path_type=Path)
"""A file or folder on this machine that must be there."""


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

units_folder: Decorator = click.option(
    "--output",
    type=LOCAL,
    default="units",
    show_default=True,
    help="Folder that `load_tokenizer` takes; parts trained one after the other go into the same.",
)

allow_partial: Decorator = click.option(
    "--allow-partial", is_flag=True, help="Take what is there of a dataset whose job has not finished."
)

device: Decorator = click.option(
    "--device", default="cpu", show_default=True, help="Where the tokenizer runs."
)

executor: Decorator = click.option(
    "--executor",
    type=click.Choice(["local", "ray"]),
    help="Run in processes of this machine, or on Ray. [default: ray with --ray, else local]",
)

channels: Decorator = click.option(
    "--channels",
    type=click.Choice(["mean", "first", "error"]),
    default="mean",
    show_default=True,
    help="How recordings of several channels become one.",
)


def _columns(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.split("=", 1) for value in values]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise click.BadParameter("must be NAME=THEIRS, such as audio=path.")
    return dict(pairs)


columns: Decorator = click.option(
    "--column",
    "columns",
    multiple=True,
    callback=_columns,
    metavar="NAME=THEIRS",
    help="Name the corpus uses for audio, id, text, speaker, language, split, start or duration.",
)

corpus_format: Decorator = click.option(
    "--corpus-format",
    type=click.Choice(CORPUS_FORMATS),
    help="Format of the corpus. [default: told by what it is]",
)


def taken(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a first try to a command."""
    share = click.FloatRange(0, 1, min_open=True)
    command = click.option(
        "--sample",
        type=share,
        metavar="SHARE",
        help="Take only this share of the utterances, always the same ones.",
    )(command)
    return click.option(
        "--limit", type=click.IntRange(min=1), help="Take only the first utterances of the corpus, this many."
    )(command)


num_codebooks: Decorator = click.option(
    "--num-codebooks", type=click.IntRange(min=1), help="Keep only the first codebooks of each stream."
)


def running(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `RunSettings` to a command."""
    for decorate in reversed(_RUNNING):
        command = decorate(command)
    return command


_POSITIVE = click.FloatRange(min=0, min_open=True)

_PLACES: tuple[Decorator, ...] = (
    executor,
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        help="Most workers; without Ray, 1 is this process alone. [default: as many as there is room for]",
    ),
    click.option(
        "--ray", "ray_address", metavar="ADDRESS", help="A running Ray cluster, instead of one of our own."
    ),
    click.option(
        "--cpus-per-worker", type=_POSITIVE, default=1.0, show_default=True, help="CPUs each worker takes."
    ),
)


def placed(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `RunSettings` that say where workers run to a command."""
    for decorate in reversed(_PLACES):
        command = decorate(command)
    return command


_READING: tuple[Decorator, ...] = (
    click.option(
        "--timeout-seconds",
        type=_POSITIVE,
        default=300.0,
        show_default=True,
        help="Quarantine a recording that takes longer to read.",
    ),
    click.option(
        "--memory-mb",
        type=click.IntRange(min=64),
        default=2048,
        show_default=True,
        help="Quarantine a recording that takes more memory to decode.",
    ),
)


def reading(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `RunSettings` that say what reading a recording may take to a command."""
    for decorate in reversed(_READING):
        command = decorate(command)
    return command


_RUNNING: tuple[Decorator, ...] = (
    device,
    *_PLACES,
    click.option(
        "--gpus-per-worker",
        type=click.FloatRange(min=0),
        help="GPUs each worker takes, such as 0.5. [default: 1 with --device cuda, else 0]",
    ),
    click.option(
        "--max-errors",
        metavar="N|P%",
        help="Give up after more quarantined inputs than this number or share.",
    ),
    *_READING,
)


def check_running(executor: str | None, ray_address: str | None) -> None:
    """Raise a usage error where options contradict each other."""
    if executor == "local" and ray_address:
        raise click.UsageError("--ray goes with --executor ray, not with local.")


def measuring(command: Any) -> Any:
    """Add the options that say what is measured, and with what."""
    for decorate in reversed(_MEASURING):
        command = decorate(command)
    return command


_MEASURING: tuple[Decorator, ...] = (
    click.option(
        "--measure",
        "measures",
        multiple=True,
        metavar="NAME",
        help="Only this measure; may be given several times.",
    ),
    click.option(
        "--asr", metavar="MODEL", help="Speech recogniser of transformers, for word and character error rate."
    ),
    click.option(
        "--speaker-model", metavar="MODEL", help="X-vector model of transformers, for speaker similarity."
    ),
)
