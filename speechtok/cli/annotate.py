"""`speechtok annotate`: a token dataset gets more columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from speechtok.cli.options import EXISTING, PLACE, check_running, placed, reading, verbose
from speechtok.cli.printing import say
from speechtok.storage import AnyPath
from speechtok.wording import count_text


@click.command("annotate")
@click.argument("dataset", type=EXISTING, required=False)
@click.argument("annotations", nargs=-1, metavar="[ANNOTATION]...")
@click.option(
    "--output", type=PLACE, help="Make a new dataset there. [default: the columns are added to DATASET]"
)
@click.option("--corpus", type=EXISTING, help="Folder of the original audio; nothing outside it is opened.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="NAME.KEY=VALUE",
    help="A setting of an annotation, such as quality.silence_db=50.",
)
@click.option(
    "--replace",
    is_flag=True,
    help="Make annotations anew that were made with other settings or from other rows.",
)
@click.option("--list", "lists", is_flag=True, help="Print the annotations there are, and their columns.")
@placed
@reading
@verbose
def command(
    dataset: AnyPath | None,
    annotations: tuple[str, ...],
    output: AnyPath | None,
    corpus: AnyPath | None,
    changes: tuple[str, ...],
    replace: bool,
    lists: bool,
    **running: Any,
) -> None:
    """Add the columns of each ANNOTATION to the token dataset DATASET; the codes stay as they are."""
    if lists:
        _list()
        return
    if dataset is None or not annotations:
        raise click.UsageError("Give a dataset and at least one annotation; --list prints those there are.")
    check_running(running["executor"], running["ray_address"])
    from speechtok.cards.yaml_file import apply_changes
    from speechtok.errors import CardError

    settings: dict[str, Any] = {}
    try:
        apply_changes(settings, changes)
    except CardError as error:
        raise click.UsageError(str(error)) from None
    if bare := [name for name, values in settings.items() if not isinstance(values, dict)]:
        raise click.UsageError(f"--set takes NAME.KEY=VALUE, such as quality.silence_db=50; got {bare[0]}.")
    annotate(
        dataset,
        annotations,
        output=output,
        settings=settings,
        corpus=corpus,
        replace=replace,
        **running,
    )


def annotate(
    dataset: AnyPath,
    annotations: Sequence[str],
    *,
    output: AnyPath | None = None,
    settings: dict[str, Any],
    corpus: AnyPath | None,
    folders: Sequence[AnyPath] = (),
    replace: bool = False,
    **running: Any,
) -> None:
    """Annotate with a display, and print what came of it."""
    from speechtok.cli.progress import counting_of
    from speechtok.commands.annotate import annotate_dataset
    from speechtok.engine.settings import RunSettings

    with counting_of("Annotating") as told:
        made = annotate_dataset(
            dataset,
            annotations,
            output,
            settings=settings,
            corpus=corpus,
            folders=folders,
            replace=replace,
            run=RunSettings(**running),
            on_rows=told,
        )
    say(f"{output or dataset}: {made}")
    for name, count in made.failed.items():
        if count:
            say(
                f"{name} has no value for {count_text(count, 'row')}; {output or dataset}/quarantine/annotations says why."
            )


def _list() -> None:
    from speechtok.annotations import list_annotations, load_annotation

    for name in list_annotations():
        annotation = load_annotation(name)
        needs = ", ".join(sorted(annotation.needs)) or "columns"
        say(f"{name} (from {needs})")
        for column in annotation.columns(()):
            unit = f", in {column.unit}" if column.unit else ""
            say(f"  {column.name}: {column.description}{unit}")
