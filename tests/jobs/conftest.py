import hashlib
from collections import Counter

import pyarrow.parquet as pq
import pytest

from speechtok.shards.layout import Layout
from speechtok.shards.plan import read_plan, read_record


@pytest.fixture(scope="session")
def hashes():
    """Return the sha256 of every file that belongs to a dataset: all but local facts about the last run."""

    def collect(output):
        local = {".speechtok/run.json", ".speechtok/lock"}
        files = (path for path in output.rglob("*") if path.is_file())
        found = {path.relative_to(output).as_posix(): path for path in files}
        return {
            name: hashlib.sha256(path.read_bytes()).hexdigest()
            for name, path in found.items()
            if name not in local
        }

    return collect


@pytest.fixture(scope="session")
def account():
    """Check that every planned utterance is in exactly one place; return ids of rows and of failures."""

    def check(output):
        layout = Layout(output)
        plan = read_plan(layout)
        rows = [
            name for path in sorted(layout.data.glob("*")) for name in pq.read_table(path)["id"].to_pylist()
        ]
        failed = [
            name
            for split in plan.splits
            for name in pq.read_table(layout.quarantine(split))["id"].to_pylist()
        ]
        assert Counter(rows + failed) == Counter(plan.rows["id"].to_pylist())
        assert len(set(rows + failed)) == len(rows) + len(failed)
        records = [read_record(layout, task.split, task.index) for task in plan.tasks]
        assert [failure.id for record in records for failure in record.quarantined] == failed
        assert not layout.tmp.exists()
        return rows, failed

    return check


@pytest.fixture(scope="session")
def damaged():
    """Recordings that cannot be read, by name."""
    return {"bad/empty.wav": b"", "bad/text.wav": b"not audio at all, but words", "bad/cut.flac": b"fLaC\x00"}
