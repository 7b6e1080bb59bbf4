"""A dataset that was made anew takes the place of the one it was made of.

Contents: `settle_update`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from speechtok.shards.layout import Layout
from speechtok.shards.manifest import read_manifest
from speechtok.storage import flush

_MOVED = (
    "data/*.parquet",
    "quarantine/*.parquet",
    ".speechtok/*.parquet",
    ".speechtok/*.json",
    "README.md",
    "manifest.parquet",
)
"""What is moved, in this order."""


def settle_update(layout: Layout) -> None:
    """Bring the files of an updated dataset to their places, the manifest last; for whoever may write to the dataset.

    Meanwhile there is no manifest, so readers take the dataset for one that is not finished. A call that is interrupted is finished by the next.
    """
    folder, root = layout.updated, layout.root
    if (
        not isinstance(folder, Path)
        or not isinstance(root, Path)
        or folder.is_symlink()
        or not folder.is_dir()
    ):
        return
    files = read_manifest(Layout(folder))
    if files is not None:
        layout.manifest.unlink(missing_ok=True)
        flush(root)
        wanted = {root / file.file for file in files}
        quarantine = {Path(str(layout.quarantine(file.split))) for file in files}
        for path in (*root.glob("data/*.parquet"), *root.glob("quarantine/*.parquet")):
            if path not in wanted | quarantine:
                path.unlink()
        for pattern in _MOVED:
            for path in sorted(folder.glob(pattern)):
                place = root / path.relative_to(folder)
                place.parent.mkdir(parents=True, exist_ok=True)
                path.replace(place)
                flush(place.parent)
    shutil.rmtree(folder)
