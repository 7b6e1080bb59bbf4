"""Jobs from and to an object store: the same bytes as on a disk, whatever the store does meanwhile."""

import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections import Counter

import pyarrow.parquet as pq
import pytest

import speechtok
from speechtok.cli import main
from speechtok.commands.decode import decode_dataset
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.engine.output_lock import output_lock
from speechtok.engine.settings import JobSettings, RunSettings
from speechtok.errors import DatasetError, JobError, StorageError
from speechtok.shards.layout import Layout
from speechtok.shards.plan import read_plan
from speechtok.shards.statistics import compute_statistics
from speechtok.shards.verify import verify
from speechtok.storage.stores import forget_stores
from tests.s3 import operation, overwrite
from tests.waiting import wait_until

SETTINGS = JobSettings(shard_seconds=1.0, file_mb=1e-6, batch_seconds=0.5)
SCRIPT = """
import sys
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.engine.settings import JobSettings, RunSettings
corpus, output = sys.argv[1:]
tokenize_corpus(corpus, output, settings=JobSettings(shard_seconds=1.0, file_mb=1e-6, batch_seconds=0.5), run=RunSettings(workers=1))
"""
LOCAL_FACTS = {".speechtok/job.json", ".speechtok/events.jsonl", ".speechtok/lock"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, write_corpus, damaged):
    recordings = {f"{n:02d} ü.wav": 0.5 for n in range(6)} | damaged
    return write_corpus(tmp_path_factory.mktemp("stores") / "a corpus", recordings)


@pytest.fixture(scope="module")
def reference(corpus, tmp_path_factory, hashes):
    output = tmp_path_factory.mktemp("reference") / "out"
    run(corpus, output)
    return hashes(output)


ALONE = RunSettings(workers=1)
"""In this process."""


def run(corpus, output, run=ALONE, **options):
    return tokenize_corpus(corpus, output, settings=SETTINGS, run=run, **options)


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


def check_part(output, reference):
    """What lies there is final, but for what is removed when the job ends."""
    for name, sha256 in stored(output).items():
        if not re.match(r"\.speechtok/(attempts|parts|files)/", name):
            assert reference.get(name) == sha256, name


def check(output, reference):
    """The dataset is whole, each utterance is accounted for once, and nothing else lies there."""
    assert stored(output) == reference
    assert verify(Layout(output)).problems == ()
    rows = [
        name
        for folder in ("data", "quarantine")
        for path in (output / folder).iterdir()
        for name in pq.read_table(path.open("rb"))["id"].to_pylist()
    ]
    assert sorted(rows) == sorted(read_plan(Layout(output)).rows["id"].to_pylist())
    assert (output / ".speechtok" / "lock").read_bytes() == b""


def test_same_bytes(corpus, reference, s3):
    place, output = upload(corpus, s3 / "some" / "a corpus"), s3 / "sets" / "out"
    report = run(place, output)
    assert report.quarantined == 3
    check(output, reference)
    assert run(place, output).shards_made == 0
    check(output, reference)


FAULTS = ("500", "503", "slow", "reset", "lost")


@pytest.mark.parametrize("seed", range(2))
def test_passing_faults(corpus, reference, s3, s3_proxy, seed):
    """Every fourth request fails in some way, before or after it arrives; the job does not notice."""
    place, output = upload(corpus, s3 / "a corpus"), s3 / "out"
    chance = random.Random(seed)
    s3_proxy.fault = lambda number, method, path: chance.choice(FAULTS) if chance.random() < 0.25 else None
    run(place, output)
    s3_proxy.fault = lambda number, method, path: None
    assert sum(s3_proxy.counts[fault] for fault in FAULTS) > 8
    check(output, reference)


@pytest.mark.parametrize("fault", ["503", "reset", "hang"])
def test_lasting_faults(corpus, reference, s3, s3_proxy, monkeypatch, fault):
    """The store goes away for good at different moments; each rerun goes on from there."""
    place, output = upload(corpus, s3 / "a corpus"), s3 / "out"
    for patience in (12, 30):
        s3_proxy.reset()
        s3_proxy.fault = lambda number, method, path, patience=patience: fault if number > patience else None
        with monkeypatch.context() as patch:
            patch.setattr("speechtok.storage.stores.ATTEMPTS", 2)
            patch.setattr("speechtok.storage.stores.READ_SECONDS", 1)
            forget_stores()
            with pytest.raises(StorageError, match=r"did not answer properly, .* run the same command again"):
                run(place, output)
        s3_proxy.fault = lambda number, method, path: None
        forget_stores()
        check_part(output, reference)
    run(place, output)
    check(output, reference)


