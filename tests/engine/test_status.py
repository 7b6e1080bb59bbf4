"""What a job tells about itself, while it runs, afterwards, and after it was killed."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from speechtok.cli import main
from speechtok.commands.status import SILENT_SECONDS, read_status
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.engine import job_log
from speechtok.engine.job_log import JobLog, read_events
from speechtok.engine.observer import ENCODE, IDLE, READ, WRITE, Observer, Progress, WorkerStatus
from speechtok.engine.settings import JobSettings, RunSettings
from speechtok.engine.worker import Stopwatch
from speechtok.errors import DatasetError, JobError
from speechtok.shards.layout import Layout
from speechtok.shards.verify import verify

SETTINGS = JobSettings(shard_seconds=1.0, batch_seconds=0.5)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, write_corpus, damaged):
    return write_corpus(
        tmp_path_factory.mktemp("status") / "c", {f"{n}.wav": 0.5 for n in range(6)} | damaged
    )


@pytest.fixture
def output(corpus, tmp_path):
    tokenize_corpus(corpus, tmp_path / "out", settings=SETTINGS, run=RunSettings(workers=1))
    return tmp_path / "out"


def change(output, **fields):
    path = output / ".speechtok" / "job.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_finished(output, corpus):
    status = read_status(output)
    assert status.state == "finished"
    assert (status.shards, status.shards_done) == (3, 3)
    assert (status.utterances, status.utterances_done, status.quarantined) == (9, 9, 3)
    assert status.job["about"]["corpus_root"] == str(corpus)
    assert status.job["made"]["shards"] == 3
    assert set(status.job["versions"]) >= {"speechtok", "torch", "python"}
    kinds = [event["event"] for event in status.events]
    assert (kinds[0], kinds[-1], kinds.count("shard")) == ("started", "finished", 3)


def test_while_it_runs(corpus, tmp_path, monkeypatch):
    """Read from the outside at each shard."""
    monkeypatch.setattr(job_log, "STATE_SECONDS", 0.0)
    seen = []
    look = Observer(progressed=lambda progress: seen.append(read_status(tmp_path / "out")))
    tokenize_corpus(corpus, tmp_path / "out", settings=SETTINGS, run=RunSettings(workers=1), observer=look)
    assert {status.state for status in seen} == {"running"}
    assert [status.shards_done for status in seen] == sorted(status.shards_done for status in seen)
    assert seen[-1].shards_done == 3


def test_while_parts_are_joined(corpus, tmp_path, monkeypatch):
    """The state is kept fresh, and what is asked at each progress, whether the output is still ours, is asked then too."""
    monkeypatch.setattr(job_log, "STATE_SECONDS", 0.0)
    settings, run = replace(SETTINGS, file_mb=1e-6), RunSettings(workers=1)
    told, out = [], tmp_path / "out"

    def stop(progress):
        told.append([event["event"] for event in read_status(out).events].count("file"))
        if told[-1] == 2:
            raise JobError("the output is no longer ours")

    with pytest.raises(JobError, match="no longer ours"):
        tokenize_corpus(corpus, out, settings=settings, run=run, observer=Observer(progressed=stop))
    assert told[-2:] == [1, 2]
    assert read_status(out).state == "failed"
    assert tokenize_corpus(corpus, out, settings=settings, run=run).files == 3
    assert verify(Layout(out)).problems == ()


def test_after_a_failure(corpus, tmp_path):
    with pytest.raises(JobError):
        tokenize_corpus(corpus, tmp_path / "out", settings=SETTINGS, run=RunSettings(workers=1, max_errors=0))
    status = read_status(tmp_path / "out")
    assert status.state == "failed"
    assert "more than the 0 allowed" in status.sentence
    assert status.events[-1]["event"] == "failed"


def test_after_a_kill(output):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(timeout=60)
    change(output, state="running", pid=process.pid)
    assert read_status(output).state == "lost"
    change(output, state="running", pid=os.getpid())
    assert read_status(output).state == "running"
    change(output, state="running", pid=1, host="elsewhere", updated=time.time() - SILENT_SECONDS - 1)
    assert "process 1 on elsewhere ended without a word" in read_status(output).sentence


def test_other_states(output):
    change(output, state="stopped")
    assert read_status(output).sentence.startswith("stopped by Ctrl-C or SIGTERM")
    change(output, state="finished")
    next((output / "data").iterdir()).unlink()
    assert read_status(output).state == "unknown"
    (output / ".speechtok" / "job.json").write_text("{")
    assert "nothing is known of the last run" in read_status(output).sentence


def test_before_the_plan(tmp_path):
    with pytest.raises(DatasetError, match="holds no token dataset, and no job has begun one there"):
        read_status(tmp_path)
    (tmp_path / ".speechtok").mkdir()
    assert read_status(tmp_path).state == "planning"


def test_command(output, capsys):
    assert main.run(["status", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "finished after" in printed
    assert "3 of 3 shards; 9 of 9 utterances, 3 in quarantine" in printed
    assert main.run(["status", str(output), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shards_done"] == 3


def worker(**fields):
    spent = {READ: 7.0, ENCODE: 2.0, WRITE: 1.0, IDLE: 5.0}
    known = {
        "node": "n1",
        "pid": 7,
        "task": "train-00000-of-00003",
        "progress": Progress(seconds=1.0, utterances=1),
        "audio_seconds": 1.0,
        "stage": READ,
        "stage_seconds": 0.1,
        "spent": spent,
    }
    return WorkerStatus(**known | fields)


def test_who_waits_for_whom(output, capsys):
    """Per worker and per node: the shares of the stages, and who has stalled."""
    log = JobLog(Layout(output), {})
    stalled = worker(pid=8, stage_seconds=100.0)
    for _ in range(2):
        log.working([worker(), stalled])
    change_at = json.loads((output / ".speechtok" / "job.json").read_text())
    assert change_at["nodes"]["n1"]["workers"] == 2
    assert change_at["nodes"]["n1"]["shares"] == pytest.approx({READ: 0.7, ENCODE: 0.2, WRITE: 0.1})
    change(output, state="running", pid=os.getpid())
    status = read_status(output)
    assert "On n1 the tokenizer waits for reading 70 % of the time" in status.bottleneck
    assert [found["pid"] for found in status.stalled] == [8]
    assert [event["event"] for event in read_events(Layout(output))].count("stalled") == 1
    main.run(["status", str(output)])
    assert (
        "Stalled: shard train-00000-of-00003 on n1 (process 8) has been at 'read' for"
        in capsys.readouterr().out
    )


def test_speed_is_that_of_the_last_minute(output, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(job_log.time, "monotonic", lambda: clock[0])
    log = JobLog(Layout(output), {})
    for second in range(100):
        clock[0] = float(second)
        done = Progress(seconds=10.0 * min(second, 50) + 30.0 * max(second - 50, 0))
        log.working([worker(progress=done)])
    clock[0] = 200.0
    log.update()
    assert read_status(output).times_real_time == pytest.approx(30.0, rel=0.2)


def test_stopwatch_adds_up(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    watch = Stopwatch()
    for seconds, stage in ((1.0, READ), (2.0, ENCODE), (4.0, READ), (8.0, WRITE)):
        clock[0] += seconds
        watch.enter(stage)
    clock[0] += 16.0
    assert watch.spent() == {IDLE: 1.0, READ: 10.0, ENCODE: 4.0, WRITE: 16.0}
    assert (watch.stage, watch.stage_seconds) == (WRITE, 16.0)


# --- the file of events ---


def test_half_a_line_is_left_out(output):
    path = output / ".speechtok" / "events.jsonl"
    count = len(read_events(Layout(output)))
    path.write_bytes(path.read_bytes() + b'{"event": "sha')
    JobLog(Layout(output), {}).event("ready")
    events = read_events(Layout(output))
    assert len(events) == count + 1
    assert events[-1]["event"] == "ready"


def test_events_are_bounded(output, monkeypatch):
    monkeypatch.setattr(job_log, "MAX_EVENTS_BYTES", 2000)
    log = JobLog(Layout(output), {})
    for number in range(200):
        log.event("shard", number=number)
    assert (output / ".speechtok" / "events.jsonl").stat().st_size < 2200
    numbers = [event["number"] for event in read_events(Layout(output)) if "number" in event]
    assert numbers == list(range(numbers[0], 200))


def test_events_in_a_store(corpus, s3):
    """Nothing can be appended there: the whole file is put again, now and then."""
    out = s3 / "out"
    for _ in range(2):
        tokenize_corpus(corpus, out, settings=SETTINGS, run=RunSettings(workers=1))
        (out / "README.md").unlink()
        next((out / "data").iterdir()).unlink()
    assert [event["event"] for event in read_events(Layout(out))].count("started") == 2
    assert read_status(str(out)).events[-1]["event"] == "finished"


def test_the_dataset_does_not_depend_on_it(output, corpus, hashes, tmp_path):
    before = hashes(output)
    for name in ("job.json", "events.jsonl"):
        (output / ".speechtok" / name).unlink()
    assert tokenize_corpus(corpus, output, settings=SETTINGS, run=RunSettings(workers=1)).shards_made == 0
    assert hashes(output) == before
    assert read_status(output).state == "finished"
