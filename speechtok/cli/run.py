"""`speechtok run`: a recipe instead of options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from speechtok.cards import find_recipe, list_recipes, read_recipe
from speechtok.cli.options import EXISTING, PLACE, taken, verbose
from speechtok.cli.plan_only import plan_options
from speechtok.cli.printing import say
from speechtok.cli.tokenize import tokenize
from speechtok.storage import StorePath, as_path


@click.command("run")
@click.argument("recipe", required=False)
@click.option("--corpus", type=EXISTING, help="What to tokenize.")
@click.option("--output", type=PLACE, help="Folder of the token dataset.")
@click.option("--checkpoint", type=EXISTING, help="Folder with the published files.")
@click.option("--workers", type=click.IntRange(min=1), help="Most workers.")
@click.option("--ray", "ray_address", metavar="ADDRESS", help="A running Ray cluster.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set a field of the recipe, such as tokenizer=facodec; may be given several times.",
)
@taken
@plan_options
@verbose
def command(recipe: str | None, changes: tuple[str, ...], **given: Any) -> None:
    """Run RECIPE, a YAML file with the arguments of `tokenize`, or the name of a shipped one; without it, list those.

    Paths are given as options, which override what the recipe says.
    """
    if recipe is None:
        if changes or any(given.values()):
            raise click.UsageError(
                "Give the RECIPE to run; without options, `speechtok run` lists those there are."
            )
        for name, path in list_recipes().items():
            say(f"{name:24} {_described(path)}")
        return
    path = find_recipe(recipe)
    arguments = read_recipe(path, changes).arguments() | {
        name: value for name, value in given.items() if value is not None
    }
    if given["plan_only"]:
        arguments.setdefault("output", "")  # nothing is written
    for name in ("corpus", "output"):
        if name not in arguments:
            raise click.UsageError(f"Recipe {path} names no {name}; give --{name}.")
    for name in ("corpus", "output", "checkpoint"):
        if name in arguments:
            arguments[name] = as_path(arguments[name])
    annotations, settings = arguments.pop("annotate", ()), arguments.pop("annotation_settings", {})
    if annotations and isinstance(arguments["output"], StorePath):
        raise click.UsageError(
            f"Recipe {path} annotates, which needs an output on a disk: {arguments['output']} lies in an object store. Leave `annotate` out, and "
            "run `speechtok annotate` with an --output of its own."
        )
    _check_annotations(annotations, settings)
    tokenize(**arguments)
    if annotations and not given["plan_only"]:
        _annotate(annotations, settings, arguments)


def _check_annotations(annotations: Sequence[str], settings: dict[str, Any]) -> None:
    """Have annotations that cannot be made refused before the corpus is tokenized."""
    if annotations:
        from speechtok.annotations import load_annotation

        for name in annotations:
            load_annotation(name, **settings.get(name, {})).files()


def _annotate(annotations: Sequence[str], settings: dict[str, Any], arguments: dict[str, Any]) -> None:
    """Annotate what was tokenized, with recordings of its corpus."""
    from speechtok.cli.annotate import annotate
    from speechtok.corpora.originals import corpus_folders

    names = (
        "executor",
        "workers",
        "ray_address",
        "cpus_per_worker",
        "runtime_env",
        "timeout_seconds",
        "memory_mb",
    )
    how = {name: arguments[name] for name in names if arguments.get(name) is not None}
    form = {name: arguments.get(name) for name in ("columns", "corpus_format")}
    root, folders = corpus_folders(arguments["corpus"], **form)
    annotate(arguments["output"], annotations, settings=settings, corpus=root, folders=folders, **how)


def _described(path: Path) -> str:
    """Return the second line of a recipe, which says what the run is."""
    return path.read_text(encoding="utf-8").splitlines()[1].removeprefix("#").strip()
