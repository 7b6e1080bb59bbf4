"""Groups of commands that start fast: a command's module is imported when the command is asked for.

Contents: `LazyGroup`.
"""

from __future__ import annotations

import keyword
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """Commands in modules of their names, where a hyphen is an underscore; each module has a `command`.

    Args:
        package: where the modules lie.
        names: of the commands, in the order they are listed.
        options: as for `click.Group`.
    """

    def __init__(self, *, package: str, names: Sequence[str], **options: Any) -> None:
        super().__init__(**options)
        self.package, self.names = package, tuple(names)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in order."""
        return list(self.names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, or None when there is none of that name."""
        if cmd_name not in self.names:
            return None
        command: click.Command = import_module(f"{self.package}.{_module(cmd_name)}").command
        return command


def _module(name: str) -> str:
    """Return the module of a command: hyphens are underscores, and one follows a Python keyword."""
    return f"{name}_" if keyword.iskeyword(name) else name.replace("-", "_")
