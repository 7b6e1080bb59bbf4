"""A fairseq audio manifest: the root folder on the first line, then `path<TAB>samples` lines.

Source: fairseq, examples/wav2vec/README.md, "Prepare training data manifest".
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechtok.corpora.corpus import Corpus, read_lines, unique
from speechtok.errors import DatasetError
from speechtok.utterances import Utterance


def is_fairseq(path: Path) -> bool:
    """Return whether a .tsv file is a fairseq manifest: its first line is one field, a folder."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        first = file.readline().rstrip("\r\n")
    return "\t" not in first and "/" in first


def read_fairseq(path: Path) -> Corpus:
    """Return the utterances of a fairseq manifest; ids are the paths as written.

    Raises:
        DatasetError: for a malformed line or a path that occurs twice.
    """
    lines = read_lines(path)
    root = path.parent / lines[0].strip()
    utterances = unique(_rows(path, lines[1:]), str(path))
    return Corpus(kind="fairseq", name=path.name, root=root, utterances=utterances)


def _rows(path: Path, lines: list[str]) -> Iterator[tuple[Utterance, str]]:
    for number, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        audio, _, samples = line.partition("\t")
        if not audio or not samples.strip().isdecimal():
            raise DatasetError(f"{path} line {number} must be 'path<TAB>number of samples', got '{line}'.")
        yield Utterance(id=audio, audio=audio), f"line {number}"
