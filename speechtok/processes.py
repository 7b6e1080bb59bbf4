"""What Python processes that we start may import: what this one may, without the folder it happens to work in.

Python puts the working folder, or that of the script, first on the path of `python -m`, `python -c` and scripts. Where a
corpus lies there, a file `json.py` in it would run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SAFE_PATH = "PYTHONSAFEPATH"
"""Variable by which Python leaves the working folder and the script's out of the path."""


def import_paths() -> str:
    """Return a `PYTHONPATH` by which another process imports what this one imports.

    The working folder is left out, unless the user's own `PYTHONPATH` names it or this package lies in it.
    """
    here = Path.cwd()
    named = [Path(folder) for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    is_wanted = here.resolve() in [folder.resolve() for folder in (*named, Path(__file__).parents[1])]
    paths = [here / entry for entry in sys.path if entry]
    return os.pathsep.join(str(path) for path in paths if is_wanted or path.resolve() != here.resolve())


@contextmanager
def safe_path() -> Iterator[None]:
    """Have processes that are started in this block leave the working folder out of their paths."""
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(SAFE_PATH, None)
        else:
            os.environ[SAFE_PATH] = before
