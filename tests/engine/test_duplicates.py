"""Ids that occur twice: the first utterance of each is tokenized, the others are in quarantine and name it."""

import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from speechtok.cards import find_card
from speechtok.commands.estimate import estimate_job
from speechtok.commands.status import read_status
from speechtok.commands.tokenize import retry_quarantined, tokenize_corpus
from speechtok.corpora import read_corpus
from speechtok.engine.listing import Listing, rows_of
from speechtok.engine.observer import Observer
from speechtok.engine.planning import source_of
from speechtok.engine.settings import JobSettings, RunSettings
from speechtok.errors import DatasetError, JobError
from speechtok.shards.layout import Layout
from speechtok.shards.reader import TokenDataset
from speechtok.shards.verify import verify

SETTINGS = JobSettings(shard_seconds=1.0, file_mb=1e-6, batch_seconds=0.8)
ALONE = RunSettings(workers=1)
LINES = [
    ("a", "0.wav", "train"),
    ("b", "1.wav", "train"),
    ("a", "2.wav", "train"),  # in the batch of the first one
    ("c", "3.wav", "train"),
    ("d", "gone.wav", "train"),
    ("e", "4.wav", "train"),
    ("f", "5.wav", "train"),
    ("d", "6.wav", "train"),  # the first of which cannot be read
    ("b", "7.wav", "train"),  # in another shard
    ("c", "8.wav", "dev"),  # in another split, whose shards come before
    ("g", "9.wav", "dev"),
    ("a", "0.wav", "train"),  # a third time, and the same recording
]
SECOND = {("a", "2.wav"), ("d", "6.wav"), ("b", "7.wav"), ("c", "8.wav"), ("a", "0.wav")}
"""What is in quarantine since its id is another's."""


@pytest.fixture
def corpus(tmp_path, write_corpus):
    write_corpus(tmp_path / "c", {f"{number}.wav": 0.3 for number in range(10)})
    lines = [json.dumps(dict(zip(("id", "audio", "split"), line, strict=True))) for line in LINES]
    (tmp_path / "c" / "list.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path / "c" / "list.jsonl"


def run(corpus, output, run=ALONE, **options):
    return tokenize_corpus(corpus, output, settings=SETTINGS, run=run, **options)


def quarantine(output):
    return [row for path in sorted(output.glob("quarantine/*")) for row in pq.read_table(path).to_pylist()]


def test_the_first_one_is_tokenized(corpus, tmp_path):
    report = run(corpus, tmp_path / "out")
    rows = {row["id"]: row["audio"] for row in TokenDataset(tmp_path / "out")}
    assert rows == {"a": "0.wav", "b": "1.wav", "c": "3.wav", "e": "4.wav", "f": "5.wav", "g": "9.wav"}
    failed = quarantine(tmp_path / "out")
    assert Counter((row["id"], row["audio"]) for row in failed) == Counter({*SECOND, ("d", "gone.wav")})
    told = {(row["id"], row["audio"]): row for row in failed}
    assert {(row["stage"], row["error"]) for key, row in told.items() if key in SECOND} == {
        ("read", "DuplicateId")
    }
    assert told["a", "2.wav"]["message"] == (
        "'2.wav' has the id 'a', which '0.wav' before it has; ids must be unique, so only the first one is tokenized. Give this "
        "one another and tokenize into another folder, or leave it out."
    )
    assert "which '3.wav' before it has" in told["c", "8.wav"]["message"]
    assert "which 'gone.wav' before it has" in told["d", "6.wav"]["message"]
    assert (report.rows, report.quarantined) == (6, 6)
    assert report.reasons == {"DuplicateId": 5, "AudioError": 1}
    assert verify(tmp_path / "out").problems == ()


def test_all_count_it_once(corpus, tmp_path):
    run(corpus, tmp_path / "out")
    status = read_status(tmp_path / "out")
    assert (status.utterances, status.utterances_done, status.quarantined) == (12, 12, 6)
    found = estimate_job(corpus, settings=SETTINGS, speed=10.0)
    assert (found.utterances, found.duplicate_ids, found.unknown_length) == (12, 5, 1)
    assert found.seconds == pytest.approx(6 * 0.3)


@pytest.mark.parametrize("workers", [1, 2])
def test_same_bytes_however_it_is_made(corpus, tmp_path, hashes, workers):
    run(corpus, tmp_path / "whole")

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(corpus, tmp_path / "out", observer=Observer(progressed=stop))
    assert not Layout(tmp_path / "out").manifest.exists()
    run(corpus, tmp_path / "out", RunSettings(workers=workers))
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")


def test_a_shard_that_is_lost_is_made_again(corpus, tmp_path, hashes):
    run(corpus, tmp_path / "out")
    before = hashes(tmp_path / "out")
    for file in (tmp_path / "out" / "data").iterdir():
        file.unlink()
    run(corpus, tmp_path / "out")
    assert hashes(tmp_path / "out") == before


def test_retrying_leaves_them(corpus, tmp_path, write_corpus, hashes):
    run(corpus, tmp_path / "out")
    write_corpus(tmp_path / "c", {"gone.wav": 0.3})
    report = retry_quarantined(tmp_path / "out", run=ALONE)
    assert (report.rows, report.quarantined, report.shards_made) == (7, 5, 1)
    assert {(row["id"], row["audio"]) for row in quarantine(tmp_path / "out")} == SECOND
    assert verify(tmp_path / "out").problems == ()
    before = hashes(tmp_path / "out")
    assert retry_quarantined(tmp_path / "out", run=ALONE).shards_made == 0  # nothing could change
    assert hashes(tmp_path / "out") == before


def test_they_are_errors_that_may_be_too_many(corpus, tmp_path):
    with pytest.raises(JobError, match=r"inputs failed, more than the 5 allowed"):
        run(corpus, tmp_path / "out", RunSettings(workers=1, max_errors=5))
    assert run(corpus, tmp_path / "out", RunSettings(workers=1, max_errors=6)).quarantined == 6


def test_every_id_twice(tmp_path, write_corpus):
    write_corpus(tmp_path / "c", {"a.wav": 0.2, "b.wav": 0.2})
    (tmp_path / "c" / "list.csv").write_text("audio\n" + "a.wav\nb.wav\n" * 6000)
    report = tokenize_corpus(tmp_path / "c" / "list.csv", tmp_path / "out", run=ALONE)
    assert (report.rows, report.quarantined) == (2, 11_998)


@pytest.mark.parametrize("is_repeated", [True, False])
def test_a_large_corpus_of_few_ids(tmp_path, is_repeated):
    """A file of some kilobytes can list millions of utterances, all of them the same."""
    ids = ["a"] * 50_000 if is_repeated else [f"{n // 2}" for n in range(2**15)]
    path = tmp_path / "c.parquet"
    pq.write_table(pa.table({"id": ids, "audio": ["a.wav"] * len(ids)}), path)
    source = source_of(read_corpus(path))
    listed = (
        rows_of([item for item, _ in source.read(part)], "c", "train")
        for part in source.slices(source.files(), 5_000.0)
    )
    if is_repeated:
        message = r"Of the first 16,384 utterances, more than half have the id of one before them; ids must be unique\. Give each"
        with pytest.raises(DatasetError, match=message):
            Listing(listed, find_card("dmel_16k")[0].info(""))
    else:
        Listing(listed, find_card("dmel_16k")[0].info(""))
