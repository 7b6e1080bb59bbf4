"""`speechtok stats`: numbers and pictures of a dataset."""

from __future__ import annotations

import math
from pathlib import Path

import click

from speechtok.cli.options import EXISTING, LOCAL_FILE, allow_partial, checkpoint, other_tokenizer, verbose
from speechtok.cli.printing import say, say_json
from speechtok.storage import AnyPath


@click.command("stats")
@click.argument("dataset", type=EXISTING)
@click.option(
    "--html",
    type=LOCAL_FILE,
    help="Also write a page with plots and players.",
)
@click.option("--corpus", type=EXISTING, help="Folder of the original audio; nothing outside it is opened.")
@click.option(
    "--examples",
    type=click.IntRange(min=0),
    default=4,
    show_default=True,
    help="Listening examples on the page.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@other_tokenizer
@checkpoint
@allow_partial
@verbose
def command(
    dataset: AnyPath,
    html: Path | None,
    corpus: AnyPath | None,
    examples: int,
    as_json: bool,
    tokenizer: str | None,
    checkpoint: AnyPath | None,
    allow_partial: bool,
) -> None:
    """Show hours, rows, speakers, code usage and storage of DATASET (a token dataset or token file)."""
    from speechtok.cli.progress import counting
    from speechtok.shards.reader import TokenDataset
    from speechtok.shards.statistics import compute_statistics
    from speechtok.wording import duration_text, labels_text, size_text

    with counting("Reading", len(TokenDataset(dataset, allow_partial=allow_partial))) as step:
        found = compute_statistics(dataset, on_rows=step, allow_partial=allow_partial)
    if as_json:
        say_json(found.to_dict())
    else:
        say(
            f"rows        {found.rows:,} ({', '.join(f'{name} {rows:,}' for name, rows in found.splits.items())})"
        )
        say(f"duration    {duration_text(found.seconds)}")
        kind = "" if found.corpus_kind is None else f"{found.corpus_kind}: "
        say(f"labels      {kind}{labels_text(found.labels)}")
        say(f"speakers    {len(found.speakers):,}; languages {', '.join(found.languages) or 'not stated'}")
        say(f"size        {size_text(found.bytes)}, {found.stored_bps:,.0f} bits per second of audio")
        for item in found.streams:
            bound = math.log2(item.stream.codebook_size)
            say(
                f"{item.stream.name:11} {item.num_codes:,} codes; {item.stored_bits_per_code:.3f} of {bound:.3f} bits per code "
                f"stored; entropy {item.entropy.mean():.3f} bits (lowest {item.entropy.min():.3f}); "
                f"{100 * item.used.mean():.1f} % of codes used"
            )
    if html is not None:
        from speechtok.report import write_report

        write_report(
            dataset,
            html,
            corpus_root=corpus,
            examples=examples,
            tokenizer=tokenizer,
            checkpoint=checkpoint,
            allow_partial=allow_partial,
        )
        say(f"Wrote the report to {html}.", err=as_json)
