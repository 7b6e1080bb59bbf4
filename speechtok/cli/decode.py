"""`speechtok decode`: token dataset → speech."""

from __future__ import annotations

from pathlib import Path

import click

from speechtok.cli.options import (
    EXISTING,
    LOCAL_FOLDER,
    allow_partial,
    checkpoint,
    device,
    other_tokenizer,
    verbose,
)
from speechtok.cli.printing import say
from speechtok.storage import AnyPath


@click.command("decode")
@click.argument("dataset", type=EXISTING)
@click.argument("folder", type=LOCAL_FOLDER)
@click.option("--split", help="Only this split.")
@click.option("--id", "ids", multiple=True, help="Only this utterance; may be given several times.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first rows.")
@click.option(
    "--accept-from", metavar="NAME", help="Decode tokens although another tokenizer of this name made them."
)
@click.option("--speaker", metavar="NAME", help="Voice of the decoder's table, by name or row.")
@other_tokenizer
@checkpoint
@device
@allow_partial
@verbose
def command(
    dataset: AnyPath,
    folder: Path,
    split: str | None,
    ids: tuple[str, ...],
    limit: int | None,
    accept_from: str | None,
    speaker: str | None,
    tokenizer: str | None,
    checkpoint: AnyPath | None,
    device: str,
    allow_partial: bool,
) -> None:
    """Decode DATASET (a token dataset or a token file) into WAV files in FOLDER, named by id."""
    from speechtok.cli.progress import counting
    from speechtok.commands.decode import decode_dataset
    from speechtok.shards.reader import TokenDataset
    from speechtok.wording import count_text

    total = len(ids) or min(
        len(TokenDataset(dataset, split=split, allow_partial=allow_partial)), limit or 1 << 62
    )
    with counting("Decoding", total) as step:
        written = decode_dataset(
            dataset,
            folder,
            split=split,
            ids=ids or None,
            limit=limit,
            tokenizer=tokenizer,
            checkpoint=checkpoint,
            device=device,
            accept_from=accept_from,
            speaker=speaker,
            allow_partial=allow_partial,
            on_row=step,
        )
    say(f"Wrote {count_text(written, 'WAV file')} to {folder}.")
