"""A directory tree of audio files; the id of an utterance is its path below the root."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import groupby
from pathlib import Path

from speechtok.audio.containers import AUDIO_SUFFIXES
from speechtok.audio.io import looks_like_audio
from speechtok.corpora.corpus import Corpus, Pairs, Unique, plain_path, transcript
from speechtok.errors import DatasetError
from speechtok.storage import AnyPath, relative
from speechtok.utterances import Utterance

UNLISTED = "recordings that no list names"
"""How recordings beside a list are counted."""
TRANSCRIPTS = (".txt", ".lab", ".normalized.txt")
"""What follows the name of a recording, without its suffix, in the name of its text; the first that is there."""


def read_folder(root: AnyPath) -> Corpus:
    """Return all audio files below a folder, in the order of their paths, with the texts that lie beside them.

    A file counts as audio by its suffix or, without one, by its first bytes. Hidden files and
    folders are skipped, and a folder that links reach in several ways is read once. Ids keep the suffix, so `a.wav` and
    `a.flac` may lie side by side.

    Raises:
        DatasetError: when iterated, if there is no audio file (what was found instead is counted by
            suffix), or a folder cannot be read.
    """
    ignored = Counter[str]()

    def read() -> Pairs:
        ignored.clear()
        is_empty = True
        for _, group in groupby(walk(root), key=_name):
            beside = {path.name: path for path in group}
            recordings = {name: path for name, path in beside.items() if looks_like_audio(path)}
            used = set(recordings)
            for recording, path in recordings.items():
                found = _text(recording, beside)
                words = None
                if found is not None:
                    words = transcript(beside[found], ignored)
                    used.add(found)
                name = plain_path(relative(path, root), str(root))
                yield Utterance(id=name, audio=name, text=words), name
                is_empty = False
            for other in beside.keys() - used:
                ignored[beside[other].suffix.lower() or "no suffix"] += 1
        if is_empty:
            listed = ", ".join(f"{count} {suffix}" for suffix, count in ignored.most_common()) or "nothing"
            raise DatasetError(f"{root} holds no audio file; found: {listed}.")

    name = root.resolve().name
    return Corpus(kind="folder", name=name, root=root, utterances=Unique(read, str(root)), ignored=ignored)


def _name(path: AnyPath) -> str:
    """Return what a recording and the files beside it have in common; they follow each other."""
    text, name = str(path), path.name
    return text[: len(text) - len(name)] + name.partition(".")[0]


def _text(recording: str, beside: Collection[str]) -> str | None:
    """Return the name of the file with the text of a recording, if there is one."""
    stem = recording.rpartition(".")[0] or recording
    return next((stem + end for end in TRANSCRIPTS if stem + end in beside), None)


def walk(root: AnyPath) -> Iterator[AnyPath]:
    """Yield the files below a folder in the order of their paths, links followed, hidden ones left out.

    However many ways links make, each folder is gone through once: where it lies, or, outside of the root, by the
    first link that leads to it.

    Raises:
        DatasetError: when a folder cannot be read.
    """
    if isinstance(root, Path):
        yield from _walk(root)
        return
    for path in root.files():
        if not any(part.startswith(".") for part in path.relative_to(root).parts):
            yield path


def _walk(root: Path) -> Iterator[Path]:
    real, seen = root.resolve(), {_identity(root)}
    waiting = [_entries(root)]
    while waiting:
        path, is_folder, is_link = next(waiting[-1], (None, False, False))
        if path is None:
            waiting.pop()
        elif not is_folder:
            yield path
        elif not (is_link and _is_elsewhere(path.resolve(), real)) and (own := _identity(path)) not in seen:
            seen.add(own)
            waiting.append(_entries(path))


def _entries(folder: Path) -> Iterator[tuple[Path | None, bool, bool]]:
    """Return what lies in a folder: paths, whether each is a folder, and whether it is a link."""
    try:
        with os.scandir(folder) as entries:
            found = [
                (entry.name, entry.is_dir(), entry.is_symlink())
                for entry in entries
                if not entry.name.startswith(".")
            ]
    except OSError as error:
        raise DatasetError(f"{error.filename} cannot be read: {error.strerror}.") from error
    found.sort(key=lambda item: f"{item[0]}/" if item[1] else item[0])
    return ((folder / name, is_folder, is_link) for name, is_folder, is_link in found)


def _identity(folder: Path) -> tuple[int, int]:
    try:
        found = folder.stat()
    except OSError as error:
        raise DatasetError(f"{error.filename} cannot be read: {error.strerror}.") from error
    return found.st_dev, found.st_ino


def _is_elsewhere(target: Path, root: Path) -> bool:
    """Return whether the target of a link is gone through where it lies, or holds the root itself."""
    if root.is_relative_to(target):
        return True
    return target.is_relative_to(root) and not any(
        part.startswith(".") for part in target.relative_to(root).parts
    )


def recordings_below(root: AnyPath) -> set[str]:
    """Return the paths of all recordings below a folder, as their suffixes tell them."""
    return {relative(path, root) for path in walk(root) if path.suffix.lower() in AUDIO_SUFFIXES}


def count_unlisted(paths: set[str], ignored: Counter[str]) -> None:
    """Count recordings that no list names."""
    if paths:
        ignored[UNLISTED] += len(paths)
