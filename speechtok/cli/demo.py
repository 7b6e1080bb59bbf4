"""`speechtok demo`: the main job on a small corpus that comes with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from speechtok.cli.options import LOCAL_FOLDER, executor, verbose
from speechtok.cli.printing import say


@click.command("demo")
@click.argument("output", type=LOCAL_FOLDER, default="speechtok-demo")
@executor
@verbose
def command(output: Path, executor: Literal["local", "ray"] | None) -> None:
    """Turn a dozen clips into a verified token dataset and back into speech, in OUTPUT."""
    from speechtok.demo.demonstration import run_demo
    from speechtok.engine.settings import RunSettings

    run_demo(output, say=say, run=RunSettings(executor=executor))
