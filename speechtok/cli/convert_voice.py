"""`speechtok convert-voice`: what one recording says, in the voice of another."""

from __future__ import annotations

from pathlib import Path

import click

from speechtok.cli.options import EXISTING, LOCAL_FILE, checkpoint, device, verbose
from speechtok.cli.printing import say
from speechtok.storage import AnyPath


@click.command("convert-voice")
@click.argument("source", type=EXISTING)
@click.argument("reference", type=EXISTING, nargs=-1, metavar="[REFERENCE]")
@click.argument("output", type=LOCAL_FILE)
@click.option("--id", "source_id", metavar="ID", help="SOURCE is a token dataset or token file: its row.")
@click.option(
    "--reference-id", metavar="ID", help="REFERENCE is a token dataset or token file: the row in it."
)
@click.option(
    "--speaker", metavar="NAME", help="Voice of the tokenizer's table by name or row, without REFERENCE."
)
@click.option(
    "--tokenizer", help="Card name, card file or saved folder. [default: the name in the token dataset]"
)
@click.option("--method", help="How to convert, for tokenizers with more than one way, such as redecoder.")
@checkpoint
@device
@verbose
def command(
    source: AnyPath,
    reference: tuple[AnyPath, ...],
    output: Path,
    source_id: str | None,
    reference_id: str | None,
    speaker: str | None,
    tokenizer: str | None,
    method: str | None,
    checkpoint: AnyPath | None,
    device: str,
) -> None:
    """Write what SOURCE says in the voice of REFERENCE to OUTPUT, a WAV file.

    SOURCE and REFERENCE are audio files; with --id and --reference-id, rows of a token dataset or of a
    token file. With --speaker there is no REFERENCE.
    """
    if len(reference) > 1:
        raise click.UsageError(f"Give one REFERENCE, not {len(reference)}.")
    from speechtok.commands.convert import convert_file
    from speechtok.wording import duration_text

    seconds = convert_file(
        source,
        reference[0] if reference else None,
        output,
        source_id=source_id,
        reference_id=reference_id,
        speaker=speaker,
        tokenizer=tokenizer,
        checkpoint=checkpoint,
        device=device,
        method=method,
    )
    voice = speaker or reference_id or reference[0]
    say(f"Wrote {output}: {duration_text(seconds)}, {source_id or source} in the voice of {voice}.")
