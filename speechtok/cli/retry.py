"""`speechtok retry`: the quarantined inputs once more."""

from __future__ import annotations

from typing import Any

import click

from speechtok.cli import options
from speechtok.cli.tokenize import tell
from speechtok.storage import AnyPath


@click.command("retry")
@click.argument("output", type=options.EXISTING)
@click.option(
    "--corpus-root",
    type=options.EXISTING,
    help="Folder that the paths of recordings start from. [default: as in the last run]",
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
    output: AnyPath,
    corpus_root: AnyPath | None,
    tokenizer: str | None,
    checkpoint: AnyPath | None,
    **how: Any,
) -> None:
    """Try the quarantined inputs of the token dataset OUTPUT again, after they were repaired.

    The dataset becomes what it would be if they had been good from the start; an unfinished one is
    finished.
    """
    from speechtok.cli.progress import job_display
    from speechtok.commands.tokenize import retry_quarantined
    from speechtok.engine.settings import RunSettings

    options.check_running(how["executor"], how["ray_address"])
    with job_display() as observer:
        report = retry_quarantined(
            output,
            corpus_root=corpus_root,
            tokenizer=tokenizer,
            checkpoint=checkpoint,
            run=RunSettings(**how),
            observer=observer,
        )
    tell(report, output)
