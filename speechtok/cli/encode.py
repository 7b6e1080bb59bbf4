"""`speechtok encode`: a few files → one token file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from speechtok.cli import options
from speechtok.cli.printing import say
from speechtok.storage import AnyPath


@click.command("encode")
@click.argument("files", nargs=-1, required=True, type=options.PLACE)
@click.option(
    "--output",
    type=options.LOCAL,
    default="tokens.parquet",
    show_default=True,
    help="Parquet file to write; must not exist.",
)
@options.tokenizer
@options.checkpoint
@options.device
@options.channels
@options.num_codebooks
@options.verbose
def command(files: tuple[AnyPath, ...], output: Path, **arguments: Any) -> int:
    """Encode FILES into one Parquet file of tokens, with the columns of a token dataset.

    `speechtok decode` reads it back. A file that cannot be used is named, and the others go on.
    """
    from speechtok.commands.encode import encode_files
    from speechtok.wording import count_text

    failures = 0
    for file, result in encode_files(files, output, **arguments):
        if isinstance(result, str):
            say(f"speechtok: {result}", err=True)
            failures += 1
        else:
            say(f"{file}: {result['duration']:.2f} s, {_shapes(result)}")
    if failures == len(files):
        say("speechtok: No file could be encoded; nothing was written.", err=True)
    else:
        say(f"Wrote {count_text(len(files) - failures, 'row')} to {output}.")
    return 1 if failures else 0


def _shapes(row: dict[str, Any]) -> str:
    arrays = {name: value for name, value in row.items() if getattr(value, "ndim", 0) == 2}
    return ", ".join(f"{name} {value.shape[0]}×{value.shape[1]}" for name, value in arrays.items())
