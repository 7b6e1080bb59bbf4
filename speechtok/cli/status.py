"""`speechtok status`: how far a job is, from another terminal or afterwards."""

from __future__ import annotations

import click

from speechtok.cli import options
from speechtok.cli.printing import say, say_json
from speechtok.storage import AnyPath


@click.command("status")
@click.argument("output", type=options.EXISTING)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
@options.verbose
def command(output: AnyPath, as_json: bool) -> None:
    """Tell how far the job that writes the token dataset OUTPUT is, and what its workers wait for.

    Works while the job runs, after it ended, and after a crash.
    """
    from dataclasses import asdict

    from speechtok.commands.status import read_status
    from speechtok.wording import duration_text

    status = read_status(output)
    if as_json:
        say_json(asdict(status))
        return
    say(f"{output}: {status.sentence}")
    say(
        f"  {status.shards_done} of {status.shards} shards; {status.utterances_done:,} of {status.utterances:,} utterances, "
        f"{status.quarantined:,} in quarantine"
    )
    if status.state == "running":
        left = "" if status.left_seconds is None else f", about {duration_text(status.left_seconds)} left"
        say(f"  {status.times_real_time:,.0f} × real time{left}")
        say(f"  {'node':24} {'workers':>7} {'× real time':>11} {'read':>6} {'encode':>6} {'write':>6}")
        for name, node in status.nodes.items():
            shares = " ".join(f"{100 * node['shares'][stage]:5.0f}%" for stage in ("read", "encode", "write"))
            say(f"  {name:24} {node['workers']:7} {node['times_real_time']:11,.0f} {shares}")
    if status.bottleneck:
        say(f"  {status.bottleneck}")
    for worker in status.stalled:
        say(
            f"  Stalled: shard {worker['shard']} on {worker['node']} (process {worker['pid']}) has been at "
            f"'{worker['stage']}' for {duration_text(worker['stage_seconds'])}."
        )
