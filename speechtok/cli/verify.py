"""`speechtok verify`: is every file of a dataset what was committed?"""

from __future__ import annotations

from pathlib import Path

import click

from speechtok.cli.options import EXISTING, verbose


@click.command("verify")
@click.argument("dataset", type=EXISTING)
@verbose
def command(dataset: Path) -> int:
    """Check DATASET: every sha256, schema, code range, fingerprint, row and second count."""
    from speechtok.cli.progress import counting
    from speechtok.shards.layout import Layout
    from speechtok.shards.plan import read_plan
    from speechtok.shards.verify import verify

    layout = Layout(dataset)
    with counting("Verifying", len(read_plan(layout).tasks)) as step:
        found = verify(layout, on_shard=step)
    for problem in found.problems:
        click.echo(problem, err=True)
    if found.problems:
        click.echo(f"{dataset} is damaged or unfinished: {len(found.problems)} problems.", err=True)
        return 1
    click.echo(
        f"{dataset} is intact: {found.shards} shards, {found.rows:,} utterances, {found.seconds / 3600:.2f} h, "
        f"{found.bytes / 1e6:.1f} MB; {found.quarantined:,} in quarantine."
    )
    return 0
