"""The job in this process: what it makes, what it refuses, what it leaves after a failure."""

import errno
import json
import os
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import filelock
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

import speechtok
from speechtok.cards import find_card
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.engine import worker as worker_module
from speechtok.engine.observer import Observer, Progress
from speechtok.engine.settings import JobSettings, RunSettings
from speechtok.errors import DatasetError, JobError
from speechtok.shards.layout import Layout
from speechtok.shards.ledger import Ledger
from speechtok.shards.plan import read_plan
from speechtok.shards.verify import verify
from speechtok.tokenizers.dmel.tokenizer import DMelTokenizer

SMALL = JobSettings(shard_seconds=1.0, file_mb=1e-6, batch_seconds=0.6)

ALONE = RunSettings(workers=1)
"""In this process."""


def run(corpus, output, settings=SMALL, run=ALONE, **options):
    return tokenize_corpus(corpus, output, settings=settings, run=run, **options)


ODD = [
    "-rf.wav",
    "a b.wav",
    "zwei\nZeilen.wav",
    "日本語/ü.wav",
    'it\'s "x".wav',
    "$HOME;`ls`.wav",
    "100%s.wav",
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, write_corpus, damaged):
    recordings = {name: 0.2 + 0.03 * n for n, name in enumerate(ODD)} | damaged
    recordings |= {f"long/{n}.wav": 0.7 for n in range(6)}
    folder = write_corpus(tmp_path_factory.mktemp("corpus with space") / "the corpus", recordings)
    soundfile.write(folder / "stereo.flac", np.random.default_rng(0).uniform(-0.5, 0.5, (22050, 2)), 44100)
    soundfile.write(folder / "nan.wav", np.array([0.1, np.nan] * 800), 16000, subtype="FLOAT")
    soundfile.write(folder / "one sample.wav", np.array([0.5]), 16000)
    soundfile.write(folder / "no sample.wav", np.zeros(0), 16000)
    return folder


@pytest.fixture(scope="module")
def made(corpus, tmp_path_factory):
    """One dataset, for tests that only look at it."""
    output = tmp_path_factory.mktemp("out put") / "tokens é"
    return output, run(corpus, output)


# --- what it makes ---


def test_every_utterance_is_in_one_place(made, account, corpus, damaged):
    output, report = made
    rows, failed = account(output)
    assert sorted(failed) == sorted([*damaged, "nan.wav", "no sample.wav"])
    assert set(ODD) < set(rows)
    assert "one sample.wav" in rows
    assert (report.rows, report.quarantined) == (len(rows), len(failed))
    assert report.shards == report.shards_made == len(read_plan(Layout(output)).tasks) > 3
    assert report.reasons == {"AudioError": 5}
    assert report.bytes == sum(path.stat().st_size for path in (output / "data").iterdir())
    assert report.seconds == pytest.approx(sum(row["duration"] for row in speechtok.TokenDataset(output)))


def test_dataset_verifies(made):
    output, report = made
    found = verify(Layout(output))
    assert found.problems == ()
    assert (found.rows, found.quarantined, found.shards) == (report.rows, report.quarantined, report.shards)
    assert found.seconds == pytest.approx(report.seconds)
    assert found.bytes == report.bytes


def test_quarantine_says_why(made):
    rows = pq.read_table(made[0] / "quarantine" / "train.parquet").to_pylist()
    by_id = {row["id"]: row for row in rows}
    assert by_id["bad/text.wav"]["message"] == "Cannot read 'bad/text.wav': it is not audio but text."
    assert by_id["bad/empty.wav"]["message"] == "Cannot read 'bad/empty.wav': the file is empty (0 bytes)."
    assert "of its samples are NaN or infinite" in by_id["nan.wav"]["message"]
    assert {row["stage"] for row in rows} == {"read"}
    assert {row["error"] for row in rows} == {"AudioError"}
    assert all(row["audio"] == row["id"] for row in rows)