def test_refusals_come_at_once(corpus, s3, s3_proxy):
    place = upload(corpus, s3 / "a corpus")
    s3_proxy.reset()
    s3_proxy.fault = lambda number, method, path: "403" if method == "PUT" else None
    with pytest.raises(
        StorageError, match=r"lock could not be written: the store refuses it \(AccessDenied\)"
    ):
        run(place, s3 / "out")
    assert s3_proxy.counts["403"] == 1
    with pytest.raises(
        StorageError, match="there is no bucket 'nowhere-at-all'; create it, or check the name"
    ):
        run(place, "s3://nowhere-at-all/out")


def test_missing_recording(corpus, s3):
    """A recording that is not there is quarantined; a store that is not there is not the recording's fault."""
    manifest = s3 / "list.jsonl"
    lines = [{"audio": f"{s3}/a corpus/00 ü.wav"}, {"audio": "a corpus/01 ü.wav"}, {"audio": "gone.wav"}]
    manifest.put("\n".join(json.dumps(line) for line in lines).encode())
    upload(corpus, s3 / "a corpus")
    report = run(manifest, s3 / "out")
    assert (report.rows, report.quarantined) == (2, 1)
    rows = pq.read_table((s3 / "out" / "quarantine" / "train.parquet").open("rb")).to_pylist()
    assert [row["message"] for row in rows] == ["Cannot read 'gone.wav': there is no such file."]


def test_credentials_are_refused(s3):
    manifest = s3 / "list.jsonl"
    manifest.put(b'{"audio": "s3://AKIAKEY:sesame@bucket/a.wav", "duration": 1}\n')
    with pytest.raises(StorageError) as caught:
        run(manifest, s3 / "out")
    assert "sesame" not in str(caught.value)
    assert "give them in the environment" in str(caught.value)
    assert not list((s3 / "out").files()) or all(
        b"sesame" not in path.read_bytes() for path in (s3 / "out").files()
    )


def test_two_jobs(corpus, reference, s3, monkeypatch):
    """Whoever holds the lease keeps others away."""
    monkeypatch.setattr("speechtok.storage.lease.RENEW_SECONDS", 0.1)
    monkeypatch.setattr("speechtok.storage.lease.WATCH_SECONDS", 0.05)
    place, output = upload(corpus, s3 / "a corpus"), s3 / "out"
    with (
        output_lock(Layout(output)),
        pytest.raises(JobError, match=r"Another job is writing to s3://.* \(on .*, process \d+\)"),
    ):
        run(place, output)
    run(place, output)
    check(output, reference)


def test_not_a_dataset(corpus, s3):
    (s3 / "out" / "notes.txt").put(b"mine")
    with pytest.raises(JobError, match="is not empty and holds no token dataset"):
        run(corpus, s3 / "out")
    with pytest.raises(DatasetError, match=r"it has no \.speechtok/plan\.json"):
        verify(Layout(s3 / "out"))


def test_damage_is_found(corpus, reference, s3):
    output = s3 / "out"
    run(corpus, output)
    shard = next((output / "data").iterdir())
    shard.put(b"rubbish")
    assert verify(Layout(output)).problems == (
        f"data/{shard.name} is damaged: its sha256 differs from its record.",
    )
    assert run(corpus, output).shards_made == 1
    check(output, reference)


def test_a_run_with_nothing_to_do_reads_no_archive(corpus, s3, s3_proxy, tmp_path):
    """The corpus is known by its listing."""
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for file in sorted(corpus.glob("0*.wav")):
            archive.add(file, file.name)
    (s3 / "tars" / "a.tar").put(tmp_path / "a.tar")
    run(s3 / "tars", s3 / "out")
    s3_proxy.reset()
    assert run(s3 / "tars", s3 / "out").shards_made == 0
    assert not [path for method, path in s3_proxy.requests if method == "GET" and "a.tar" in path]


