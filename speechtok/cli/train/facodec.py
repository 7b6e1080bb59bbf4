"""`speechtok train facodec`: train the factorized codec on one's own speech."""

from __future__ import annotations

from pathlib import Path

import click

from speechtok.cli import options
from speechtok.cli.train.running import report, running, watching
from speechtok.storage import AnyPath


@click.command("facodec")
@click.argument("corpus", type=options.EXISTING)
@click.argument("output", type=options.LOCAL_FOLDER)
@running
@options.columns
@options.verbose
def command(
    corpus: AnyPath,
    output: Path,
    recipe: str | None,
    changes: tuple[str, ...],
    device: str,
    columns: dict[str, str],
) -> None:
    """Train FAcodec on the speech of CORPUS, and write the run into the folder OUTPUT, or finish what was begun there.

    CORPUS is what `speechtok tokenize` takes. Neither transcripts nor speaker labels are needed.
    """
    from speechtok.cli.progress import counting_of
    from speechtok.training.facodec_24k.run import train_facodec
    from speechtok.training.facodec_24k.settings import FacodecSettings
    from speechtok.training.settings import read_training_recipe

    settings = read_training_recipe(FacodecSettings, recipe, changes)
    with counting_of("Preparing") as prepared, watching(settings.loop.steps) as watcher:
        history = train_facodec(
            corpus,
            output,
            settings,
            columns=columns,
            device=device,
            watcher=watcher,
            on_prepared=prepared,
        )
    report(output, history)
