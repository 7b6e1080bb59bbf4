"""A directory tree of audio files; the id of an utterance is its path below the root."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from itertools import groupby
from pathlib import Path

from speechtok.audio.containers import AUDIO_SUFFIXES
from speechtok.audio.io import looks_like_audio
from speechtok.corpora.corpus import plain_path, transcript
from speechtok.corpora.slices import File, Pairs, Slice, Source, guessed_seconds, in_groups
from speechtok.errors import DatasetError
from speechtok.storage import AnyPath, StorePath, relative
from speechtok.utterances import Utterance

UNLISTED = "recordings that no list names"
"""How recordings beside a list are counted."""
TRANSCRIPTS = (".txt", ".lab", ".normalized.txt")
"""What follows the name of a recording, without its suffix, in the name of its text; the first that is there."""


class Folder(Source):
    """All audio files below a folder, in the order of their paths, with the texts that lie beside them.

    A file counts as audio by its suffix or, without one, by its first bytes. Hidden files and
    folders are skipped, and a folder that links reach in several ways is read once. Ids keep the suffix, so `a.wav` and
    `a.flac` may lie side by side.

    Raises:
        DatasetError: when listed, if there is no audio file (what was found instead is counted by
            suffix), or a folder cannot be read.
    """

    kind = "folder"

    def __init__(self, root: AnyPath) -> None:
        super().__init__(root, root.resolve().name)

    def files(self) -> Iterator[File]:
        is_empty = True
        for _, group in groupby(listed(self.root), key=lambda file: _stem(file.name)):
            beside = {file.name: file for file in group}
            recordings = {name for name in beside if self._is_audio(name)}
            used = recordings | {text for name in recordings if (text := _text(name, beside))}
            for name, file in beside.items():
                if name in used:
                    plain_path(name, str(self.root))
                    yield file
                    is_empty = False
                else:
                    self.ignored[suffix_of(name) or "no suffix"] += 1
        if is_empty:
            kinds = ", ".join(f"{count} {suffix}" for suffix, count in self.ignored.most_common())
            raise DatasetError(f"{self.root} holds no audio file; found: {kinds or 'nothing'}.")

    def _is_audio(self, name: str) -> bool:
        suffix = suffix_of(name)
        return suffix in AUDIO_SUFFIXES if suffix else looks_like_audio(self.root / name)

    def slices(self, files: Iterable[File], seconds: float) -> Iterator[Slice]:
        return in_groups(with_texts(files), seconds)

    def read(self, part: Slice) -> Pairs:
        for _, group in groupby(part.names, key=_stem):
            beside = list(group)
            for name in beside:
                if not name.endswith(TRANSCRIPTS):
                    found = _text(name, beside)
                    words = None if found is None else transcript(self.root / found, self.ignored)
                    yield Utterance(id=name, audio=name, text=words), name


def with_texts(files: Iterable[File]) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yield the names of recordings with those of their texts, which follow each other, and their seconds."""
    for _, group in groupby(files, key=lambda file: _stem(file.name)):
        beside = list(group)
        yield (
            tuple(file.name for file in beside),
            sum(guessed_seconds(file) for file in beside if not file.name.endswith(TRANSCRIPTS)),
        )


def _stem(path: str) -> str:
    """Return what the paths of a recording and of the files beside it have in common; they follow each other."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + name.partition(".")[0]


def _text(recording: str, beside: Collection[str]) -> str | None:
    """Return the name of the file with the text of a recording, if there is one."""
    folder, slash, name = recording.rpartition("/")
    stem = folder + slash + (name.rpartition(".")[0] or name)
    return next((stem + end for end in TRANSCRIPTS if stem + end in beside), None)


def suffix_of(name: str) -> str:
    """Return the suffix of a file by its path, in lower case, as `PurePath.suffix` tells it."""
    name = name.rpartition("/")[2]
    place = name.rfind(".")
    return name[place:].lower() if 0 < place < len(name) - 1 else ""


def walk(root: AnyPath) -> Iterator[AnyPath]:
    """Yield the paths of what `listed` yields."""
    return (root / file.name for file in _walk(root)) if isinstance(root, Path) else _objects(root)


def listed(root: AnyPath) -> Iterator[File]:
    """Yield the files below a folder in the order of their paths, links followed, hidden ones left out.

    However many ways links make, each folder is gone through once: where it lies, or, outside of the root, by the
    first link that leads to it.

    Raises:
        DatasetError: when a folder cannot be read.
    """
    if isinstance(root, Path):
        yield from _walk(root)
        return
    for path in _objects(root):
        yield File(relative(path, root), (path.listed or path.stat()).st_size)


def _objects(root: StorePath) -> Iterator[StorePath]:
    for path in root.files():
        if not any(part.startswith(".") for part in path.relative_to(root).parts):
            yield path


def _walk(root: Path) -> Iterator[File]:
    real, seen = root.resolve(), {_identity(root)}
    waiting = [_entries(root, "")]
    while waiting:
        name, size, is_link = next(waiting[-1], (None, 0, False))
        if name is None:
            waiting.pop()
        elif size is not None:
            yield File(name, size)
        elif not (is_link and _is_elsewhere((root / name).resolve(), real)):
            own = _identity(root / name)
            if own not in seen:
                seen.add(own)
                waiting.append(_entries(root / name, f"{name}/"))


def _entries(folder: Path, prefix: str) -> Iterator[tuple[str | None, int | None, bool]]:
    """Return what lies in a folder: paths from the root on, the size of each that is no folder, and whether it is a link."""
    try:
        with os.scandir(folder) as entries:
            found = [
                (entry.name, None if entry.is_dir() else _size(entry), entry.is_symlink())
                for entry in entries
                if not entry.name.startswith(".")
            ]
    except OSError as error:
        raise DatasetError(f"{error.filename} cannot be read: {error.strerror}.") from error
    found.sort(key=lambda item: f"{item[0]}/" if item[1] is None else item[0])
    return ((prefix + name, size, is_link) for name, size, is_link in found)


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:  # such as a link that leads nowhere
        return 0


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
    names = (
        (file.name for file in _walk(root))
        if isinstance(root, Path)
        else (relative(path, root) for path in _objects(root))
    )
    return {name for name in names if suffix_of(name) in AUDIO_SUFFIXES}


def count_unlisted(paths: set[str], ignored: Counter[str]) -> None:
    """Count recordings that no list names."""
    if paths:
        ignored[UNLISTED] += len(paths)
