"""`speechtok import`: files of another toolkit → token dataset."""

from __future__ import annotations

from pathlib import Path

import click

from speechtok.cli.options import LOCAL_EXISTING, PLACE, checkpoint, verbose
from speechtok.storage import AnyPath


@click.command("import")
@click.argument("source", type=LOCAL_EXISTING)
@click.argument("output", type=PLACE)
@click.option("--tokenizer", required=True, help="What made the codes: card name, card file or saved folder.")
@click.option("--split", default="train", show_default=True, help="Split of the dataset.")
@checkpoint
@verbose
def command(source: Path, output: AnyPath, tokenizer: str, split: str, checkpoint: AnyPath | None) -> None:
    """Make the token dataset OUTPUT from SOURCE: FunCodec's codecs.txt, or indices.scp or indices.ark.

    Levels and lengths are read from utt2scale and utt2num_samples beside SOURCE, where they exist.
    """
    from speechtok.jobs.import_tokens import import_tokens

    written = import_tokens(source, output, tokenizer=tokenizer, checkpoint=checkpoint, split=split)
    click.echo(f"{output}: {written:,} utterances.")
