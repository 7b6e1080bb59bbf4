"""`speechtok join`: token dataset and a table of columns → token dataset."""

from __future__ import annotations

import click

from speechtok.cli.options import EXISTING, PLACE, allow_partial, verbose
from speechtok.cli.printing import say
from speechtok.storage import AnyPath


@click.command("join")
@click.argument("dataset", type=EXISTING)
@click.argument("table", type=EXISTING)
@click.argument("output", type=PLACE)
@click.option("--ignore-unknown", is_flag=True, help="Pass over lines whose id the dataset does not have.")
@allow_partial
@verbose
def command(
    dataset: AnyPath, table: AnyPath, output: AnyPath, ignore_unknown: bool, allow_partial: bool
) -> None:
    """Make the token dataset OUTPUT of DATASET with the columns of TABLE; nothing is encoded again.

    TABLE is a .tsv or .csv file with a header. Its column id names rows; the others, such as text or speaker,
    replace columns of the dataset or are added.
    """
    from speechtok.commands.derived import join_columns

    made = join_columns(dataset, table, output, ignore_unknown=ignore_unknown, allow_partial=allow_partial)
    say(f"{output}: {made}")
    if made.unmatched:
        from speechtok.wording import count_text

        say(f"{table} says nothing of {count_text(made.unmatched, 'row')}, which stayed as they were.")
