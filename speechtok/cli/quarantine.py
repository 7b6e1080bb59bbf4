"""`speechtok quarantine`: the inputs that failed, by reason."""

from __future__ import annotations

import click

from speechtok.cli import options
from speechtok.cli.printing import say, say_json, shown
from speechtok.storage import AnyPath

COLUMNS = ("id", "audio", "stage", "error", "message")
"""What is listed of each input."""


@click.command("quarantine")
@click.argument("output", type=options.EXISTING)
@click.option(
    "--list", "as_list", is_flag=True, help="Print a line for each input: id, audio, stage, error, message."
)
@click.option(
    "--annotations", is_flag=True, help="Show the rows that annotations have no value for, instead of inputs."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
@options.verbose
def command(output: AnyPath, as_list: bool, annotations: bool, as_json: bool) -> None:
    """Show which inputs of the token dataset OUTPUT failed, counted by reason."""
    from dataclasses import asdict

    from speechtok.commands.quarantine import read_quarantine, read_unannotated, reasons_of
    from speechtok.wording import count_text

    failures = read_unannotated(output) if annotations else read_quarantine(output)
    if as_json:
        say_json([asdict(item) for item in (failures if as_list else reasons_of(failures))])
        return
    if as_list:
        for row in (COLUMNS, *(tuple(getattr(item, name) for name in COLUMNS) for item in failures)):
            click.echo("\t".join(shown(value) for value in row))
        return
    held = "without a value of some annotation" if annotations else "in quarantine"
    say(f"{output}: {count_text(len(failures), 'row' if annotations else 'input')} {held}.")
    for reason in reasons_of(failures):
        say(
            f"  {reason.count:7,}  {reason.error} ({reason.stage}), such as {reason.first.id}: {reason.first.message}"
        )
