"""Corpora that are text lists: a slice is a run of the lines of one list."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence

from speechtok.corpora.lines import Lines, lines_sha256
from speechtok.corpora.slices import UTTERANCE_SECONDS, File, Pairs, Slice, Source
from speechtok.storage import AnyPath, file_sha256
from speechtok.utterances import Utterance


class ListSource(Source):
    """A corpus whose utterances are lines of lists; all lists are read to plan, and so what is malformed is told first."""

    def newline(self, table: AnyPath) -> str:
        """Return what ends a line of a list, as for `open`: of .csv and .tsv files the csv module tells it."""
        return "\n"

    @property
    @abstractmethod
    def tables(self) -> Sequence[AnyPath]:
        """The lists."""

    @property
    def beside(self) -> Sequence[AnyPath]:
        """Other lists that say something about the same utterances."""
        return ()

    @abstractmethod
    def rows(self, lines: Lines, *, is_all: bool) -> Pairs:
        """Yield the utterance of each line, before the next line is read.

        Args:
            lines: of one list.
            is_all: whether these are all lines of the list, which are read to plan; what lies beside it is then checked,
                and need not be told.
        """

    def files(self) -> Iterator[File]:
        for path in (*self.tables, *self.beside):
            yield File(self.named(path), path.stat().st_size, self.version(path))

    def version(self, path: AnyPath) -> str:
        """Return the hash of a list, which is small beside the recordings.

        Raises:
            DatasetError: when it is no list, as far as the beginning of a packed one tells.
        """
        if path.suffix != ".gz":
            return lines_sha256(path)
        next(iter(Lines(path)), None)
        return file_sha256(path)

    def slices(self, files: Iterable[File], seconds: float) -> Iterator[Slice]:
        for _ in files:  # their hashes are for comparison
            pass
        for table in self.tables:
            lines, name = Lines(table, newline=self.newline(table)), self.named(table)
            start = number = stop = 0
            total = 0.0
            for item, _ in self.rows(lines, is_all=True):
                total, stop = total + seconds_of(item), lines.place
                if total >= seconds:
                    yield Slice(container=name, start=start, stop=stop, line=number, seconds=total)
                    start, number, total = stop, lines.number, 0.0
            if total:
                yield Slice(container=name, start=start, stop=stop, line=number, seconds=total)

    def read(self, part: Slice) -> Pairs:
        table = next(path for path in self.tables if self.named(path) == part.container)
        lines = Lines(table, start=part.start, stop=part.stop, number=part.line, newline=self.newline(table))
        return self.rows(lines, is_all=False)


def seconds_of(item: Utterance) -> float:
    """Return how long an utterance is taken to be."""
    stated = item.seconds if item.segment_seconds is None else item.segment_seconds
    return UTTERANCE_SECONDS if stated is None else max(stated, 1e-3)
