"""`speechtok check`: prove a tokenizer's published files on this machine."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from speechtok.cli.options import LOCAL_FILE, checkpoint, device, verbose
from speechtok.cli.printing import say
from speechtok.storage import AnyPath


@click.command("check")
@click.argument("name")
@click.option(
    "--pin",
    type=LOCAL_FILE,
    help="Write a card with revision and sha256 of every file.",
)
@checkpoint
@device
@verbose
def command(name: str, pin: Path | None, checkpoint: AnyPath | None, device: str) -> None:
    """Load the files of tokenizer NAME strictly, encode and decode the shipped clips, and tell the results.

    NAME is a card name, a card file, a saved folder or a Hub repository.
    """
    from speechtok.cli.progress import counted
    from speechtok.demo.check import check_tokenizer

    check_tokenizer(
        name,
        say=say,
        checkpoint=checkpoint,
        device=device,
        pin=pin,
        track=partial(counted, "Encoding and decoding"),
    )
