"""Where the recordings of a dataset that a test made lie: whoever trains has to name their folder."""

from pathlib import Path

from speechtok.corpora.originals import read_run
from speechtok.shards.layout import Layout


def recordings_of(dataset: str | Path) -> Path:
    """Return the folder that the job which made a dataset read from."""
    return Path(read_run(Layout(Path(dataset)))["about"]["corpus_root"])
