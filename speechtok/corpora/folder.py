"""A directory tree of audio files; the id of an utterance is its path below the root."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from speechtok.audio.io import looks_like_audio
from speechtok.corpora.corpus import Corpus, Pairs, Unique, plain_path
from speechtok.errors import DatasetError
from speechtok.storage import AnyPath, relative
from speechtok.utterances import Utterance


def read_folder(root: AnyPath) -> Corpus:
    """Return all audio files below a folder, in the order of their paths.

    A file counts as audio by its suffix or, without one, by its first bytes. Hidden files and
    folders are skipped, and so are links that lead back to a folder they lie in. Ids keep the suffix, so `a.wav` and `a.flac` may lie side by side.

    Raises:
        DatasetError: when iterated, if there is no audio file (what was found instead is counted by
            suffix), or a folder cannot be read.
    """
    ignored = Counter[str]()

    def read() -> Pairs:
        ignored.clear()
        is_empty = True
        for path in walk(root):
            if looks_like_audio(path):
                name = plain_path(relative(path, root), str(root))
                yield Utterance(id=name, audio=name), name
                is_empty = False
            else:
                ignored[path.suffix.lower() or "no suffix"] += 1
        if is_empty:
            found = ", ".join(f"{count} {suffix}" for suffix, count in ignored.most_common()) or "nothing"
            raise DatasetError(f"{root} holds no audio file; found: {found}.")

    name = root.resolve().name
    return Corpus(kind="folder", name=name, root=root, utterances=Unique(read, str(root)), ignored=ignored)


def walk(root: AnyPath) -> Iterator[AnyPath]:
    """Yield the files below a folder in the order of their paths, links followed, hidden ones left out.

    Raises:
        DatasetError: when a folder cannot be read.
    """
    if isinstance(root, Path):
        yield from _walk(root, root)
        return
    for path in root.files():
        if not any(part.startswith(".") for part in path.relative_to(root).parts):
            yield path


def _walk(root: Path, folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DatasetError(f"{error.filename} cannot be read: {error.strerror}.") from error
    for name, is_folder in sorted(found, key=lambda item: f"{item[0]}/" if item[1] else item[0]):
        if not is_folder:
            yield folder / name
        elif not _loops(root, folder, name):
            yield from _walk(root, folder / name)


def _loops(root: Path, folder: Path, name: str) -> bool:
    """Return whether an entry is a link to a folder, or above a folder, on the way from root to it."""
    if not (folder / name).is_symlink():
        return False
    target, way = (folder / name).resolve(), [folder, *folder.parents]
    return any(place.resolve().is_relative_to(target) for place in way[: way.index(root) + 1])
