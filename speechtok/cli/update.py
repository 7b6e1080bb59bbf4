"""`speechtok update`: a token dataset follows its corpus."""

from __future__ import annotations

from typing import Any

import click

from speechtok.cli import options
from speechtok.cli.printing import say
from speechtok.cli.tokenize import held
from speechtok.storage import AnyPath


@click.command("update")
@click.argument("corpus", type=options.EXISTING)
@click.argument("dataset", type=options.EXISTING)
@click.option(
    "--output", type=options.PLACE, help="Make a new dataset there. [default: DATASET itself is replaced]"
)
@click.option("--tokenizer", help="Card name, card file or saved folder. [default: the name in the dataset]")
@click.option(
    "--checkpoint",
    type=options.EXISTING,
    help="Folder with the published files; to be given where the last run took one.",
)
@options.running
@options.verbose
def command(
    corpus: AnyPath,
    dataset: AnyPath,
    output: AnyPath | None,
    tokenizer: str | None,
    checkpoint: AnyPath | None,
    **how: Any,
) -> None:
    """Make of the token dataset DATASET what its CORPUS, which has grown or changed, would give now.

    Only what is new or changed is encoded; the dataset has the same bytes as one that is made from the start.
    """
    from speechtok.cli.progress import job_display
    from speechtok.commands.update import update_dataset
    from speechtok.engine.settings import RunSettings

    options.check_running(how["executor"], how["ray_address"])
    with job_display() as observer:
        found = update_dataset(
            corpus,
            dataset,
            output,
            tokenizer=tokenizer,
            checkpoint=checkpoint,
            run=RunSettings(**how),
            observer=observer,
        )
    place = dataset if output is None else output
    if found.job is None:
        say(
            f"{place}: nothing to do, the files of the corpus have the names and sizes they had ({found.rows:,} rows)."
        )
        return
    say(f"{place}: {held(found.job, place)}.")
    say(
        f"Took over {found.kept:,} of {found.rows:,} rows and made {found.rows - found.kept:,} anew; {found.gone:,} are gone from the corpus."
    )
