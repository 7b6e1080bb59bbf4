"""What trainers that run for hours share: options, and progress on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from speechtok.cli import options
from speechtok.cli.printing import say, shown
from speechtok.wording import number_text

if TYPE_CHECKING:
    from speechtok.training.loop import Watcher

_OPTIONS: tuple[options.Decorator, ...] = (
    click.option(
        "--recipe",
        metavar="NAME|FILE",
        help="Recipe of a run, shipped or your own. [default: the published settings]",
    ),
    click.option(
        "--set",
        "changes",
        multiple=True,
        metavar="NAME=VALUE",
        help="Set a field of the recipe, such as loop.steps=1000; may be given several times.",
    ),
    click.option("--device", default="cpu", show_default=True, help="Where the networks run."),
)


def running(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a training run to a command."""
    for decorate in reversed(_OPTIONS):
        command = decorate(command)
    return command


_FROM_TOKENS: tuple[options.Decorator, ...] = (
    click.option(
        "--tokenizer",
        help="What made the tokens: card name, card file or saved folder. [default: that in the dataset]",
    ),
    options.checkpoint,
    click.option(
        "--corpus-root",
        type=options.EXISTING,
        help="Folder that the recordings lie below; nothing outside it is opened. A dataset needs it. [default: a list's own]",
    ),
)


def from_tokens(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a trainer that learns from tokens and their recordings to a command."""
    for decorate in reversed(_FROM_TOKENS):
        command = decorate(command)
    return command


@contextmanager
def watching(steps: int) -> Iterator[Watcher]:
    """Show how far training is, and the time left; lines about validations where there is no terminal too.

    Args:
        steps: of the whole run.
    """
    from speechtok.training.loop import Watcher

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[detail]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("Training", total=steps, detail="")

        def started(step: int) -> None:
            if step:
                console.print(f"Going on after step {step:,}.", highlight=False)
            bar.reset(task, completed=step)

        def stepped(step: int, metrics: Mapping[str, float]) -> None:
            bar.update(task, completed=step, detail=_shown(metrics))

        def validated(step: int, metrics: Mapping[str, float]) -> None:
            console.print(f"Step {step:,}: {_shown(metrics)}", highlight=False, markup=False, soft_wrap=True)

        def unusable(reason: str) -> None:
            console.print(f"Left out: {shown(reason)}", highlight=False, markup=False, soft_wrap=True)

        yield Watcher(started=started, stepped=stepped, validated=validated, unusable=unusable)


def report(folder: Path, history: list[dict[str, Any]]) -> None:
    """Say where the results are, and the first and the last value of each measure of validation."""
    points = [point for point in history if point["split"] == "validation"]
    names = [name for name in points[-1] if name not in ("step", "split")] if points else []
    for name in names:
        first, last = points[0], points[-1]
        say(
            f"{name}: {number_text(first[name])} after step {first['step']:,}, "
            f"{number_text(last[name])} after step {last['step']:,}"
        )
    say(f"Wrote {folder / 'model'}, which --tokenizer takes, and {folder / 'report.html'}.")


def _shown(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {number_text(value)}" for name, value in metrics.items())
