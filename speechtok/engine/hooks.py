"""What an executor tells while it makes shards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from speechtok.engine.stages import WorkerStatus


class OnEvent(Protocol):
    """Called when something happens that is worth a line in the journal."""

    def __call__(self, kind: str, **fields: object) -> None:
        """Note an event.

        Args:
            kind: what happened, in a word or two.
            fields: plain values about it.
        """
        ...


def _ignore(kind: str, **fields: object) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """Called by executors; every hook may be left out."""

    ready: Callable[[], None] = lambda: None
    """The first worker is up."""
    progressed: Callable[[Sequence[WorkerStatus]], None] = lambda workers: None
    """About twice a second: what every worker does; may come from another thread."""
    event: OnEvent = _ignore
    """A worker came or died, or the cluster changed."""
