"""`speechtok run`: a recipe instead of options."""

from __future__ import annotations

import click

from speechtok.cards import find_recipe, read_recipe
from speechtok.cli.options import EXISTING, PLACE, verbose
from speechtok.cli.tokenize import tokenize
from speechtok.storage import AnyPath, as_path


@click.command("run")
@click.argument("recipe")
@click.option("--corpus", type=EXISTING, help="What to tokenize.")
@click.option("--output", type=PLACE, help="Folder of the token dataset.")
@click.option("--checkpoint", type=EXISTING, help="Folder with the published files.")
@click.option("--workers", type=click.IntRange(min=1), help="Ray workers.")
@verbose
def command(
    recipe: str,
    corpus: AnyPath | None,
    output: AnyPath | None,
    checkpoint: AnyPath | None,
    workers: int | None,
) -> None:
    """Run RECIPE, a YAML file with the arguments of `tokenize`, or the name of a shipped one.

    Paths are given as options, which override what the recipe says.
    """
    given = {"corpus": corpus, "output": output, "checkpoint": checkpoint, "workers": workers}
    path = find_recipe(recipe)
    arguments = read_recipe(path).arguments() | {
        name: value for name, value in given.items() if value is not None
    }
    for name in ("corpus", "output"):
        if name not in arguments:
            raise click.UsageError(f"Recipe {path} names no {name}; give --{name}.")
    for name in ("corpus", "output", "checkpoint"):
        if name in arguments:
            arguments[name] = as_path(arguments[name])
    tokenize(**arguments)
