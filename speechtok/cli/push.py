"""`speechtok push`: a token dataset to the Hugging Face Hub."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from speechtok.cli.options import LOCAL, verbose
from speechtok.cli.printing import say


@click.command("push")
@click.argument("dataset", type=LOCAL)
@click.argument("repository")
@click.option(
    "--private/--public",
    default=None,
    help="Who sees it. [default: private when new, else as it is]",
)
@click.option("--revision", help="Branch to commit to, made when there is none. [default: main]")
@click.option("--tag", help="Name that the commit gets besides.")
@click.option("--message", help="First line of the commit.")
@click.option(
    "--licence",
    help="Licence of the recordings, as the Hub spells it: cc-by-4.0. [default: what the card says]",
)
@click.option("--citation", help="How to cite the recordings. [default: what the card says]")
@verbose
def command(
    dataset: Path,
    repository: str,
    private: bool | None,
    revision: str | None,
    tag: str | None,
    message: str | None,
    licence: str | None,
    citation: str | None,
) -> int:
    """Verify DATASET and send it to REPOSITORY (user/name) on the Hub; again sends only what is missing."""
    from speechtok.hub import show_progress
    from speechtok.publish.dataset import absolute_recordings, push_dataset
    from speechtok.wording import count_text

    absolute = absolute_recordings(dataset)
    if absolute:
        say(
            f"{count_text(absolute, 'recording is', 'recordings are')} named by an absolute path of this machine, "
            "which everybody who sees the dataset will read.",
            err=True,
        )
    show_progress(sys.stderr.isatty())
    pushed = push_dataset(
        dataset,
        repository,
        private=private,
        revision=revision,
        tag=tag,
        message=message,
        licence=licence,
        citation=citation,
    )
    kept = "" if pushed.sent else "; it held everything already"
    say(
        f"{pushed.url} ({'private' if pushed.private else 'public'}) is at commit {pushed.commit[:12]}: "
        f"{count_text(pushed.sent, 'file')} sent, {pushed.removed:,} removed{kept}."
    )
    return 0
