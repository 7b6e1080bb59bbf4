"""What commands print: every line goes through `printable`, since ids, paths and messages come from data."""

from __future__ import annotations

from typing import Any

import click

from speechtok.wording import json_text, printable


def say(line: object, *, err: bool = False) -> None:
    """Print one line."""
    click.echo(printable(line), err=err)


def say_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(json_text(value))
