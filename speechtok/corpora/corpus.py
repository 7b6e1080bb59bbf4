"""What every corpus format yields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from speechtok.errors import DatasetError
from speechtok.utterances import Utterance


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The utterances of one corpus."""

    kind: str
    """Format: "folder", "kaldi", "fairseq" or "manifest"."""
    name: str
    """Name of the folder or file, without the path to it."""
    root: Path
    """Folder that relative `Utterance.audio` paths start from."""
    utterances: tuple[Utterance, ...]
    """All utterances, each id once."""
    ignored: Counter[str] = field(default_factory=Counter)
    """Files that were not taken for audio, counted by suffix."""


def unique(pairs: Iterable[tuple[Utterance, str]], source: str) -> tuple[Utterance, ...]:
    """Return the utterances, each of which comes with the place it was read from.

    Raises:
        DatasetError: when there are none, an id occurs twice (both places are named), or a name is no
            valid Unicode and so cannot be stored.
    """
    seen: dict[str, str] = {}
    utterances = []
    for utterance, place in pairs:
        for name in (utterance.id, utterance.audio):
            if not _is_storable(name):
                raise DatasetError(f"{source} has the name {name!r}, which is no valid Unicode; rename it.")
        if utterance.id in seen:
            raise DatasetError(
                f"{source} has the id '{utterance.id}' twice, at {seen[utterance.id]} and at {place}; ids must be unique."
            )
        seen[utterance.id] = place
        utterances.append(utterance)
    if not utterances:
        raise DatasetError(f"{source} holds no utterance.")
    return tuple(utterances)


def _is_storable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_text(path: Path) -> str:
    """Return the content of a UTF-8 text file, line ends as they are.

    Raises:
        DatasetError: when the file cannot be read as UTF-8 text.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read as UTF-8 text: {error}.") from error


def read_lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 text file without their ends; only line feeds end lines.

    Raises:
        DatasetError: when the file cannot be read as UTF-8 text.
    """
    return read_text(path).replace("\r\n", "\n").removesuffix("\n").split("\n")
