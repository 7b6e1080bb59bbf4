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
@click.option(
    "--axes",
    type=click.Choice(["KT", "TK", "flat"]),
    help="Order of codes in .jsonl and .npy: (codebooks, frames), (frames, codebooks), or frame after frame.",
)
@click.option(
    "--num-codebooks",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Codebooks of flat codes.",
)
@click.option(
    "--codes-field",
    default="codes",
    show_default=True,
    help="Field of .jsonl with the codes, or one for each codebook, with commas between them.",
)
@click.option("--id-field", default="id", show_default=True, help="Field of .jsonl with the id.")
@click.option(
    "--vocab-offset",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Id of code 0 of the first codebook.",
)
@click.option(
    "--codebook-offsets",
    is_flag=True,
    help="Ids of each codebook begin where those of the codebook before it end.",
)
@checkpoint
@verbose
def command(
    source: Path,
    output: AnyPath,
    tokenizer: str,
    split: str,
    axes: str | None,
    num_codebooks: int,
    codes_field: str,
    id_field: str,
    vocab_offset: int,
    codebook_offsets: bool,
    checkpoint: AnyPath | None,
) -> None:
    """Make the token dataset OUTPUT from SOURCE, the files of another toolkit.

    SOURCE is JSON lines with an id and codes (.jsonl), or a folder of .npy files named after their ids; FunCodec's codecs.txt, or
    indices.scp or indices.ark; or, for unit tokenizers, a list of units (`name|1 2 3`, or dictionaries), or a folder with a list
    for each split. Lengths and levels are read from the files beside it that `speechtok export` writes, where they exist.
    """
    from speechtok.commands.import_tokens import import_tokens
    from speechtok.formats.token_files import CodeLayout
    from speechtok.wording import count_text

    layout = CodeLayout(
        axes=axes,
        num_codebooks=num_codebooks,
        codes_field=codes_field,
        id_field=id_field,
        first_id=vocab_offset,
        own_ids=codebook_offsets,
    )
    written = import_tokens(
        source, output, tokenizer=tokenizer, checkpoint=checkpoint, split=split, layout=layout
    )
    say(f"{output}: {count_text(written, 'utterance')}.")
