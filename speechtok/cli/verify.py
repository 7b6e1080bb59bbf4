"""`speechtok verify`: is every file of a dataset what was committed?"""

from __future__ import annotations

import click

from speechtok.cli.options import EXISTING, verbose
from speechtok.cli.printing import say
from speechtok.storage import AnyPath


@click.command("verify")
@click.argument("dataset", type=EXISTING)
@verbose
def command(dataset: AnyPath) -> int:
    """Check DATASET: every sha256, schema, code range, fingerprint, row and second count."""
    from speechtok.cli.progress import counting
    from speechtok.shards.layout import Layout
    from speechtok.shards.plan import read_plan
    from speechtok.shards.verify import verify
    from speechtok.wording import count_text, duration_text, size_text

    layout = Layout(dataset)
    with counting("Verifying", len(read_plan(layout).tasks)) as step:
        found = verify(layout, on_file=step)
    for problem in found.problems:
        say(problem, err=True)
    if found.problems:
        say(f"{dataset} is damaged or unfinished: {count_text(len(found.problems), 'problem')}.", err=True)
        return 1
    say(
        f"{dataset} is intact: {count_text(found.shards, 'shard')}, {count_text(found.rows, 'utterance')}, "
        f"{duration_text(found.seconds)}, {size_text(found.bytes)}; {found.quarantined:,} in quarantine."
    )
    return 0
