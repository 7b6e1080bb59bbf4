"""What every format of corpora gives: a listing, slices of it, and the utterances of each slice.

A slice is a run of one container: files of a folder, bytes of a text list or of a tar, rows of a table. To find slices no
recording is opened; what a slice holds is read by whoever works on it. The slices of a corpus, one after the other, hold
all of its utterances.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from speechtok.storage import AnyPath, relative
from speechtok.utterances import Utterance

Pairs = Iterable[tuple[Utterance, str]]
"""Utterances, each with the place it was read from."""
UTTERANCE_SECONDS = 8.0
"""What an utterance is taken to last as long as nobody says, to cut slices of like length."""
_BYTE_RATES = {
    ".wav": 32_000,
    ".aiff": 32_000,
    ".aif": 32_000,
    ".pcm": 32_000,
    ".flac": 16_000,
    ".tar": 16_000,
}
"""Bytes of a second of speech, to guess from the size of a file how long it is …"""
_PACKED_RATE = 8_000
"""… and of other formats."""


class File(NamedTuple):
    """What a listing tells of one file."""

    name: str
    """Path below the root of the corpus, or as the corpus names it."""
    size: int
    """Bytes."""
    version: str = ""
    """Hash of a list; empty for recordings and what holds them, which are not read to be listed."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A run of a corpus."""

    container: str = ""
    """File that holds it, below the root; empty where it is a run of files."""
    start: int = 0
    """Where it begins in the container: bytes of a text list or of a tar, rows of a table."""
    stop: int | None = None
    """Where it ends; None runs to the end."""
    line: int = 0
    """Lines of a text list before it."""
    split: str | None = None
    """Split that the place of the container tells."""
    names: tuple[str, ...] = ()
    """Files of the run; of a table, the paths in its cells that are no ids since others have them too."""
    seconds: float = 0.0
    """How long it may be, by sizes and what lists state: a guess."""

    def joined(self, other: Slice) -> Slice | None:
        """Return this slice with one that follows it, or None if they are no run of one container."""
        is_run = (self.container, self.split, self.stop) == (other.container, other.split, other.start)
        if not (is_run or (not self.container and not other.container)):
            return None
        return replace(
            self, stop=other.stop, names=self.names + other.names, seconds=self.seconds + other.seconds
        )


class Source(ABC):
    """A corpus of one format."""

    kind: str
    """Format, such as "folder", "kaldi" or "webdataset"."""
    advice = ""
    """What to do where ids are not unique."""

    def __init__(self, root: AnyPath, name: str) -> None:
        self.root = root
        """Folder that relative `Utterance.audio` paths start from."""
        self.name = name
        """Name of the folder or file, without the path to it."""
        self.place: AnyPath = root
        """What messages call the corpus."""
        self.ignored = Counter[str]()
        """Files that were not taken for audio, counted by suffix, as far as they were come across."""

    @abstractmethod
    def files(self) -> Iterator[File]:
        """Yield all files that decide what the utterances are, in one listing; two corpora with the same are the same."""

    @abstractmethod
    def slices(self, files: Iterable[File], seconds: float) -> Iterator[Slice]:
        """Yield slices of about `seconds` or more, with no recording opened; `files` is the listing.

        Raises:
            DatasetError: when a list is malformed.
        """

    @abstractmethod
    def read(self, part: Slice) -> Pairs:
        """Yield the utterances of a slice, in the order of its container.

        Raises:
            DatasetError: when it cannot be read.
        """

    def pairs(self) -> Pairs:
        """Yield all utterances."""
        self.ignored.clear()
        for part in self.slices(self.files(), math.inf):
            yield from self.read(part)

    def named(self, path: AnyPath) -> str:
        """Return the path of a list below the root, or the name alone of one that lies elsewhere."""
        try:
            return relative(path, self.root)
        except ValueError:
            return path.name


def guessed_seconds(file: File) -> float:
    """Return how long the speech in a file may be, by its size."""
    rate = _BYTE_RATES.get(file.name[file.name.rfind(".") :].lower(), _PACKED_RATE)
    return max(file.size / rate, 0.1)


def in_groups(groups: Iterable[tuple[tuple[str, ...], float]], seconds: float) -> Iterator[Slice]:
    """Yield slices of files that are given in groups which belong together, each with its seconds."""
    names, total = list[str](), 0.0
    for group, length in groups:
        names += group
        total += length
        if total >= seconds:
            yield Slice(names=tuple(names), seconds=total)
            names, total = [], 0.0
    if names:
        yield Slice(names=tuple(names), seconds=total)


def of_length(slices: Iterable[Slice], seconds: float) -> Iterator[Slice]:
    """Yield slices joined to about `seconds`."""
    held: Slice | None = None
    for part in slices:
        joined = None if held is None or held.seconds + part.seconds / 2 > seconds else held.joined(part)
        if held is not None and joined is None:
            yield held
        held = joined or part
    if held is not None:
        yield held
