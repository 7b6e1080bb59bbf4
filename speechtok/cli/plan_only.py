"""What `--plan-only` prints: shards, hours, bytes and cost of a job that is not run."""

from __future__ import annotations

from typing import Any

import click

from speechtok.cli.options import Decorator
from speechtok.cli.printing import say, say_json


def plan_options(command: Any) -> Any:
    """Add the options of a dry run to a command."""
    for decorate in reversed(_OPTIONS):
        command = decorate(command)
    return command


_OPTIONS: tuple[Decorator, ...] = (
    click.option(
        "--plan-only", is_flag=True, help="Print what the job would do and take, and write nothing."
    ),
    click.option(
        "--speed",
        type=click.FloatRange(min=0, min_open=True),
        metavar="X",
        help="Times real time of one worker, for --plan-only. [default: measured on a few utterances]",
    ),
    click.option("--price", type=click.FloatRange(min=0), help="Price of a worker hour, for --plan-only."),
    click.option("--json", "as_json", is_flag=True, help="Print JSON, with --plan-only."),
)


def show_plan(*, speed: float | None, price: float | None, as_json: bool, **arguments: Any) -> None:
    """Print what a job with these arguments would do and take."""
    from speechtok.commands.estimate import estimate_job
    from speechtok.wording import count_text, duration_text, labels_text, number_text, size_text

    found = estimate_job(speed=speed, price=price, **arguments)
    if as_json:
        say_json(found.to_dict())
        return
    held = f"{count_text(found.utterances, 'utterance')}, {duration_text(found.seconds)}"
    if found.unknown_length:
        held += f"; {found.unknown_length:,} without a readable header"
    if found.duplicate_ids:
        held += f"; {found.duplicate_ids:,} with the id of another"
    say(f"corpus      {found.corpus_kind}: {held}")
    say(f"labels      {labels_text(found.labels)}")
    for name, split in found.splits.items():
        say(
            f"{name:11} {count_text(split.utterances, 'utterance')}, {duration_text(split.seconds)}, "
            f"{count_text(split.shards, 'shard')}"
        )
    say(f"shards      {found.shards:,}, of {duration_text(found.shard_seconds)} at most")
    say(f"tokens      {size_text(found.token_bytes)} with {found.tokenizer}")
    source = f"measured on {duration_text(found.measured_seconds)}" if found.measured_seconds else "given"
    say(
        f"time        {found.worker_hours:,.2f} worker hours at {number_text(found.speed)} × real time ({source}); "
        f"{found.wall_hours:,.2f} h with {count_text(found.workers, 'worker')}"
    )
    if found.cost is not None:
        say(f"cost        {found.cost:,.2f} at {price:,.2f} for a worker hour")
