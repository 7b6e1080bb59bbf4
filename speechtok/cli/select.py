"""`speechtok select`: some rows, streams, codebooks or columns of a token dataset → token dataset."""

from __future__ import annotations

import click

from speechtok.cli.options import EXISTING, PLACE, allow_partial, verbose
from speechtok.cli.printing import say
from speechtok.storage import AnyPath


@click.command("select")
@click.argument("dataset", type=EXISTING)
@click.argument("output", type=PLACE)
@click.option("--split", metavar="NAME", help="Only this split.")
@click.option(
    "--ids", type=EXISTING, metavar="FILE", help="Only the utterances whose ids the file lists, one a line."
)
@click.option(
    "--where",
    multiple=True,
    metavar="CONDITION",
    help="Only rows where this SQL condition holds, such as \"duration <= 20 and speaker = 'anna'\"; several must all hold.",
)
@click.option("--streams", metavar="NAMES", help="Only these streams, separated by commas.")
@click.option(
    "--num-codebooks",
    type=click.IntRange(min=1),
    metavar="N",
    help="Only the first N codebooks of each stream.",
)
@click.option(
    "--columns",
    metavar="NAMES",
    help="Only these of the further columns and of text, speaker and language, separated by commas; '' keeps none.",
)
@allow_partial
@verbose
def command(
    dataset: AnyPath,
    output: AnyPath,
    split: str | None,
    ids: AnyPath | None,
    where: tuple[str, ...],
    streams: str | None,
    num_codebooks: int | None,
    columns: str | None,
    allow_partial: bool,
) -> None:
    """Make the token dataset OUTPUT of some rows, streams, codebooks or columns of DATASET; nothing is encoded again."""
    from speechtok.commands.derived import read_ids, select_rows

    try:
        made = select_rows(
            dataset,
            output,
            split=split,
            ids=None if ids is None else read_ids(ids),
            where=where,
            streams=_names(streams),
            num_codebooks=num_codebooks,
            columns=_names(columns),
            allow_partial=allow_partial,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    say(f"{output}: {made}")


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name for name in text.split(",") if name]
