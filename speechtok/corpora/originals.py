"""The recordings that the rows of a token dataset were made from.

Contents: `Originals`, `find_originals`, `corpus_folders`, `read_run`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from speechtok.audio.io import Channels, read_blocks
from speechtok.audio.location import location_of
from speechtok.corpora import read_corpus
from speechtok.errors import AudioError, DatasetError, SpeechtokError, StorageError
from speechtok.limits import read_json
from speechtok.shards.layout import Layout
from speechtok.shards.plan import FAULT, has_plan, read_plan, without_faults
from speechtok.storage import AnyPath, StorePath, join

Samples = np.ndarray[Any, np.dtype[np.float64]]


_NO_FOLDER = "Recordings are opened only below a folder that you name, since a dataset from elsewhere could name any file"
_WITH_RATES = ("kaldi", "manifest")
"""Kinds of corpora whose lists may state the rate of a file without a header."""


@dataclass(frozen=True, kw_only=True)
class Originals:
    """Where the recordings of a dataset lie, as far as whoever asks has said.

    A dataset may come from anywhere, and its rows may name any file. So a recording is opened only below a folder that
    was named besides, links followed.
    """

    root: AnyPath | None
    """Folder that relative paths start from, and that the recordings lie below; None when nobody said."""
    folders: tuple[AnyPath, ...] = ()
    """Further folders that they may lie below."""
    starts: Mapping[str, float] = field(default_factory=dict)
    """Seconds into its recording where a segment begins, by id; whole recordings are left out."""
    channels: Channels = "mean"
    """How several channels become one."""
    has_rates: bool = False
    """Whether the corpus is of a kind that states the rate of files without a header, as in `call.pcm#rate=8000`."""

    def check(self, option: str) -> None:
        """Raise `DatasetError`, with the option that names the folder, when nobody named one."""
        if self.root is None:
            raise DatasetError(f"{_NO_FOLDER}; give it with {option} FOLDER.")

    def read(self, name: str, audio: str, sample_rate: int, num_samples: int) -> Samples:
        """Return the beginning of the recording of one row.

        Args:
            name: id of the row.
            audio: its `audio` column.
            sample_rate: Hz wanted.
            num_samples: how much at most; that of the row gives the whole of it.

        Returns:
            `(samples,)`, float64.

        Raises:
            AudioError: when the recording is not known, not there, lies elsewhere, or cannot be read any more.
        """
        path = self.path(audio)
        blocks = read_blocks(
            path,
            sample_rate=sample_rate,
            start=self.starts.get(name, 0.0),
            channels=self.channels,
            block_seconds=num_samples / sample_rate,
        )
        try:
            samples = next(blocks)
        except AudioError as error:
            raise AudioError(f"The original recording cannot be read any more: {error}") from error
        return np.asarray(samples[:num_samples], dtype=np.float64)

    def path(self, audio: str) -> str:
        """Return where a recording lies, once it is known to lie where it may.

        Raises:
            AudioError: when it is not known, not there, or lies elsewhere.
        """
        if self.root is None:
            raise AudioError(f"{_NO_FOLDER}.")
        place = location_of(audio)
        if place.rate is not None and not self.has_rates:
            raise AudioError(
                f"The row names '{audio}', but its kind of corpus states no rates of recordings."
            )
        try:
            path = join(self.root, place.path)
            is_below = any(_is_below(path, folder) for folder in (self.root, *self.folders))
            is_there = is_below and path.is_file()
        except (
            OSError,
            ValueError,
            RuntimeError,
            StorageError,
        ) as error:  # such as a NUL, or links in a circle
            raise AudioError(f"The row names '{audio}', which is no place of a recording: {error}") from error
        if not is_below:
            raise AudioError(
                f"The row names '{audio}', which does not lie below {self.root}; where that is right, name the folder "
                "that its recordings lie below."
            )
        if not is_there:
            raise AudioError(
                f"The original recording is not where it was when the dataset was made: there is no {path}."
            )
        return str(replace(place, path=str(path)))


def find_originals(
    dataset: AnyPath,
    corpus_root: AnyPath | None = None,
    folders: Iterable[AnyPath] = (),
    *,
    has_starts: bool = True,
) -> Originals:
    """Return where the recordings of a dataset or token file lie.

    Args:
        dataset: a token dataset, or one Parquet file of tokens.
        corpus_root: folder that the recordings' paths start from; None leaves them closed.
        folders: further folders that they may lie below.
        has_starts: whether to look where segments begin, which takes memory for each of them.

    Raises:
        DatasetError: when the plan is damaged.
    """
    layout = Layout(dataset)
    if not has_plan(layout):
        return Originals(root=corpus_root, folders=tuple(folders))
    plan = read_plan(layout)
    return Originals(
        root=corpus_root,
        folders=tuple(folders),
        starts={
            name: start
            for rows in (map(without_faults, plan.batches(["id", "start", FAULT])) if has_starts else ())
            for name, start in zip(rows["id"].to_pylist(), rows["start"].to_pylist(), strict=True)
            if start
        },
        channels="first" if plan.settings["job"].get("channels") == "first" else "mean",
        has_rates=plan.settings["corpus"].get("kind") in _WITH_RATES,
    )


def corpus_folders(
    corpus: AnyPath, *, columns: Mapping[str, str] | None = None, corpus_format: str | None = None
) -> tuple[AnyPath, list[AnyPath]]:
    """Return the root of a corpus, and the folders of recordings that it names elsewhere, links followed.

    Args:
        corpus: see `speechtok.corpora.read_corpus`; whoever calls trusts it to say what may be opened.
        columns: as for `read_corpus`.
        corpus_format: as for `read_corpus`.

    Raises:
        DatasetError: when it is no corpus.
    """
    found = read_corpus(corpus, columns=columns or {}, corpus_format=corpus_format)
    places = (join(found.root, location_of(item.audio).path) for item in found.utterances)
    elsewhere = {path.resolve().parent for path in places if isinstance(path, Path)}
    return found.root, sorted(folder for folder in elsewhere if not _is_below(folder, found.root))


def _is_below(path: AnyPath, folder: AnyPath) -> bool:
    """Return whether a place is a folder or lies below it, links followed."""
    if isinstance(path, Path) and isinstance(folder, Path):
        return path.resolve().is_relative_to(folder.resolve())
    return isinstance(path, StorePath) and path.is_relative_to(folder)


def read_run(layout: Layout) -> dict[str, Any]:
    """Return the facts of the last run, or nothing where there are none that can be read."""
    try:
        content = read_json(layout.job)
    except (OSError, SpeechtokError):
        return {}
    return content if isinstance(content, dict) else {}