def requests_of(proxy, corpus, output):
    """Requests of a job with one utterance a part, a rerun and a check of it, without those that come with time."""
    settings = JobSettings(shard_seconds=0.5)
    steps = {
        "make": lambda: tokenize_corpus(corpus, output, settings=settings, run=ALONE),
        "again": lambda: tokenize_corpus(corpus, output, settings=settings, run=ALONE),
        "verify": lambda: verify(Layout(output)),
    }
    found = {}
    for name, step in steps.items():
        proxy.reset()
        step()
        passing = re.compile(r"/\.speechtok/(lock|job\.json|events\.jsonl)")
        found[name] = Counter(operation(*item) for item in proxy.requests if not passing.search(item[1]))
    return found


def test_requests_of_a_part(write_corpus, tmp_path, s3, s3_proxy):
    """A part costs four requests: a note, the part, its record, and reading it to be joined; later, none."""
    small, large = (
        requests_of(
            s3_proxy,
            write_corpus(tmp_path / f"{count}", {f"{n:02d}.wav": 0.5 for n in range(count)}),
            s3 / f"out{count}",
        )
        for count in (2, 10)
    )
    assert large["make"] - small["make"] == Counter(PutObject=8 * 3, GetObject=8)
    assert large["again"] == small["again"]
    assert large["verify"] == small["verify"]


def test_damage_under_old_metadata(corpus, reference, s3, s3_proxy):
    """What is cut, damaged or exchanged, whatever its metadata say, is named by `verify` and made anew by the next run."""
    output = s3 / "out"
    run(corpus, output)
    s3_proxy.reset()
    assert run(corpus, output).shards_made == 0
    assert not [
        path for method, path in s3_proxy.requests if method == "GET" and "/data/" in path and "?" not in path
    ]
    cut, flipped, exchanged = sorted((output / "data").iterdir())[:3]
    content = cut.read_bytes()
    overwrite(exchanged, content)
    overwrite(cut, content[:-1])
    overwrite(flipped, bytes([*flipped.read_bytes()[:-1], 0]))
    assert verify(Layout(output)).problems[0].startswith("3 of them, from data/train-00000-of-00003.parquet")
    assert run(corpus, output).shards_made == 3
    check(output, reference)


def test_exchanged_files(corpus, reference, tmp_path, hashes):
    output = tmp_path / "out"
    run(corpus, output)
    first, second = sorted((output / "data").iterdir())[:2]
    shutil.copy(first, second)
    assert verify(Layout(output)).problems
    assert run(corpus, output).shards_made == 1
    assert hashes(output) == reference


def test_readers(corpus, s3, tmp_path):
    run(corpus, tmp_path / "out")
    run(corpus, s3 / "out")
    local, remote = speechtok.TokenDataset(tmp_path / "out"), speechtok.TokenDataset(f"{s3}/out")
    assert len(local) == len(remote) == 6
    assert all((local[n]["mel"] == remote[n]["mel"]).all() for n in range(6))
    assert decode_dataset(s3 / "out", tmp_path / "wavs") == 6
    facts = [compute_statistics(place).to_dict() for place in (tmp_path / "out", s3 / "out")]
    assert facts[0] == facts[1]


def test_command_line(corpus, s3, capsys):
    assert main.run(["tokenize", str(corpus), f"{s3}/out", "--workers", "1"]) == 0
    assert main.run(["verify", f"{s3}/out"]) == 0
    assert main.run(["stats", f"{s3}/out"]) == 0
    assert f"{s3}/out is intact" in capsys.readouterr().out
    assert main.run(["verify", "ftp://host/out"]) == 1
    assert (
        "ftp://host/out is of a kind unknown here; use s3://, gs://, hf://, file:// or a path"
        in capsys.readouterr().err
    )
    assert main.run(["decode", f"{s3}/out", f"{s3}/wavs"]) == 2
    assert "lies in an object store; give a path on this machine" in capsys.readouterr().err
    assert main.run(["verify", f"{s3}/nothing"]) == 1
    assert "is no token dataset made by" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_process(corpus, reference, s3):
    """Killed at random moments, its lease is taken over at once, and what it left is taken up."""
    output, chance = s3 / "out", random.Random(0)
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(corpus), str(output)], env=os.environ)
        wanted = len(list((output / "data").glob("*"))) + chance.randint(0, 1)
        wait_until(
            lambda: process.poll() is not None or len(list((output / "data").glob("*"))) >= wanted  # noqa: B023
        )
        time.sleep(chance.uniform(0, 0.2))
        process.kill()
        process.wait(timeout=60)
        check_part(output, reference)
    run(corpus, output)
    check(output, reference)
