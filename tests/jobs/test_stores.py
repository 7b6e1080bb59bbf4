"""Jobs from and to an object store: the same bytes as on a disk, whatever the store does meanwhile."""

import hashlib

import pytest

from speechtok.jobs.run import tokenize_corpus
from speechtok.jobs.settings import JobSettings
from speechtok.shards.layout import Layout
from speechtok.shards.verify import verify

SETTINGS = JobSettings(shard_seconds=1.0, batch_seconds=0.5)
LOCAL_FACTS = {".speechtok/run.json", ".speechtok/lock"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, write_corpus, damaged):
    recordings = {f"{n:02d} ü.wav": 0.5 for n in range(6)} | damaged
    return write_corpus(tmp_path_factory.mktemp("stores") / "a corpus", recordings)


@pytest.fixture(scope="module")
def reference(corpus, tmp_path_factory, hashes):
    output = tmp_path_factory.mktemp("reference") / "out"
    run(corpus, output)
    return hashes(output)


def run(corpus, output, **options):
    return tokenize_corpus(corpus, output, settings=SETTINGS, executor="local", **options)


def upload(folder, place):
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            (place / file.relative_to(folder).as_posix()).put(file)
    return place


def stored(output):
    """Return the sha256 of every object of a dataset but the local facts."""
    found = {path.relative_to(output).as_posix(): path for path in output.files()}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in found.items()
        if name not in LOCAL_FACTS
    }


def test_same_bytes(corpus, reference, s3):
    place, output = upload(corpus, s3 / "some" / "a corpus"), s3 / "sets" / "out"
    report = run(place, output)
    assert report.quarantined == 3
    assert stored(output) == reference
    assert verify(Layout(output)).problems == ()
    assert run(place, output).shards_made == 0
    assert stored(output) == reference
    assert (output / ".speechtok" / "lock").read_bytes() == b""
