"""`speechtok tokenize`: corpus → token dataset."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from speechtok.cli import options
from speechtok.cli.plan_only import plan_options, show_plan
from speechtok.cli.printing import say
from speechtok.storage import AnyPath

if TYPE_CHECKING:
    from speechtok.engine.settings import RunResult


@click.command("tokenize")
@click.argument("corpus", type=options.EXISTING)
@click.argument("output", type=options.PLACE)
@options.tokenizer
@options.checkpoint
@click.option(
    "--split", default="train", show_default=True, help="Split of utterances whose corpus names none."
)
@click.option(
    "--shard-seconds", type=float, help="Audio per shard. [default: an hour, less for small corpora]"
)
@click.option(
    "--file-mb",
    type=float,
    default=512.0,
    show_default=True,
    help="Size of the files of the dataset, in MiB.",
)
@click.option(
    "--batch-seconds",
    type=float,
    default=20.0,
    show_default=True,
    help="Audio that is encoded together, at most.",
)
@click.option(
    "--chunk-seconds",
    type=float,
    default=60.0,
    show_default=True,
    help="Longer recordings go through in pieces.",
)
@click.option(
    "--segment",
    type=click.Choice(["vad", "silence", "fixed"]),
    help="Segment long utterances: where somebody speaks, at quiet moments, or evenly. [default: leave them]",
)
@click.option(
    "--max-segment-seconds",
    type=float,
    default=20.0,
    show_default=True,
    help="Utterances longer than this are segmented.",
)
@options.channels
@options.num_codebooks
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float64"]),
    default="float32",
    show_default=True,
    help="Float type of all computation.",
)
@options.columns
@options.corpus_format
@options.taken
@options.running
@plan_options
@options.verbose
def command(**arguments: Any) -> None:
    """Tokenize CORPUS into the token dataset OUTPUT, or finish what was begun there.

    CORPUS is a folder of audio, WebDataset tars, a Hugging Face dataset, lhotse cuts, a wav.scp, a
    fairseq .tsv, a well-known corpus as published, or a .csv, .tsv, .jsonl or .parquet manifest with an
    `audio` column.
    """
    tokenize(**arguments)


def tokenize(
    *,
    corpus: AnyPath,
    output: AnyPath,
    tokenizer: str = "dmel_16k",
    checkpoint: AnyPath | None = None,
    plan_only: bool = False,
    speed: float | None = None,
    price: float | None = None,
    as_json: bool = False,
    **arguments: Any,
) -> None:
    """Run the job with a display, and print what came of it; or only print what it would do."""
    from speechtok.cli.progress import job_display
    from speechtok.commands.tokenize import tokenize_corpus
    from speechtok.engine.settings import JobSettings, RunSettings

    names = {field.name for field in fields(RunSettings)}
    how = {name: value for name, value in arguments.items() if name in names}
    options.check_running(how.get("executor"), how.get("ray_address"))
    job = JobSettings(**{name: value for name, value in arguments.items() if name not in names})
    run = RunSettings(**how)
    if plan_only:
        show_plan(
            corpus=corpus,
            tokenizer=tokenizer,
            checkpoint=checkpoint,
            device=run.device,
            settings=job,
            workers=run.workers,
            speed=speed,
            price=price,
            as_json=as_json,
        )
        return
    if speed is not None or price is not None or as_json:
        raise click.UsageError("--speed, --price and --json go with --plan-only.")
    with job_display() as observer:
        report = tokenize_corpus(
            corpus,
            output,
            tokenizer=tokenizer,
            checkpoint=checkpoint,
            settings=job,
            run=run,
            observer=observer,
        )
    tell(report, output)


def held(report: RunResult, output: AnyPath) -> str:
    """Return what a dataset holds after a job."""
    from speechtok.wording import count_text, duration_text, size_text

    failed = f"{report.quarantined:,} in quarantine"
    if report.quarantined:
        failed += f" ({', '.join(f'{count} {name}' for name, count in report.reasons.items())}; see {output / 'quarantine'})"
    return f"{count_text(report.rows, 'utterance')}, {duration_text(report.seconds)}, {size_text(report.bytes)}; {failed}"


def tell(report: RunResult, output: AnyPath) -> None:
    """Print what came of a job."""
    from speechtok.wording import count_text, duration_text

    if not report.shards_made:
        whole = "its only shard is" if report.shards == 1 else f"all {report.shards} shards are"
        say(f"{output}: nothing to do, {whole} complete ({held(report, output)}).")
        return
    say(f"{output}: {held(report, output)}.")
    say(
        f"Made {report.shards_made} of {count_text(report.shards, 'shard')}, {duration_text(report.seconds_made)} of audio "
        f"in {duration_text(report.wall_seconds)}: {report.seconds_made / report.wall_seconds:,.0f} × real time."
    )
