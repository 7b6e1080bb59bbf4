"""The recordings that the rows of a token dataset were made from.

Contents: `Originals`, `find_originals`, `read_run`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from speechtok.audio.io import Channels, read_blocks
from speechtok.audio.location import location_of
from speechtok.errors import AudioError
from speechtok.shards.layout import Layout
from speechtok.shards.plan import has_plan, read_plan
from speechtok.storage import AnyPath, as_path, join

Samples = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Originals:
    """Where the recordings of a dataset lie."""

    root: AnyPath | None
    """Folder that relative paths start from; None when nobody said."""
    starts: Mapping[str, float] = field(default_factory=dict)
    """Seconds into its recording where a segment begins, by id; whole recordings are left out."""
    channels: Channels = "mean"
    """How several channels become one."""

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
            AudioError: when the recording is not known, not there, or cannot be read any more.
        """
        if self.root is None:
            raise AudioError(
                "The dataset does not say where its recordings lie; name the folder of the corpus."
            )
        path = join(self.root, audio)
        if not as_path(location_of(path).path).is_file():
            raise AudioError(
                f"The original recording is not where it was when the dataset was made: there is no {path}."
            )
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


def find_originals(dataset: AnyPath, corpus_root: AnyPath | None = None) -> Originals:
    """Return where the recordings of a dataset or token file lie, as far as its plan and last run say.

    Args:
        dataset: a token dataset, or one Parquet file of tokens.
        corpus_root: folder that the recordings' paths start from; None asks the dataset's last run.

    Raises:
        DatasetError: when the plan is damaged.
    """
    layout = Layout(dataset)
    root = corpus_root or _last_root(layout)
    if not has_plan(layout):
        return Originals(root=root)
    plan = read_plan(layout)
    return Originals(
        root=root,
        starts={
            name: start
            for rows in plan.batches(["id", "start"])
            for name, start in zip(rows["id"].to_pylist(), rows["start"].to_pylist(), strict=True)
            if start
        },
        channels="first" if plan.settings["job"].get("channels") == "first" else "mean",
    )


def read_run(layout: Layout) -> dict[str, Any]:
    """Return the facts of the last run, or nothing where there are none that can be read."""
    try:
        content = json.loads(layout.job.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _last_root(layout: Layout) -> AnyPath | None:
    about = read_run(layout).get("about")
    root = about.get("corpus_root") if isinstance(about, dict) else None
    return as_path(root) if isinstance(root, str) else None
