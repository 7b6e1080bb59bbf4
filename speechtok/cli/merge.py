"""`speechtok merge`: token datasets of one tokenizer → one token dataset."""

from __future__ import annotations

import click

from speechtok.cli.options import EXISTING, PLACE, allow_partial, verbose
from speechtok.cli.printing import say
from speechtok.storage import AnyPath


@click.command("merge")
@click.argument("datasets", type=EXISTING, nargs=-1, required=True)
@click.argument("output", type=PLACE)
@allow_partial
@verbose
def command(datasets: tuple[AnyPath, ...], output: AnyPath, allow_partial: bool) -> None:
    """Make one token dataset OUTPUT of DATASETS, which must be of the same tokenizer; nothing is encoded again."""
    from speechtok.commands.derived import merge_datasets

    say(f"{output}: {merge_datasets(datasets, output, allow_partial=allow_partial)}")
