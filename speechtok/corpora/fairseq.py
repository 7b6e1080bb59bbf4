"""A fairseq audio manifest: the root folder on the first line, then `path<TAB>samples` lines.

Source: fairseq, examples/wav2vec/README.md, "Prepare training data manifest".
"""

from __future__ import annotations

from collections.abc import Sequence

from speechtok.corpora.lines import Lines, read_lines
from speechtok.corpora.lists import ListSource
from speechtok.corpora.slices import Pairs
from speechtok.errors import DatasetError
from speechtok.limits import LINE_BYTES
from speechtok.storage import AnyPath, join
from speechtok.utterances import Utterance


def is_fairseq(path: AnyPath) -> bool:
    """Return whether a .tsv file is a fairseq manifest: its first line is one field, a folder."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        first = file.readline(LINE_BYTES).rstrip("\r\n")
    return "\t" not in first and "/" in first


class Fairseq(ListSource):
    """The utterances of a fairseq manifest; ids are the paths as written.

    Raises:
        DatasetError: when read, for a malformed line.
    """

    kind = "fairseq"

    def __init__(self, path: AnyPath) -> None:
        super().__init__(join(path.parent, next(read_lines(path), "").strip()), path.name)
        self.place = path

    @property
    def tables(self) -> Sequence[AnyPath]:
        return [self.place]

    def rows(self, lines: Lines, *, is_all: bool) -> Pairs:
        for line in lines.bare():
            if lines.number == 1 or not line.strip():
                continue
            audio, _, samples = line.partition("\t")
            if not audio or not samples.strip().isdecimal():
                raise DatasetError(
                    f"{self.place} line {lines.number} must be 'path<TAB>number of samples', got '{line}'."
                )
            yield Utterance(id=audio, audio=audio), f"line {lines.number}"
