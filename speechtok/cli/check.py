"""`speechtok check`: prove a tokenizer's published files on this machine."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from speechtok.cli.options import LOCAL_FILE, checkpoint, device, verbose
from speechtok.cli.printing import say
from speechtok.errors import CheckpointError
from speechtok.storage import AnyPath


@click.command("check")
@click.argument("name")
@click.option(
    "--pin",
    type=LOCAL_FILE,
    help="Write a card with revision and sha256 of every file.",
)
@click.option("--laws", is_flag=True, help="Check the laws instead: batch, chunk, length, stored …")
@checkpoint
@device
@verbose
def command(name: str, pin: Path | None, laws: bool, checkpoint: AnyPath | None, device: str) -> None:
    """Load the files of tokenizer NAME strictly, encode and decode the shipped clips, and tell the results.

    NAME is a card name, a card file, a saved folder or a Hub repository. With --laws, the laws that every tokenizer
    keeps are checked in float64 and float32 on noise.
    """
    if laws:
        if pin is not None:
            raise click.UsageError("--pin and --laws do not go together.")
        _check_laws(name, checkpoint, device)
        return
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


def _check_laws(name: str, checkpoint: AnyPath | None, device: str) -> None:
    """Print a line for each law and type of number.

    Raises:
        CheckpointError: when a law is broken.
    """
    import torch

    from speechtok.laws import check_laws
    from speechtok.loading import load_tokenizer

    broken = []
    for dtype in (torch.float64, torch.float32):
        tokenizer = load_tokenizer(name, checkpoint=checkpoint, device=device, dtype=dtype)
        kind = str(dtype).removeprefix("torch.")
        for result in check_laws(tokenizer):
            say(f"{kind}  {result.law:9} {'holds ' if result.holds else 'BROKEN'}  {result.detail}")
            broken += [] if result.holds else [f"{result.law} ({kind})"]
    if broken:
        raise CheckpointError(f"'{tokenizer.name}' breaks: {', '.join(broken)}.")
