"""Which input ends the workers? A note beside the dataset finds out, whoever makes the next attempt.

A worker that dies says nothing, and the driver may have died with it. So each shard that is being made has a
note, removed when the shard is committed or the worker fails in an orderly way. (In a store, the first note of a shard that was
committed stays until the job removes all at once.) One that finds a note knows that the attempt before died:

1. The first attempt only has its note. After a death, the second also notes each batch before it is encoded.
2. After a death in a noted batch, the next attempt first encodes the inputs of this batch one by one, and
   notes each.
3. An input that ended two workers while alone is put in quarantine; the shard is made without it.

A death that has nothing to do with an input (a lost machine, a kill) thus costs a repetition and no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from speechtok.errors import DatasetError, JobError
from speechtok.shards.layout import Layout, json_bytes, write_json
from speechtok.shards.plan import ShardTask, read_json
from speechtok.storage import ABSENT, StorePath

TRIES = 2
"""Workers an input may end while alone, before it is put in quarantine."""
MAX_DEATHS = 16
"""Workers that may die on one shard: enough for three inputs that end them, and some accidents."""

_UNKNOWN: dict[str, Any] = {"deaths": 0, "batch": None, "suspect": None, "alone": {}}
"""What a damaged note stands for."""


class Attempts:
    """The note about one shard; use `noted` around making it."""

    def __init__(self, layout: Layout, task: ShardTask) -> None:
        self._layout, self._task = layout, task
        self._path = layout.attempts(task.split, task.index)
        self._deaths = 0
        self._alone: dict[str, int] = {}
        self.suspected_batch: int | None = None
        """Batch in which a worker died, whose inputs are to be tried one by one."""

    @property
    def culprits(self) -> frozenset[str]:
        """Ids of the inputs that ended workers again and again."""
        return frozenset(name for name, count in self._alone.items() if count >= TRIES)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Keep a note as long as the block runs.

        Raises:
            JobError: when too many workers have died on the shard.
        """
        if not self._is_first():
            self._learn()
        try:
            if self._deaths >= MAX_DEATHS:
                raise JobError(
                    f"{self._deaths} workers died on shard {self._task.name}: out of memory, or many inputs that crash "
                    "them. Run again with fewer workers or on another machine; finished shards are kept."
                )
            if self._deaths:
                self._write()
            yield
        except BaseException:
            self._path.unlink(missing_ok=True)
            raise
        if self._deaths or isinstance(self._path, Path):
            self._path.unlink(missing_ok=True)

    def excuse(self) -> None:
        """Note that the last death had nothing to do with an input: a lost machine, or memory that others took."""
        if (before := self._read()) is not None:
            self._deaths, self._alone = max(0, before["deaths"] - 1), before["alone"]
            self._write()

    def one_by_one(self, ids: Iterable[str]) -> Iterator[str]:
        """Yield the ids of the suspected batch that are no culprits, each noted until the next is asked for."""
        for name in ids:
            if name not in self.culprits:
                self._write(suspect=name)
                yield name
        self.suspected_batch = None
        self._write()

    def enter(self, batch: int) -> None:
        """Note that a batch is begun, if a worker has died before."""
        if self._deaths:
            self._write(batch=batch)

    def _is_first(self) -> bool:
        """Return whether there was no note, and leave one then: in a store one request."""
        if isinstance(self._path, StorePath):
            return self._path.put(json_bytes(self._content()), replaces=ABSENT) is not None
        is_first = not self._path.is_file()
        if is_first:
            self._write()
        return is_first

    def _learn(self) -> None:
        """Take over what the note of an attempt that died says."""
        before = self._read() or _UNKNOWN
        self._deaths, self._alone = before["deaths"] + 1, dict(before["alone"])
        self.suspected_batch = before.get("batch")
        if (suspect := before.get("suspect")) is not None:
            self._alone[suspect] = self._alone.get(suspect, 0) + 1

    def _content(self, *, batch: int | None = None, suspect: str | None = None) -> dict[str, Any]:
        batch = self.suspected_batch if batch is None else batch
        return {"deaths": self._deaths, "batch": batch, "suspect": suspect, "alone": self._alone}

    def _write(self, *, batch: int | None = None, suspect: str | None = None) -> None:
        write_json(self._layout, self._path, self._content(batch=batch, suspect=suspect))

    def _read(self) -> dict[str, Any] | None:
        """Return the note that is there, as one of an unknown kind of death where it is damaged."""
        if not self._path.is_file():
            return None
        try:
            found = read_json(self._path)
        except DatasetError:
            return _UNKNOWN
        is_sound = (
            _is_count(found.get("deaths"))
            and (found.get("batch") is None or _is_count(found["batch"]))
            and isinstance(found.get("suspect"), str | None)
            and isinstance(found.get("alone"), dict)
            and all(_is_count(count) for count in found["alone"].values())
        )
        return found if is_sound else _UNKNOWN


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0
