"""A directory tree of audio files; the id of an utterance is its path below the root."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from speechtok.audio.io import looks_like_audio
from speechtok.corpora.corpus import Corpus, unique
from speechtok.errors import DatasetError
from speechtok.utterances import Utterance


def read_folder(root: Path) -> Corpus:
    """Return all audio files below a folder, in the order of their paths.

    A file counts as audio by its suffix or, without one, by its first bytes. Hidden files and
    folders are skipped, and so are links that lead back to a folder they lie in. Ids keep the suffix, so `a.wav` and `a.flac` may lie side by side.

    Raises:
        DatasetError: when there is no audio file (what was found instead is counted by suffix), or a
            folder cannot be read.
    """
    paths, ignored = [], Counter[str]()
    for folder, folders, names in os.walk(root, followlinks=True, onerror=_refuse):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and not _loops(root, Path(folder), name)
        )
        for name in names:
            if name.startswith("."):
                continue
            path = Path(folder) / name
            if looks_like_audio(path):
                paths.append(path.relative_to(root).as_posix())
            else:
                ignored[path.suffix.lower() or "no suffix"] += 1
    if not paths:
        found = ", ".join(f"{count} {suffix}" for suffix, count in ignored.most_common()) or "nothing"
        raise DatasetError(f"{root} holds no audio file; found: {found}.")
    utterances = unique(((Utterance(id=path, audio=path), path) for path in sorted(paths)), str(root))
    return Corpus(kind="folder", name=root.resolve().name, root=root, utterances=utterances, ignored=ignored)


def _loops(root: Path, folder: Path, name: str) -> bool:
    """Return whether an entry is a link to a folder, or above a folder, on the way from root to it."""
    if not (folder / name).is_symlink():
        return False
    target, way = (folder / name).resolve(), [folder, *folder.parents]
    return any(place.resolve().is_relative_to(target) for place in way[: way.index(root) + 1])


def _refuse(error: OSError) -> None:
    raise DatasetError(f"{error.filename} cannot be read: {error.strerror}.") from error
