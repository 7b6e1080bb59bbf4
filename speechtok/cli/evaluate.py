"""`speechtok evaluate`: how good decoded speech is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from speechtok.cli.options import (
    EXISTING,
    LOCAL_EXISTING,
    LOCAL_FILE,
    allow_partial,
    checkpoint,
    device,
    measuring,
    other_tokenizer,
    verbose,
)
from speechtok.cli.printing import say, say_json
from speechtok.storage import AnyPath

PAIRS_PER_WORKER = 16
"""A process takes seconds to start, which fewer pairs do not pay for."""


@click.command("evaluate")
@click.argument("dataset", type=EXISTING, required=False)
@click.option("--pairs", type=LOCAL_EXISTING, help="Tab-separated table of audio files instead of a dataset.")
@click.option("--corpus", type=EXISTING, help="Folder of the original audio; nothing outside it is opened.")
@click.option("--split", help="Only this split.")
@click.option("--limit", type=click.IntRange(min=1), help="At most this many pairs, spread over a dataset.")
@measuring
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help=f"Processes that measure. [default: one per CPU, each for {PAIRS_PER_WORKER} pairs or more]",
)
@click.option("--table", type=LOCAL_FILE, help="Also write one line for each pair, tab-separated.")
@click.option("--html", type=LOCAL_FILE, help="Also write a page with plots.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@other_tokenizer
@checkpoint
@click.option(
    "--speaker",
    metavar="NAME",
    help="Voice of the decoder's table, by name or row. [default: each row's own]",
)
@allow_partial
@device
@verbose
def command(
    dataset: AnyPath | None,
    pairs: Path | None,
    table: Path | None,
    html: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Compare the speech that DATASET decodes to, or the pairs of a table, with the recordings."""
    if (dataset is None) == (pairs is None):
        raise click.UsageError("Give either a token dataset or --pairs TABLE.", click.get_current_context())
    found = _evaluate_dataset(dataset, options) if dataset else _evaluate_pairs(pairs, options)
    if as_json:
        say_json(found.to_dict())
    else:
        _tell(found)
    if table is not None:
        found.write_table(table)
        say(f"Wrote {len(found.rows):,} rows to {table}.", err=as_json)
    if html is not None:
        from speechtok.report.evaluation import write_evaluation

        write_evaluation(found, html)
        say(f"Wrote the page to {html}.", err=as_json)


def _settings(options: dict[str, Any], pairs: int) -> Any:
    from speechtok.commands.evaluate import EvaluationSettings

    return EvaluationSettings(
        measures=options["measures"] or None,
        workers=options["workers"] or max(1, min(os.cpu_count() or 1, pairs // PAIRS_PER_WORKER)),
        **{name: options[name] for name in ("asr", "speaker_model", "device")},
    )


def _evaluate_dataset(dataset: AnyPath, options: dict[str, Any]) -> Any:
    from speechtok.cli.progress import counting
    from speechtok.commands.evaluate import evaluate_dataset
    from speechtok.shards.reader import TokenDataset

    partial = options["allow_partial"]
    total = len(TokenDataset(dataset, split=options["split"], allow_partial=partial))
    total = min(total, options["limit"] or total)
    with counting("Evaluating", total) as step:
        return evaluate_dataset(
            dataset,
            corpus_root=options["corpus"],
            split=options["split"],
            limit=options["limit"],
            tokenizer=options["tokenizer"],
            checkpoint=options["checkpoint"],
            speaker=options["speaker"],
            allow_partial=partial,
            settings=_settings(options, total),
            on_row=step,
        )


def _evaluate_pairs(pairs: Path | None, options: dict[str, Any]) -> Any:
    for name in ("corpus", "split", "tokenizer", "checkpoint", "speaker", "allow_partial"):
        if options[name] not in (None, False):
            raise click.UsageError(
                f"--{name.replace('_', '-')} belongs to a token dataset, not to --pairs.",
                click.get_current_context(),
            )
    from speechtok.cli.progress import counting
    from speechtok.commands.evaluate import evaluate_pairs
    from speechtok.corpora.pairs import read_pairs

    table = Path(str(pairs))
    total = sum(1 for _ in read_pairs(table))
    total = min(total, options["limit"] or total)
    with counting("Evaluating", total) as step:
        return evaluate_pairs(table, limit=options["limit"], settings=_settings(options, total), on_row=step)


def _tell(found: Any) -> None:
    from speechtok.metrics.measures import MEASURES
    from speechtok.wording import count_text, duration_text, number_text, rate_text

    say(f"{count_text(len(found.rows), 'pair')}, {duration_text(found.seconds)}")
    if found.decode_seconds:
        say(f"decoded at {number_text(found.seconds / found.decode_seconds)} × real time")
    for name, summary in found.summaries.items():
        item = MEASURES[name]
        line = f"{name:19} {number_text(summary.mean)}{' ' + item.unit if item.unit else ''}"
        if summary.low is not None:
            line += f" ({number_text(summary.low)} to {number_text(summary.high)})"
        worst = found.worst(name)
        if worst is not None:
            line += f"; worst {number_text(worst.scores.values[name])}, {worst.id}"
        if summary.failed:
            line += f"; {count_text(summary.failed, 'pair')} failed"
        say(line)
    for stream in found.statistics.streams if found.statistics else ():
        say(
            f"{stream.stream.name:19} {rate_text(stream.stream.bitrate_bps)}; {100 * stream.used.mean():.1f} % of codes used; "
            f"perplexity {stream.perplexity.mean():.1f} of {stream.stream.codebook_size}"
        )