def test_rows_are_those_of_the_tokenizer(made, corpus):
    tokenizer = speechtok.load_tokenizer("dmel_16k")
    dataset = speechtok.TokenDataset(made[0])
    for index, row in enumerate(dataset):
        stored = dataset.tokens(index)
        if row["id"] == "stereo.flac":
            mono = soundfile.read(corpus / row["audio"], dtype="float32")[0].mean(axis=1, dtype=np.float32)
            fresh = tokenizer.encode(mono, sample_rate=44100, resample=True)
            assert row["source_sample_rate"] == 44100
        else:
            fresh = tokenizer.encode(corpus / row["audio"])
            assert row["source_sample_rate"] == 16000
        assert stored.equals(fresh), row["id"]
        assert row["duration"] == row["num_samples"] / 16000


def test_same_bytes_again_and_elsewhere(made, corpus, tmp_path, hashes):
    shutil.copytree(corpus, tmp_path / "moved" / corpus.name)
    run(tmp_path / "moved" / corpus.name, tmp_path / "again")
    assert hashes(tmp_path / "again") == hashes(made[0])


def test_no_path_of_this_machine_in_the_dataset(made, corpus):
    files = [
        path
        for path in made[0].rglob("*")
        if path.is_file() and path.name not in ("job.json", "events.jsonl", "lock")
    ]
    for path in files:
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += repr(pq.read_table(path).to_pylist()).encode()
        assert str(corpus.parent).encode() not in content, path


def test_second_run_does_nothing(corpus, tmp_path, hashes):
    run(corpus, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.name != "lock"}
    planned = []
    report = run(
        corpus,
        tmp_path / "out",
        observer=Observer(planned=lambda plan, missing, found: planned.append(missing)),
    )
    assert planned == [0]
    assert (report.shards_made, report.seconds_made) == (0, 0)
    assert report.rows == verify(Layout(tmp_path / "out")).rows
    folders = {tmp_path / "out" / ".speechtok"}  # the temporary folder comes and goes there
    after = {path: path.stat().st_mtime_ns for path in before}
    assert {path for path in before if before[path] != after[path]} <= folders


def test_watcher_sees_the_progress(corpus, tmp_path, damaged):
    seen = []
    calls = Counter()
    watcher = Observer(
        planning=lambda count: calls.update(planning=count - calls["planning"]),
        probed=lambda: calls.update(probed=1),
        ready=lambda: calls.update(ready=1),
        progressed=seen.append,
    )
    report = run(corpus, tmp_path / "out", observer=watcher)
    assert calls["probed"] == calls["planning"] == report.rows + report.quarantined
    assert calls["ready"] == 1
    assert seen[-1].utterances == report.rows + report.quarantined
    assert seen[-1].quarantined == report.quarantined
    assert seen[-1].seconds == pytest.approx(report.seconds)
    assert [p.utterances for p in seen] == sorted(p.utterances for p in seen)


def test_progress_adds_up():
    assert Progress(seconds=1, utterances=2, quarantined=1) + Progress(seconds=0.5, utterances=1) == Progress(
        seconds=1.5, utterances=3, quarantined=1
    )


