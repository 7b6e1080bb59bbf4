"""`speechtok train unit-vocoder`: train the network that speaks units."""

from __future__ import annotations

from pathlib import Path

import click

from speechtok.cli import options
from speechtok.cli.train.running import from_tokens, report, running, watching
from speechtok.storage import AnyPath


@click.command("unit-vocoder")
@click.argument("source", type=options.EXISTING)
@click.argument("output", type=options.LOCAL_FOLDER)
@running
@from_tokens
@click.option("--dev-list", type=options.LOCAL_EXISTING, help="List for validation, where SOURCE is a list.")
@click.option(
    "--start",
    type=options.LOCAL_EXISTING,
    help="Begin with the weights of a g_XXXXXXXX file, a tokenizer's folder or another run's.",
)
@options.verbose
def command(
    source: AnyPath,
    output: Path,
    recipe: str | None,
    changes: tuple[str, ...],
    device: str,
    tokenizer: str | None,
    checkpoint: AnyPath | None,
    corpus_root: AnyPath | None,
    dev_list: Path | None,
    start: Path | None,
) -> None:
    """Train a vocoder for the units of SOURCE, and write the run into the folder OUTPUT, or finish what was begun there.

    SOURCE is a token dataset, or a list with a dictionary per line, as unit vocoders are published with.
    """
    from speechtok.training.settings import read_training_recipe
    from speechtok.training.unit_vocoder.run import train_unit_vocoder
    from speechtok.training.unit_vocoder.settings import UnitVocoderSettings

    settings = read_training_recipe(UnitVocoderSettings, recipe, changes)
    with watching(settings.loop.steps) as watcher:
        history = train_unit_vocoder(
            str(source),
            output,
            settings,
            dev_list=dev_list,
            corpus_root=corpus_root,
            tokenizer=tokenizer,
            checkpoint=checkpoint,
            start=start,
            device=device,
            watcher=watcher,
        )
    report(output, history)
