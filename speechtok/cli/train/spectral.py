"""`speechtok train spectral`: train the compact codec on one's own speech."""

from __future__ import annotations

from pathlib import Path

import click

from speechtok.cli import options
from speechtok.cli.train.running import report, running, watching
from speechtok.storage import AnyPath


@click.command("spectral")
@click.argument("corpus", type=options.EXISTING)
@click.argument("output", type=options.LOCAL_FOLDER)
@running
@options.columns
@click.option(
    "--start",
    type=options.LOCAL_EXISTING,
    help="Begin with the weights of a tokenizer's folder, such as model/ of another run.",
)
@options.verbose
def command(
    corpus: AnyPath,
    output: Path,
    recipe: str | None,
    changes: tuple[str, ...],
    device: str,
    columns: dict[str, str],
    start: Path | None,
) -> None:
    """Train the compact codec on the speech of CORPUS, and write the run into the folder OUTPUT, or finish what was begun.

    CORPUS is what `speechtok tokenize` takes. Neither transcripts nor speaker labels are needed.
    """
    from speechtok.training.settings import read_training_recipe
    from speechtok.training.spectral.run import train_spectral
    from speechtok.training.spectral.settings import SpectralSettings

    settings = read_training_recipe(SpectralSettings, recipe, changes)
    with watching(settings.loop.steps) as watcher:
        history = train_spectral(
            corpus, output, settings, columns=columns, start=start, device=device, watcher=watcher
        )
    report(output, history)
