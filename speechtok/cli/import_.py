"""`speechtok import`: files of another toolkit → token dataset."""

from __future__ import annotations

from pathlib import Path

import click

from speechtok.cli.options import LOCAL_EXISTING, PLACE, checkpoint, verbose
from speechtok.cli.printing import say
from speechtok.storage import AnyPath


@click.command("import")
@click.argument("source", type=LOCAL_EXISTING)
@click.argument("output", type=PLACE)
@click.option("--tokenizer", required=True, help="What made the codes: card name, card file or saved folder.")
@click.option("--split", default="train", show_default=True, help="Split of what is one file.")
@checkpoint
@verbose
def command(source: Path, output: AnyPath, tokenizer: str, split: str, checkpoint: AnyPath | None) -> None:
    """Make the token dataset OUTPUT from SOURCE, the files of another toolkit.

    SOURCE is FunCodec's codecs.txt, or indices.scp or indices.ark; or, for unit tokenizers, a list of units
    (`name|1 2 3`, or dictionaries), or a folder with a list for each split. Lengths and levels are read from
    the files beside it that `speechtok export` writes, where they exist.
    """
    from speechtok.commands.import_tokens import import_tokens
    from speechtok.wording import count_text

    written = import_tokens(source, output, tokenizer=tokenizer, checkpoint=checkpoint, split=split)
    say(f"{output}: {count_text(written, 'utterance')}.")