def test_torch_threads_are_given_back(corpus, tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run(corpus, tmp_path / "out")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# --- settings ---


@pytest.mark.parametrize(
    "settings",
    [JobSettings(chunk_seconds=0.3), JobSettings(batch_seconds=0.01), JobSettings(batch_seconds=1e6)],
    ids=["chunked", "one by one", "all at once"],
)
def test_batches_and_chunks_change_no_row(corpus, made, tmp_path, settings):
    run(corpus, tmp_path / "out", settings)
    ours = {row["id"]: row["mel"] for row in speechtok.TokenDataset(tmp_path / "out")}
    for row in speechtok.TokenDataset(made[0]):
        assert np.array_equal(ours.pop(row["id"]), row["mel"])
    assert not ours


def test_channels_error_quarantines_stereo(corpus, tmp_path):
    run(corpus, tmp_path / "out", replace(SMALL, channels="error"))
    failed = pq.read_table(tmp_path / "out" / "quarantine" / "train.parquet").to_pylist()
    (stereo,) = [row for row in failed if row["id"] == "stereo.flac"]
    assert "it has 2 channels" in stereo["message"]


@pytest.mark.parametrize("chunk_seconds", [60.0, 0.3])
def test_fewer_codebooks(corpus, made, tmp_path, chunk_seconds):
    run(corpus, tmp_path / "out", replace(SMALL, num_codebooks=8, chunk_seconds=chunk_seconds))
    dataset = speechtok.TokenDataset(tmp_path / "out")
    whole = speechtok.TokenDataset(made[0])
    assert dataset.info.streams[0].num_codebooks == 8
    assert all(np.array_equal(a["mel"], b["mel"][:8]) for a, b in zip(dataset, whole, strict=True))
    assert verify(Layout(tmp_path / "out")).problems == ()
    assert len(speechtok.load_tokenizer("dmel_16k").decode(dataset.tokens([0, 1]))) == 2
    with pytest.raises(ValueError, match="`num_codebooks` must be from 1 to 80"):
        run(corpus, tmp_path / "other", replace(SMALL, num_codebooks=81))


def test_manifest_with_everything(tmp_path, write_corpus, account):
    """Splits, segments, labels, columns of all types and names that mean something here."""
    write_corpus(tmp_path / "c", {"a.wav": 2.0, "b.wav": 0.4})
    labels = {"text": "x, y", "speaker": "s", "language": "en", "n": 3, "x": 1, "ok": True, "none": None}
    rows = [
        {
            "id": "s1",
            "audio": "a.wav",
            "start": 0.25,
            "duration": 0.5,
            "split": "train",
            **labels,
            "mel": "mine",
        },
        {
            "id": "s2",
            "audio": "a.wav",
            "start": 1.0,
            "split": "train",
            "n": None,
            "x": 2.5,
            "tags": ["a", "b"],
        },
        {"id": "late", "audio": "a.wav", "start": 5.0, "duration": 1.0, "split": "train"},
        {"id": "b", "audio": "b.wav", "split": "dev.clean"},
    ]
    (tmp_path / "c" / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(tmp_path / "c" / "m.jsonl", tmp_path / "out")
    kept, failed = account(tmp_path / "out")
    assert (sorted(kept), failed) == (["b", "s1", "s2"], ["late"])
    assert verify(Layout(tmp_path / "out")).problems == ()
    (b,) = speechtok.TokenDataset(tmp_path / "out", split="dev.clean")
    one, two = speechtok.TokenDataset(tmp_path / "out", split="train")
    assert (one["num_samples"], two["num_samples"], b["num_samples"]) == (8000, 16000, 6400)
    assert (one["start"], two["start"]) == (0.25, 1.0)
    assert (one["text"], one["speaker"], one["language"], one["n"], one["x"]) == ("x, y", "s", "en", 3, 1.0)
    assert (one["ok"], one["none"], one["corpus_mel"], two["tags"], two["n"]) == (
        True,
        None,
        "mine",
        ["a", "b"],
        None,
    )
    part = soundfile.read(tmp_path / "c" / "a.wav", dtype="float32")[0][4000:12000]
    assert np.array_equal(one["mel"], speechtok.load_tokenizer("dmel_16k").encode(part)["mel"][0].numpy())
    # a later run makes the same bytes
    shard = next((tmp_path / "out" / "data").glob("train-00000-*"))
    before = shard.read_bytes()
    shard.unlink()
    run(tmp_path / "c" / "m.jsonl", tmp_path / "out")
    assert shard.read_bytes() == before


def test_renamed_columns(tmp_path, write_corpus):
    write_corpus(tmp_path, {"a.wav": 0.3})
    (tmp_path / "m.csv").write_text("file,words\na.wav,hello\n")
    settings = JobSettings(columns={"audio": "file", "text": "words"})
    run(tmp_path / "m.csv", tmp_path / "out", settings)
    (row,) = speechtok.TokenDataset(tmp_path / "out")
    assert (row["audio"], row["text"]) == ("a.wav", "hello")
    assert run(tmp_path / "m.csv", tmp_path / "out", settings).shards_made == 0


# --- what others read ---


def test_datasets_reads_rows_and_quarantine(made, corpus):
    import datasets

    output, report = made
    rows = datasets.load_dataset(str(output), split="train")
    assert len(rows) == report.rows
    assert rows.features["mel"] == datasets.List(datasets.List(datasets.Value("uint16")))
    assert rows.features["num_samples"] == datasets.Value("int64")
    assert rows.features["source_sample_rate"] == datasets.Value("int32")
    for row, ours in zip(rows, speechtok.TokenDataset(output), strict=True):
        assert row["id"] == ours["id"]
        assert np.array_equal(row["mel"], ours["mel"])
    assert rows.with_format("torch")[0]["mel"].shape == (80, -(-rows[0]["num_samples"] // 320))
    failed = datasets.load_dataset(str(output), name="quarantine", split="train")
    assert failed.column_names == ["id", "audio", "stage", "error", "message"]
    assert len(failed) == report.quarantined


def test_datasets_reads_splits_shards_of_failures_and_corpus_columns(tmp_path, write_corpus):
    """One split has nothing in quarantine, one has nothing else, one has a shard without rows."""
    import datasets

    write_corpus(tmp_path, {"a.wav": 0.5, "b.wav": 0.5, "c.wav": b"no", "d.wav": b"no"})
    nan = np.full(8000, np.nan)
    soundfile.write(tmp_path / "n.wav", nan, 16000, subtype="FLOAT")  # a header that promises half a second
    splits = {"a.wav": "fine", "b.wav": "mixed", "n.wav": "mixed", "c.wav": "mixed", "d.wav": "lost"}
    table = pa.table(
        {
            "audio": list(splits),
            "split": list(splits.values()),
            "day": pa.array([0] * 5, pa.date32()),
            "when": pa.array([0] * 5, pa.timestamp("us", tz="UTC")),
            "tags": [["x"], [], None, ["y", "z"], []],
            "more": [{"k": 1}] * 5,
        }
    )
    pq.write_table(table, tmp_path / "m.parquet")
    run(tmp_path / "m.parquet", tmp_path / "out", JobSettings(shard_seconds=0.5))
    assert verify(Layout(tmp_path / "out")).problems == ()
    found = datasets.load_dataset(str(tmp_path / "out"))
    assert {name: rows["id"] for name, rows in found.items()} == {"fine": ["a.wav"], "mixed": ["b.wav"]}
    assert found["fine"][0]["tags"] == ["x"]
    assert found["fine"][0]["more"] == {"k": 1}
    assert str(found["fine"][0]["day"]) == "1970-01-01"
    failed = datasets.load_dataset(str(tmp_path / "out"), name="quarantine")
    assert {name: sorted(rows["id"]) for name, rows in failed.items()} == {
        "mixed": ["c.wav", "n.wav"],
        "lost": ["d.wav"],
    }
    empty = [path for path in sorted((tmp_path / "out" / "data").glob("*")) if not len(pq.read_table(path))]
    assert [path.name for path in empty] == ["lost-00000-of-00001.parquet"]


def test_readme(made):
    text = (made[0] / "README.md").read_text(encoding="utf-8")
    _, head, body = text.split("---\n", 2)
    assert "path: data/train-*.parquet" in head
    assert f"{made[1].rows:,} utterances" in body
    assert f"{made[1].quarantined} inputs are in quarantine" in body
    assert speechtok.load_tokenizer("dmel_16k").fingerprint in body


# --- failures of inputs ---


def test_a_batch_fails_and_only_its_cause_is_quarantined(corpus, tmp_path, monkeypatch, account, made):
    """Whatever the tokenizer raises, with the utterance alone to blame."""
    real = DMelTokenizer.encode

    def encode(self, samples, **options):
        if any(len(item) == 11200 for item in samples):  # the recordings of 0.7 s
            raise RuntimeError("out of\n luck")
        return real(self, samples, **options)

    monkeypatch.setattr(DMelTokenizer, "encode", encode)
    run(corpus, tmp_path / "out", JobSettings())
    rows, failed = account(tmp_path / "out")
    assert [name for name in failed if name.startswith("long/")] == [f"long/{n}.wav" for n in range(6)]
    found = pq.read_table(tmp_path / "out" / "quarantine" / "train.parquet").to_pylist()
    assert {
        (row["stage"], row["error"], row["message"]) for row in found if row["id"].startswith("long")
    } == {("encode", "RuntimeError", "out of luck")}
    assert set(ODD) < set(rows)


def test_long_recordings_fail_alone(corpus, tmp_path, monkeypatch, account):
    """One is damaged in its middle, the others are not to the tokenizer's liking."""
    shutil.copytree(corpus, tmp_path / "c")
    content = (tmp_path / "c" / "long" / "0.wav").read_bytes()
    samples = np.frombuffer(content[44:], np.int16)
    soundfile.write(tmp_path / "c" / "long" / "0.flac", samples, 16000)
    flac = bytearray((tmp_path / "c" / "long" / "0.flac").read_bytes())
    flac[len(flac) // 2 :] = bytes(len(flac) - len(flac) // 2)
    (tmp_path / "c" / "long" / "0.flac").write_bytes(flac)

    def refuse(self, blocks, **options):
        for _ in blocks:
            pass
        raise ValueError

    monkeypatch.setattr(type(speechtok.load_tokenizer("dmel_16k")), "encode_blocks", refuse)
    run(tmp_path / "c", tmp_path / "out", JobSettings(chunk_seconds=0.5))
    _, failed = account(tmp_path / "out")
    found = {
        row["id"]: row for row in pq.read_table(tmp_path / "out" / "quarantine" / "train.parquet").to_pylist()
    }
    assert {f"long/{n}.wav" for n in range(6)} <= set(failed)
    assert (found["long/0.flac"]["stage"], found["long/0.flac"]["error"]) == ("read", "AudioError")
    assert (found["long/0.wav"]["stage"], found["long/0.wav"]["message"]) == ("encode", "ValueError")


def test_max_errors(corpus, tmp_path, account):
    sentence = r"inputs failed, more than the 3 allowed; the last one was .* Finished shards are kept"
    for _ in range(8):  # however often: the job never ends well
        with pytest.raises(JobError, match=sentence):
            run(corpus, tmp_path / "out", run=RunSettings(workers=1, max_errors=3))
    report = run(corpus, tmp_path / "out", run=RunSettings(workers=1, max_errors=5))
    assert report.quarantined == 5
    account(tmp_path / "out")
    with pytest.raises(JobError, match="5 inputs failed, more than the 4 allowed"):
        run(corpus, tmp_path / "out", run=RunSettings(workers=1, max_errors=4))


def test_nothing_tokenizable(tmp_path, write_corpus, damaged, account):
    write_corpus(tmp_path / "c", damaged)
    for _ in range(2):
        with pytest.raises(
            JobError,
            match=r"None of the 3 inputs could be tokenized; the first one, bad/cut\.flac: Cannot read",
        ):
            run(tmp_path / "c", tmp_path / "out")
    assert account(tmp_path / "out") == ([], sorted(damaged))


def test_files_that_vanish_are_quarantined(tmp_path, write_corpus, account):
    write_corpus(tmp_path / "c", {"a.wav": 0.3, "b.wav": 0.3})
    vanish = Observer(planned=lambda *_: (tmp_path / "c" / "b.wav").unlink())
    run(tmp_path / "c", tmp_path / "out", observer=vanish)
    assert account(tmp_path / "out") == (["a.wav"], ["b.wav"])


# --- what it refuses ---


def test_unknown_tokenizer_leaves_no_trace(corpus, tmp_path):
    with pytest.raises(speechtok.errors.CardError, match="did you mean 'dmel_16k'"):
        run(corpus, tmp_path / "out", tokenizer="dmel_16")
    with pytest.raises(DatasetError, match="There is no corpus at"):
        run(tmp_path / "no", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_foreign_output_folder(corpus, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(JobError, match="is not empty and holds no token dataset; use a new or empty folder"):
        run(corpus, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_output_is_a_file(corpus, tmp_path):
    (tmp_path / "out").write_text("precious")
    with pytest.raises(JobError, match="out is a file; the output must be a folder"):
        run(corpus, tmp_path / "out")
    with pytest.raises(JobError, match="cannot be written: Not a directory"):
        run(corpus, tmp_path / "out" / "below")
    assert (tmp_path / "out").read_text() == "precious"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder(corpus, tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(
        JobError, match=r"cannot be written: Permission denied\. Choose a folder you can write to"
    ):
        run(corpus, tmp_path / "out")


def test_unwritable_folder_even_for_root(corpus):
    with pytest.raises(
        JobError, match=r"/proc/nothing.* cannot be written: .* Choose a folder you can write to"
    ):
        run(corpus, Path("/proc/nothing/here"))


def test_another_job_at_work(corpus, tmp_path):
    layout = Layout(tmp_path / "out")
    layout.state.mkdir(parents=True)
    layout.tmp.mkdir()
    with (
        filelock.FileLock(layout.lock),
        pytest.raises(JobError, match=r"Another job is writing to .*out; wait for it or use another"),
    ):
        run(corpus, tmp_path / "out")
    assert layout.tmp.exists()  # the other job's files are left alone
    assert run(corpus, tmp_path / "out").rows


@pytest.fixture
def begun(tmp_path, write_corpus):
    write_corpus(tmp_path / "c", {"a.wav": 0.3, "b.wav": 0.3})
    run(tmp_path / "c", tmp_path / "out")
    return tmp_path / "c", tmp_path / "out"


def test_other_settings(begun):
    with pytest.raises(
        JobError, match=r"out was begun with shard_seconds=1\.0, not 2\.0; repeat the first command"
    ):
        run(*begun, replace(SMALL, shard_seconds=2.0))
    with pytest.raises(JobError, match="was begun with num_codebooks=None, not 3"):
        run(*begun, replace(SMALL, num_codebooks=3))


def test_another_corpus(begun, write_corpus):
    corpus, output = begun
    (corpus / "b.wav").rename(corpus / "c.wav")
    with pytest.raises(
        JobError, match=r"The corpus is not the one .* \(1 new, 1 gone; new: c.wav\); restore it"
    ):
        run(corpus, output)
    (corpus / "c.wav").rename(corpus / "b.wav")
    assert run(corpus, output).shards_made == 0


def test_another_tokenizer(begun, tmp_path):
    replace(find_card("dmel_16k")[0], name="other", architecture={"max_db": -5}).write(
        tmp_path / "other.yaml"
    )
    with pytest.raises(
        JobError, match=r"was begun with tokenizer 'dmel_16k' .* not with 'other' .* use another output"
    ):
        run(*begun, tokenizer=str(tmp_path / "other.yaml"))


def test_a_reworded_card_changes_no_byte(begun, tmp_path, monkeypatch, hashes):
    """The card in the plan counts, so that a dataset never mixes two."""
    corpus, output = begun
    before = hashes(output)
    cards = tmp_path / "cards"
    cards.mkdir()
    replace(find_card("dmel_16k")[0], description="Reworded.").write(cards / "dmel_16k.yaml")
    monkeypatch.setenv("SPEECHTOK_CARDS", str(cards))
    next((output / "data").iterdir()).unlink()
    run(corpus, output)
    assert hashes(output) == before


def test_a_worker_with_other_weights(begun, monkeypatch):
    """As on a second machine with another version."""
    corpus, output = begun
    next((output / "data").iterdir()).unlink()
    load = worker_module.load_tokenizer

    def other(*arguments, **options):
        tokenizer = load(*arguments, **options)
        if "dtype" in options:  # as the worker loads it
            tokenizer.info = replace(tokenizer.info, fingerprint="beef")
        return tokenizer

    monkeypatch.setattr(worker_module, "load_tokenizer", other)
    with pytest.raises(
        JobError, match="This worker has a tokenizer 'dmel_16k' with fingerprint beef, but the plan"
    ):
        run(corpus, output)


# --- mending ---


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
@pytest.mark.parametrize("state", ["joined", "in parts"])
def test_only_what_is_damaged_is_made_again(corpus, tmp_path, hashes, unjoined, state, damage):
    output = tmp_path / "out"
    run(corpus, output)
    before = hashes(output)
    if state == "in parts":
        unjoined(output)
        path = Layout(output).part(2)
    else:
        path = sorted(Layout(output).data.iterdir())[2]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    {
        "flip": lambda: path.write_bytes(content),
        "cut": lambda: path.write_bytes(content[:-5]),
        "remove": path.unlink,
    }[damage]()
    times = {path: path.stat().st_mtime_ns for path in (output / "data").iterdir()}
    problems = verify(Layout(output)).problems
    if state == "joined":
        assert any(f"data/{path.name}" in problem for problem in problems)
        assert not any("data/" in problem and path.name not in problem for problem in problems)
    assert run(corpus, output).shards_made == 1
    assert hashes(output) == before
    if state == "joined":
        changed = [item for item in times if item.stat().st_mtime_ns != times[item]]
        assert changed == ([] if damage == "remove" else [path])


@pytest.mark.parametrize("record", ["damaged", "missing"])
def test_a_part_without_a_record_is_made_again(corpus, tmp_path, hashes, unjoined, record):
    output = tmp_path / "out"
    run(corpus, output)
    before, proof = hashes(output), unjoined(output).part_record(2)
    if record == "missing":
        proof.unlink()
    else:
        proof.write_text("{")
    assert "has no record: the job is not finished" in verify(Layout(output)).problems[0]
    assert run(corpus, output).shards_made == 1
    assert hashes(output) == before


@pytest.mark.parametrize("name", ["parts.parquet", "manifest.parquet"])
def test_lost_summaries_of_a_finished_dataset(corpus, made, tmp_path, hashes, name):
    """What proves a dataset is never guessed: an error names it, or all is made again."""
    output = shutil.copytree(made[0], tmp_path / "out")
    (path,) = list(output.rglob(name))
    path.write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=f"{name} cannot be read as Parquet"):
        run(corpus, output)
    path.unlink()
    if name == "parts.parquet":
        with pytest.raises(DatasetError, match=r"parts\.parquet is missing, so nothing proves"):
            run(corpus, output)
        (output / "manifest.parquet").unlink()
    report = run(corpus, output)
    assert report.shards_made == report.shards
    assert hashes(output) == hashes(made[0])


def test_summaries_are_written_again(begun, hashes):
    corpus, output = begun
    before = hashes(output)
    (output / "README.md").unlink()
    (output / "quarantine" / "train.parquet").write_bytes(b"")
    assert len(verify(Layout(output)).problems) == 2
    run(corpus, output)
    assert hashes(output) == before


def test_left_overs_are_removed(begun):
    corpus, output = begun
    left = Layout(output).tmp / "train-00000-of-00001.parquet.abc"
    left.parent.mkdir()
    left.write_bytes(b"half")
    run(corpus, output)
    assert not left.parent.exists()


# --- a full disk ---


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_space(corpus, made, tmp_path, monkeypatch, hashes, code):
    """The third shard cannot be flushed; afterwards there is room again."""
    real, calls = os.fsync, Counter()

    def fsync(handle):
        calls["all"] += 1
        if calls["all"] > 14:
            raise OSError(code, os.strerror(code))
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(
            JobError, match=r"cannot be written: .* Free some space and run the same command again"
        ):
            run(corpus, tmp_path / "out")
    done = list(Layout(tmp_path / "out").parts.glob("*.json"))
    assert done
    assert not list(Layout(tmp_path / "out").tmp.glob("*"))
    report = run(corpus, tmp_path / "out")
    assert report.shards - report.shards_made in (len(done), len(done) - 1)
    assert hashes(tmp_path / "out") == hashes(made[0])


@pytest.fixture
def tiny_disk(tmp_path):
    """A filesystem of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if (
        os.geteuid() != 0
        or shutil.which("mount") is None
        or subprocess.run(mount, check=False, capture_output=True, timeout=300).returncode
    ):
        pytest.skip("only root may mount a small filesystem")
    yield disk
    subprocess.run(["umount", str(disk)], check=True, timeout=300)


def test_full_disk(corpus, made, tmp_path, tiny_disk, hashes):
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(bytes(160 * 1024))
    with pytest.raises(
        JobError, match=r"cannot be written: .*No space left on device.* Free some space and run"
    ):
        run(corpus, tiny_disk / "out")
    assert verify(Layout(tiny_disk / "out")).problems
    ballast.unlink()
    assert run(corpus, tiny_disk / "out").rows == made[1].rows
    assert hashes(tiny_disk / "out") == hashes(made[0])


def test_a_shard_that_fails_alone(corpus, made, tmp_path, monkeypatch, hashes):
    """The others are made; the command says which is not, and the same command makes it."""
    real = worker_module.commit

    def commit(layout, temporary, record, **options):
        if record.number == 1:
            raise RuntimeError("no luck")
        return real(layout, temporary, record, **options)

    with monkeypatch.context() as patch:
        patch.setattr(worker_module, "commit", commit)
        with pytest.raises(
            JobError, match=r"A shard failed: RuntimeError: no luck\. Not made: train-00001-of-\d+\.$"
        ):
            run(corpus, tmp_path / "out")
    layout = Layout(tmp_path / "out")
    plan = read_plan(layout)
    assert [task.index for task in Ledger.read(layout, plan).missing(layout, plan.tasks)] == [1]
    assert run(corpus, tmp_path / "out").shards_made == 1
    assert hashes(tmp_path / "out") == hashes(made[0])


# --- what is known before the work ---


@pytest.mark.parametrize(
    ("output", "how", "error", "sentence"),
    [
        (
            "hf://datasets/me/set",
            {},
            JobError,
            r"hf://datasets/me/set cannot be the output of a job: each file",
        ),
        (
            "out",
            {"ray_address": "127.0.0.1:1"},
            JobError,
            r"could not be started or reached at 127\.0\.0\.1:1: ",
        ),
        ("out", {"workers": 1, "device": "xyz"}, ValueError, "`device` 'xyz' cannot be used here"),
        ("file", {}, JobError, "is a file; the output must be a folder"),
    ],
)
def test_what_cannot_work_is_said_first(tmp_path, monkeypatch, output, how, error, sentence):
    """Before anything is fetched, loaded or planned: a corpus that is not there is not even missed."""
    (tmp_path / "file").write_text("mine")
    place = output if "://" in output else tmp_path / output
    with pytest.raises(error, match=sentence):
        tokenize_corpus(tmp_path / "none", place, tokenizer="none", run=RunSettings(**how))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
