"""A fairseq audio manifest: the root folder on the first line, then `path<TAB>samples` lines.

Source: fairseq, examples/wav2vec/README.md, "Prepare training data manifest".
"""

from __future__ import annotations

from speechtok.corpora.corpus import Corpus, Pairs, Unique, read_lines
from speechtok.errors import DatasetError
from speechtok.limits import LINE_BYTES
from speechtok.storage import AnyPath, join
from speechtok.utterances import Utterance


def is_fairseq(path: AnyPath) -> bool:
    """Return whether a .tsv file is a fairseq manifest: its first line is one field, a folder."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        first = file.readline(LINE_BYTES).rstrip("\r\n")
    return "\t" not in first and "/" in first


def read_fairseq(path: AnyPath) -> Corpus:
    """Return the utterances of a fairseq manifest; ids are the paths as written.

    Raises:
        DatasetError: when iterated, for a malformed line or a path that occurs twice.
    """
    root = join(path.parent, next(read_lines(path), "").strip())
    return Corpus(
        kind="fairseq", name=path.name, root=root, utterances=Unique(lambda: _rows(path), str(path))
    )


def _rows(path: AnyPath) -> Pairs:
    for number, line in enumerate(read_lines(path), start=1):
        if number == 1 or not line.strip():
            continue
        audio, _, samples = line.partition("\t")
        if not audio or not samples.strip().isdecimal():
            raise DatasetError(f"{path} line {number} must be 'path<TAB>number of samples', got '{line}'.")
        yield Utterance(id=audio, audio=audio), f"line {number}"
