"""`speechtok filter`: the rows of a token dataset that are worth training on → token dataset, and why the others are not."""

from __future__ import annotations

import click

from speechtok.cli.options import EXISTING, PLACE, allow_partial, verbose
from speechtok.cli.printing import say
from speechtok.storage import AnyPath
from speechtok.wording import count_text


@click.command("filter")
@click.argument("dataset", type=EXISTING)
@click.argument("output", type=PLACE)
@click.option(
    "--keep",
    multiple=True,
    metavar="CONDITION",
    help='Only rows where this SQL condition holds, such as "dnsmos >= 3 and duration < 20"; several must all hold.',
)
@click.option(
    "--duplicates",
    type=click.Choice(["exact", "near"]),
    help="Leave out rows with the same codes as one before them, or with nearly the same.",
)
@click.option(
    "--near-share",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.8,
    show_default=True,
    help="Share of like stretches from which on two rows are near duplicates.",
)
@click.option("--hours", type=float, metavar="N", help="At most so many hours, drawn by the seed.")
@click.option("--balance", metavar="COLUMN", help="Draw equal shares of each value, such as of each speaker.")
@click.option(
    "--splits",
    metavar="SHARES",
    help="Divide the rows anew, such as train=0.98,dev=0.01,test=0.01, no speaker in two splits.",
)
@click.option(
    "--split-by",
    default="speaker",
    show_default=True,
    metavar="COLUMN",
    help="Whose values are in one split each.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Decides what is drawn, and who is in which split."
)
@allow_partial
@verbose
def command(
    dataset: AnyPath,
    output: AnyPath,
    keep: tuple[str, ...],
    duplicates: str | None,
    near_share: float,
    hours: float | None,
    balance: str | None,
    splits: str | None,
    split_by: str,
    seed: int,
    allow_partial: bool,
) -> None:
    """Make the token dataset OUTPUT of the rows of DATASET that are worth training on; the others are listed, with the reason."""
    from speechtok.commands.filtering import filter_rows

    try:
        made = filter_rows(
            dataset,
            output,
            keep=keep,
            duplicates=duplicates,  # type: ignore[arg-type]
            near_share=near_share,
            hours=hours,
            balance=balance,
            splits=None if splits is None else _shares(splits),
            split_by=split_by,
            seed=seed,
            allow_partial=allow_partial,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    say(f"{output}: {made}")
    for reason, count in made.dropped.items():
        say(f"left out {count_text(count, 'row')}: {reason}")


def _shares(text: str) -> dict[str, float]:
    """Return the shares of splits that an option states."""
    found: dict[str, float] = {}
    for item in text.split(","):
        name, _, share = item.partition("=")
        if name in found:
            raise click.UsageError(f"--splits names {name!r} twice.")
        try:
            found[name] = float(share)
        except ValueError:
            raise click.UsageError(
                f"--splits takes names with shares, such as train=0.98,dev=0.02; got {item!r}."
            ) from None
    return found
