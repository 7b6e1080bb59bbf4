"""What commands print: every line goes through `shown`, since ids, paths and messages come from data and servers."""

from __future__ import annotations

from typing import Any

import click

from speechtok.redaction import redact, redact_all
from speechtok.wording import json_text, printable


def shown(text: object) -> str:
    """Return a text as one line without secrets that a terminal shows as it is."""
    return printable(redact(str(text)))


def say(line: object, *, err: bool = False) -> None:
    """Print one line."""
    click.echo(shown(line), err=err)


def say_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(json_text(redact_all(value)))
