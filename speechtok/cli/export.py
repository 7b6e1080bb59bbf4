"""`speechtok export`: token dataset → files of another toolkit."""

from __future__ import annotations

from pathlib import Path

import click

from speechtok.cli.options import EXISTING, LOCAL_FOLDER, allow_partial, checkpoint, verbose
from speechtok.cli.printing import say
from speechtok.storage import AnyPath, StorePath


@click.command("export")
@click.argument("dataset", type=EXISTING)
@click.argument("folder", type=LOCAL_FOLDER, required=False)
@click.option(
    "--to",
    type=click.Choice(
        ["units", "unit-dicts", "funcodec-codecs", "funcodec-indices", "funcodec-embeddings", "textgrid"]
    ),
    required=True,
    help="units.txt, a list of dictionaries per split, codecs.txt, indices.ark, codec_emb.ark, or a TextGrid for each row.",
)
@click.option("--split", help="Only this split.")
@click.option("--tokenizer", help="What made the tokens, for embeddings. [default: the name they carry]")
@click.option("--all-frames", is_flag=True, help="Keep the frame FreqCodec has beyond what FunCodec writes.")
@click.option("--deduplicate", is_flag=True, help="Merge repeated units; durations go beside them.")
@click.option("--audio-root", metavar="FOLDER", help="Folder put before each recording in unit-dicts.")
@click.option(
    "--held-out",
    type=click.FloatRange(0, 0.5),
    metavar="SHARE",
    help="Divide unit-dicts at random: this share to test.txt, as much to val.txt, the rest to train.txt.",
)
@click.option(
    "--divide-like",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Divide unit-dicts as the lists in FOLDER divide recordings of the same file names.",
)
@allow_partial
@checkpoint
@verbose
def command(
    dataset: AnyPath,
    folder: Path | None,
    to: str,
    split: str | None,
    tokenizer: str | None,
    all_frames: bool,
    deduplicate: bool,
    audio_root: str | None,
    held_out: float | None,
    divide_like: Path | None,
    allow_partial: bool,
    checkpoint: AnyPath | None,
) -> None:
    """Write the codes or alignments of DATASET (a token dataset or a token file) into FOLDER.

    FOLDER is DATASET-FORMAT when left out. What a format has no place for, such as levels and lengths, goes
    beside the codes; `speechtok import` reads all of it back.
    """
    from speechtok.cli.progress import counting
    from speechtok.commands.export_alignments import TEXTGRID, export_alignments
    from speechtok.commands.export_tokens import FORMATS, export_tokens
    from speechtok.commands.export_units import UNIT_FORMATS, UNITS, Division, export_units
    from speechtok.shards.reader import TokenDataset
    from speechtok.wording import count_text

    for_units = {
        "--deduplicate": deduplicate,
        "--audio-root": audio_root,
        "--held-out": held_out is not None,
        "--divide-like": divide_like,
    }
    for_codecs = {"--tokenizer": tokenizer, "--all-frames": all_frames, "--checkpoint": checkpoint}
    others = for_codecs | for_units if to == TEXTGRID else for_codecs if to in UNIT_FORMATS else for_units
    other = next((name for name, given in others.items() if given), None)
    if other is not None:
        raise click.UsageError(f"{other} does not go with --to {to}.")
    if held_out is not None and divide_like is not None:
        raise click.UsageError("Lists are divided either by --held-out or by --divide-like, not by both.")
    if folder is None:
        if isinstance(dataset, StorePath):
            raise click.UsageError(f"{dataset} lies in an object store; give the FOLDER to write to.")
        folder = dataset.resolve().with_name(f"{dataset.resolve().name}-{to}")
    with counting("Exporting", len(TokenDataset(dataset, split=split, allow_partial=allow_partial))) as step:
        if to == TEXTGRID:
            written = export_alignments(
                dataset, folder, split=split, allow_partial=allow_partial, on_row=step
            )
            place = folder
        elif to in UNIT_FORMATS:
            division = Division(like=divide_like) if divide_like else None
            written = export_units(
                dataset,
                folder,
                to=to,
                split=split,
                allow_partial=allow_partial,
                deduplicate=deduplicate,
                audio_root=audio_root,
                division=division if held_out is None else Division(held_out=held_out),
                on_row=step,
            )
            place = folder / "units.txt" if to == UNITS else folder
        else:
            written = export_tokens(
                dataset,
                folder,
                to=to,
                split=split,
                allow_partial=allow_partial,
                tokenizer=tokenizer,
                checkpoint=checkpoint,
                all_frames=all_frames,
                on_row=step,
            )
            place = folder / FORMATS[to][0]
    say(f"Wrote {count_text(written, 'utterance')} to {place}.")
