"""`speechtok pull`: a token dataset from the Hugging Face Hub."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from speechtok.cli.options import LOCAL, verbose
from speechtok.cli.printing import say


@click.command("pull")
@click.argument("repository")
@click.argument("folder", type=LOCAL)
@click.option("--revision", help="Branch, tag or commit. [default: main]")
@verbose
def command(repository: str, folder: Path, revision: str | None) -> int:
    """Fetch REPOSITORY (user/name) from the Hub into FOLDER and verify it; again fetches only what is missing."""
    from speechtok.hub import show_progress
    from speechtok.publish.dataset import pull_dataset
    from speechtok.wording import count_text, duration_text, size_text

    show_progress(sys.stderr.isatty())
    found = pull_dataset(repository, folder, revision=revision)
    say(
        f"{folder} is intact: {count_text(found.shards, 'shard')}, {count_text(found.rows, 'utterance')}, "
        f"{duration_text(found.seconds)}, {size_text(found.bytes)}; {found.quarantined:,} in quarantine."
    )
    return 0
