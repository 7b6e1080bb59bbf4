"""`speechtok export`: token dataset → files of another toolkit."""

from __future__ import annotations

from pathlib import Path

import click

from speechtok.cli.options import EXISTING, LOCAL_FOLDER, checkpoint, verbose
from speechtok.storage import AnyPath, StorePath


@click.command("export")
@click.argument("dataset", type=EXISTING)
@click.argument("folder", type=LOCAL_FOLDER, required=False)
@click.option(
    "--to",
    type=click.Choice(["funcodec-codecs", "funcodec-indices", "funcodec-embeddings"]),
    required=True,
    help="codecs.txt, indices.ark with its scp, or codec_emb.ark with its scp.",
)
@click.option("--split", help="Only this split.")
@click.option("--tokenizer", help="What made the tokens, for embeddings. [default: the name they carry]")
@click.option("--all-frames", is_flag=True, help="Keep the frame FreqCodec has beyond what FunCodec writes.")
@checkpoint
@verbose
def command(
    dataset: AnyPath,
    folder: Path | None,
    to: str,
    split: str | None,
    tokenizer: str | None,
    all_frames: bool,
    checkpoint: AnyPath | None,
) -> None:
    """Write the codes of DATASET (a token dataset or a token file) into FOLDER.

    FOLDER is DATASET-FORMAT when left out. Levels and lengths go to utt2scale and utt2num_samples
    beside the codes; `speechtok import` reads all of it back.
    """
    from speechtok.cli.progress import counting
    from speechtok.jobs.export_tokens import FORMATS, export_tokens
    from speechtok.shards.reader import TokenDataset

    if folder is None:
        if isinstance(dataset, StorePath):
            raise click.UsageError(f"{dataset} lies in an object store; give the FOLDER to write to.")
        folder = dataset.resolve().with_name(f"{dataset.resolve().name}-{to}")
    with counting("Exporting", len(TokenDataset(dataset, split=split))) as step:
        written = export_tokens(
            dataset,
            folder,
            to=to,
            split=split,
            tokenizer=tokenizer,
            checkpoint=checkpoint,
            all_frames=all_frames,
            on_row=step,
        )
    click.echo(f"Wrote {written:,} utterances to {folder / FORMATS[to][0]}.")
