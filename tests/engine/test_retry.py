"""Quarantined inputs once more: what comes out is what would have come had they been good."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

import speechtok
from speechtok.commands.decode import decode_dataset
from speechtok.commands.tokenize import retry_quarantined, tokenize_corpus
from speechtok.engine.batches import make_batches
from speechtok.engine.observer import Observer
from speechtok.engine.settings import JobSettings, RunSettings
from speechtok.errors import CardError, CheckpointError, DatasetError, JobError
from speechtok.report import write_report
from speechtok.shards.layout import Layout
from speechtok.shards.verify import verify
from speechtok.tokenizers.dmel.tokenizer import DMelTokenizer
from tests.waiting import wait_until

SETTINGS = JobSettings(shard_seconds=2.0, file_mb=1e-6, batch_seconds=1.0)
NAMES = [f"{number}.wav" for number in range(12)]
BAD = ["3.wav", "9.wav"]


@pytest.fixture
def corpus(tmp_path, write_corpus):
    return write_corpus(tmp_path / "c", dict.fromkeys(NAMES, 0.4))


@pytest.fixture
def reference(corpus, tmp_path, hashes):
    run(corpus, tmp_path / "good")
    return hashes(tmp_path / "good")


ALONE = RunSettings(workers=1)
"""In this process."""


def run(corpus, output, run=ALONE, **options):
    return tokenize_corpus(corpus, output, settings=SETTINGS, run=run, **options)


def damage(corpus):
    """Return a watcher that damages recordings once the plan is frozen, as when a disk has a bad day."""
    good = {name: (corpus / name).read_bytes() for name in BAD}

    def planned(*_):
        for name in BAD:
            (corpus / name).write_bytes(b"rubbish")

    def repair():
        for name, content in good.items():
            (corpus / name).write_bytes(content)

    return Observer(planned=planned), repair


@pytest.fixture
def broken(corpus, reference, tmp_path):
    """A dataset with two inputs in quarantine, which are good again."""
    watcher, repair = damage(corpus)
    assert run(corpus, tmp_path / "out", observer=watcher).quarantined == 2
    repair()
    return tmp_path / "out"


def test_same_as_if_they_had_been_good(broken, reference, hashes, account):
    report = retry_quarantined(broken, run=RunSettings(workers=1))
    assert (report.quarantined, report.shards_made) == (0, 2)
    assert hashes(broken) == reference
    assert account(broken) == (sorted(NAMES), [])


def test_only_their_batches_are_encoded(broken, reference, hashes, monkeypatch):
    encoded = []
    real = DMelTokenizer.encode

    def encode(self, samples, **options):
        encoded.append(len(samples))
        return real(self, samples, **options)

    monkeypatch.setattr(DMelTokenizer, "encode", encode)
    retry_quarantined(broken, run=RunSettings(workers=1))
    assert sum(encoded) < len(NAMES) / 2
    assert hashes(broken) == reference


def test_those_still_bad_stay(broken, corpus, hashes):
    (corpus / "9.wav").write_bytes(b"rubbish")
    report = retry_quarantined(broken, run=RunSettings(workers=1))
    assert (report.quarantined, report.shards_made) == (1, 2)
    before = hashes(broken)
    assert retry_quarantined(broken, run=RunSettings(workers=1)).shards_made == 1
    assert hashes(broken) == before
    assert verify(Layout(broken)).problems == ()


def test_nothing_to_retry(corpus, reference, tmp_path):
    assert retry_quarantined(tmp_path / "good", run=RunSettings(workers=1)).shards_made == 0


def test_header_that_was_unreadable(tmp_path, write_corpus, account):
    """The plan does not know its length; it stays in its place."""
    corpus = write_corpus(tmp_path / "c", {"a.wav": 0.4, "b.wav": b"no", "c.wav": 0.4})
    run(corpus, tmp_path / "out")
    write_corpus(corpus, {"b.wav": 0.6})
    retry_quarantined(tmp_path / "out", run=RunSettings(workers=1))
    assert account(tmp_path / "out") == (["a.wav", "b.wav", "c.wav"], [])
    row = {row["id"]: row for row in speechtok.TokenDataset(tmp_path / "out")}["b.wav"]
    fresh = speechtok.load_tokenizer("dmel_16k").encode(corpus / "b.wav")
    assert np.array_equal(row["mel"], fresh["mel"][0].numpy())
    assert verify(Layout(tmp_path / "out")).problems == ()


def test_moved_corpus(broken, corpus, reference, hashes, tmp_path):
    """Where nothing can be read any more, nothing that was good is lost."""
    shutil.move(corpus, tmp_path / "elsewhere")
    assert retry_quarantined(broken, run=RunSettings(workers=1)).quarantined == 2
    retry_quarantined(broken, corpus_root=tmp_path / "elsewhere", run=RunSettings(workers=1))
    assert hashes(broken) == reference


def test_unfinished_dataset_is_finished(broken, reference, hashes):
    next((broken / "data").glob("train-00001-*")).unlink()
    retry_quarantined(broken, run=RunSettings(workers=1))
    assert hashes(broken) == reference


def test_killed_at_any_moment(broken, reference, hashes):
    """Every shard is as before or as after, and the same command goes on."""
    script = "from speechtok.cli.main import main; main()"
    command = [sys.executable, "-c", script, "retry", str(broken), "--workers", "1"]
    for delay in (0.1, 0.3):
        process = subprocess.Popen(command)
        wait_until(lambda: (broken / ".speechtok" / "attempts").exists() or process.poll() is not None)  # noqa: B023
        time.sleep(delay / 10)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
    retry_quarantined(broken, run=RunSettings(workers=1))
    assert hashes(broken) == reference


def test_nothing_says_where_the_corpus_lies(broken):
    (broken / ".speechtok" / "job.json").unlink()
    with pytest.raises(
        DatasetError, match=r"Nothing says where the corpus of .*out lies; give its folder with"
    ):
        retry_quarantined(broken, run=RunSettings(workers=1))
    with pytest.raises(DatasetError, match="is no token dataset made by"):
        retry_quarantined(broken.parent, run=RunSettings(workers=1))


# --- how many may fail ---


@pytest.mark.parametrize(
    ("allowed", "of", "count"),
    [(5, 100, 5), ("7", 9, 7), ("1%", 250, 2), ("0.5 %", 1000, 5), (None, 9, None)],
)
def test_errors_allowed(allowed, of, count):
    assert RunSettings(max_errors=allowed).errors_allowed(of) == count


@pytest.mark.parametrize("wrong", ["many", "-1", "101%", "%"])
def test_errors_allowed_must_make_sense(wrong):
    with pytest.raises(
        ValueError, match=r"`max_errors` must be a number of inputs or a share such as '1%', got"
    ):
        RunSettings(max_errors=wrong)


def test_share_of_errors(broken, corpus):
    watcher, _ = damage(corpus)
    with pytest.raises(JobError, match=r"inputs? failed, more than the 1 allowed; .* run `speechtok retry`"):
        run(corpus, broken.parent / "strict", observer=watcher, run=RunSettings(workers=1, max_errors="10%"))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"executor": "slurm"}, "`executor` must be 'local' or 'ray', got 'slurm'"),
        ({"workers": 0}, "`workers` must be more than 0, got 0"),
        ({"cpus_per_worker": -1.0}, "`cpus_per_worker` must be more than 0"),
        ({"gpus_per_worker": -0.5}, "`gpus_per_worker` must be at least 0, got -0.5"),
        ({"timeout_seconds": 0}, "`timeout_seconds` must be more than 0"),
    ],
)
def test_wrong_ways_to_run(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        RunSettings(**wrong)


@pytest.mark.parametrize(
    ("given", "gpus", "readers"),
    [
        ({}, 0, 1),
        ({"cpus_per_worker": 4}, 0, 1),
        ({"device": "cuda"}, 1, 1),
        ({"device": "cuda:0", "gpus_per_worker": 0.25, "cpus_per_worker": 3}, 0.25, 2),
        ({"device": "mps", "cpus_per_worker": 4}, 0, 3),
    ],
)
def test_what_a_worker_takes(given, gpus, readers):
    settings = RunSettings(**given)
    assert (settings.gpus, settings.readers) == (gpus, readers)


# --- batches by plan ---


def test_batches_depend_on_the_plan_alone():
    seconds = [0.4, 0.4, 0.4, 0.4, None, 0.4, 90.0, 0.4, 0.4]
    batches = make_batches([{"seconds": value} for value in seconds], batch_seconds=1.0, chunk_seconds=60.0)
    assert [[row["seconds"] for row in batch] for batch in batches] == [
        [0.4, 0.4, 0.4],
        [0.4],
        [None],
        [0.4],
        [90.0],
        [0.4, 0.4],
    ]


# --- a dataset does not choose what is loaded ---


def say(output, **about):
    """Change what the last run is said to have been given."""
    path = Layout(output).job
    job = json.loads(path.read_text())
    path.write_text(json.dumps(job | {"about": job["about"] | about}))


@pytest.mark.parametrize(
    ("about", "options"),
    [
        ({"checkpoint": "s3://elsewhere/it's"}, "--checkpoint 's3://elsewhere/it'\"'\"'s'"),
        ({"tokenizer": "somebody/tokenizer"}, "--tokenizer somebody/tokenizer"),
        ({"tokenizer": "/x/card.yaml", "checkpoint": "/x"}, "--tokenizer /x/card.yaml --checkpoint /x"),
    ],
)
def test_files_of_the_last_run_are_named_and_not_opened(
    broken, reference, hashes, tmp_path, monkeypatch, about, options
):
    say(broken, **about)
    with monkeypatch.context() as patch:
        patch.setattr("speechtok.loading.locate_files", lambda *_, **__: pytest.fail("something was opened"))
        with pytest.raises(JobError, match=rf"give {re.escape(options)}\.$"):
            retry_quarantined(broken, run=RunSettings(workers=1))
    retry_quarantined(broken, run=RunSettings(workers=1), tokenizer="dmel_16k")  # as the user says
    assert hashes(broken) == reference


def test_readers_suggest_the_files_of_the_last_run(broken, tmp_path, monkeypatch):
    say(broken, checkpoint="/models/mine")

    def fail(name, **options):
        raise CheckpointError(f"There are no files of {name}.")

    monkeypatch.setattr("speechtok.loading.load_tokenizer", fail)
    suggestion = r"no files of dmel_16k\. Its last run was given --checkpoint /models/mine; repeat that if you trust it"
    with pytest.raises(CheckpointError, match=suggestion):
        decode_dataset(broken, tmp_path / "wavs")
    write_report(broken, tmp_path / "page.html")
    assert "--checkpoint /models/mine; repeat that" in (tmp_path / "page.html").read_text()


def test_a_name_in_a_dataset_is_that_of_a_card(broken, tmp_path, monkeypatch):
    """It is not the folder that happens to be called so."""
    speechtok.load_tokenizer("dmel_16k").save_pretrained(tmp_path / "mine")
    table = pq.read_table(sorted((broken / "data").iterdir())[0])
    changed = {key: value.replace(b"dmel_16k", b"mine") for key, value in table.schema.metadata.items()}
    pq.write_table(table.replace_schema_metadata(changed), tmp_path / "x.parquet")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        CardError, match=r"made by the tokenizer 'mine', of which no card is known here; name one"
    ):
        decode_dataset(tmp_path / "x.parquet", tmp_path / "wavs")
