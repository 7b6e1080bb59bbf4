"""`speechtok preprocess`: recordings at one rate, trimmed and padded."""

from __future__ import annotations

from pathlib import Path

import click

from speechtok.cli import options
from speechtok.cli.printing import say


@click.command("preprocess")
@click.argument("source", type=options.EXISTING)
@click.argument("output", type=options.LOCAL_FOLDER)
@click.option(
    "--sample-rate", type=click.IntRange(min=1), default=16_000, show_default=True, help="Hz wanted."
)
@click.option("--trim", is_flag=True, help="Cut off silence at both ends.")
@click.option(
    "--trim-db",
    type=click.FloatRange(0, min_open=True),
    default=20.0,
    show_default=True,
    help="Decibels below the loudest moment at which silence begins.",
)
@click.option(
    "--pad",
    type=click.IntRange(min=1),
    metavar="N",
    help="Add zeros at the end up to a multiple of N samples: 1280 for units with pitch.",
)
@options.channels
@click.option(
    "--workers", type=click.IntRange(min=1), help="Recordings worked on at once. [default: one per CPU]"
)
@click.option(
    "--max-errors", type=click.IntRange(min=0), help="Give up after more unusable recordings than this."
)
@options.verbose
def command(
    source: Path,
    output: Path,
    sample_rate: int,
    trim: bool,
    trim_db: float,
    pad: int | None,
    channels: str,
    workers: int | None,
    max_errors: int | None,
) -> None:
    """Write the recordings of corpus SOURCE as 16-bit WAV files into OUTPUT, in the same folders.

    A recording that cannot be used is named, and the others go on. The same command again makes only
    what is missing.
    """
    import os

    from speechtok.cli.progress import counting
    from speechtok.commands.preprocess import PreprocessSettings, preprocess
    from speechtok.wording import count_text, duration_text

    settings = PreprocessSettings(
        sample_rate=sample_rate,
        channels=channels,  # type: ignore[arg-type]  # one of click's choices
        trim_db=trim_db if trim else None,
        pad=pad,
    )
    with counting("Preprocessing", None) as step:
        report = preprocess(
            source,
            output,
            settings,
            workers=workers or os.cpu_count(),
            max_errors=max_errors,
            on_failure=lambda sentence: say(f"speechtok: {sentence}", err=True),
            on_recording=step,
        )
    done = f"{output}: wrote {count_text(report.written, 'recording')}, {duration_text(report.seconds)}"
    say(f"{done}; {report.skipped:,} there already, {report.failed:,} unusable.")
