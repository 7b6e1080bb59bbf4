"""Inputs that hang, explode or kill: one file is lost, and everything else is as it would have been."""

import contextlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import soundfile

from speechtok.commands.tokenize import tokenize_corpus
from speechtok.engine.attempts import MAX_DEATHS, Attempts
from speechtok.engine.isolated import LongRecording, ReaderPool, ReadSettings, Request
from speechtok.engine.settings import JobSettings, RunSettings
from speechtok.errors import JobError
from speechtok.shards.layout import Layout
from speechtok.shards.plan import read_plan
from speechtok.shards.verify import verify
from tests.waiting import wait_until

SETTINGS = JobSettings(shard_seconds=2.0, file_mb=1e-6, batch_seconds=1.0)


def reasons(output):
    rows = pq.read_table(output / "quarantine" / "train.parquet").to_pylist()
    return {row["id"]: (row["stage"], row["error"], row["message"]) for row in rows}


@pytest.fixture
def corpus(tmp_path, write_corpus):
    names = [
        "a.wav",
        "b hang.wav",
        "c.wav",
        "d explode.wav",
        "e segfault.wav",
        "f once.wav",
        "g.wav",
        "h thrice.wav",
    ]
    return write_corpus(tmp_path / "c", dict.fromkeys(names, 0.4))


def test_troubled_recordings_are_lost_alone(corpus, tmp_path, account, poison):
    output = tmp_path / "out"
    tokenize_corpus(
        corpus, output, settings=SETTINGS, run=RunSettings(workers=1, timeout_seconds=3.0, memory_mb=1024)
    )
    rows, failed = account(output)
    assert rows == ["a.wav", "c.wav", "f once.wav", "g.wav", "h thrice.wav"]
    assert failed == ["b hang.wav", "d explode.wav", "e segfault.wav"]
    assert verify(Layout(output)).problems == ()
    found = reasons(output)
    assert found["b hang.wav"] == (
        "read",
        "TimeoutError",
        "Cannot read 'b hang.wav': it took longer than 3 s; allow more with --timeout-seconds, or leave it out.",
    )
    assert found["d explode.wav"] == (
        "read",
        "MemoryError",
        "Cannot read 'd explode.wav': it needs more than 1024 MB of memory to decode; "
        "allow more with --memory-mb, or leave it out.",
    )
    assert found["e segfault.wav"] == (
        "crash",
        "ReaderDied",
        "Cannot read 'e segfault.wav': decoding it ended its process twice (SIGSEGV); convert it or leave it out.",
    )


@pytest.mark.parametrize("executor", ["local", pytest.param("ray", marks=pytest.mark.ray)])
def test_an_input_that_kills_workers_is_named(tmp_path, write_corpus, account, poison, executor):
    """Two tries in company, two alone; then it is in quarantine and the rest of its shard is whole."""
    corpus = write_corpus(tmp_path / "c", dict.fromkeys(["a.wav", "b.wav", "d.wav", "e.wav"], 0.4))
    soundfile.write(corpus / "c.wav", np.zeros(12345), 16000)
    how = RunSettings(executor=executor, workers=2)
    tokenize_corpus(corpus, tmp_path / "out", settings=SETTINGS, run=how)
    rows, failed = account(tmp_path / "out")
    assert (rows, failed) == (["a.wav", "b.wav", "d.wav", "e.wav"], ["c.wav"])
    assert reasons(tmp_path / "out")["c.wav"] == (
        "crash",
        "WorkerDied",
        "Tokenizing 'c.wav' ended its worker twice; convert it or leave it out.",
    )
    assert not (tmp_path / "out" / ".speechtok" / "attempts").exists()


@pytest.mark.slow
def test_an_input_that_kills_this_process(tmp_path, write_corpus, account, poison):
    """Without Ray nobody goes on after a death; the same command does, as often as it takes."""
    corpus = write_corpus(tmp_path / "c", dict.fromkeys(["a.wav", "b.wav"], 0.4))
    soundfile.write(corpus / "c.wav", np.zeros(12345), 16000)
    script = "from speechtok.cli.main import main; main()"
    command = [sys.executable, "-c", script, "tokenize", corpus, tmp_path / "out", "--workers", "1"]
    codes = [
        subprocess.run(command, check=False, capture_output=True, timeout=300).returncode for _ in range(5)
    ]
    assert codes == [-9, -9, -9, -9, 0]
    assert account(tmp_path / "out") == (["a.wav", "b.wav"], ["c.wav"])


# --- the note about a shard ---


@pytest.fixture
def shard(tmp_path, write_corpus):
    write_corpus(tmp_path / "c", {"a.wav": 0.3})
    tokenize_corpus(tmp_path / "c", tmp_path / "out", run=RunSettings(workers=1))
    layout = Layout(tmp_path / "out")
    return layout, read_plan(layout).tasks[0]


alive = []
"""What a process holds until it dies."""


def attempt(shard, batches, deadly, *, dies_alone=True):
    """Go through a shard as a worker does; the id `deadly` ends it in its batch, and alone if `dies_alone`."""
    attempts = Attempts(*shard)
    noted = attempts.noted()
    alive.append(noted)
    noted.__enter__()
    if attempts.suspected_batch is not None:
        for name in attempts.one_by_one(batches[attempts.suspected_batch]):
            if name == deadly and dies_alone:
                return None
    for number, batch in enumerate(batches):
        attempts.enter(number)
        if deadly in set(batch) - attempts.culprits:
            return None
    noted.__exit__(None, None, None)
    return attempts.culprits


def test_culprit_is_found(shard):
    batches = [["a", "b"], ["c", "d", "e"], ["f"]]
    assert [attempt(shard, batches, "d") for _ in range(5)] == [None] * 4 + [{"d"}]
    assert attempt(shard, batches, None) == frozenset()  # the note is gone


def test_accidents_accuse_nobody(shard):
    """Killed in the same batch each time by something else: nobody dies alone, so nobody is left out."""
    batches = [["a", "b"], ["c", "d", "e"]]
    for _ in range(6):
        assert attempt(shard, batches, "d", dies_alone=False) is None
    assert attempt(shard, batches, None) == frozenset()


def test_too_many_deaths(shard):
    for _ in range(MAX_DEATHS):
        assert attempt(shard, [["a"]], "a", dies_alone=False) is None
    with pytest.raises(
        JobError, match=r"16 workers died on shard train-00000-of-00001: out of memory, or many"
    ):
        attempt(shard, [["a"]], "a")


def test_a_note_that_a_kill_left_beside_the_last_shard(shard, tmp_path, hashes):
    """Nothing is missing, yet the same command tidies up."""
    layout, _ = shard
    before = hashes(layout.root)
    assert attempt(shard, [["a.wav"]], "a.wav") is None
    assert hashes(layout.root) != before
    tokenize_corpus(tmp_path / "c", layout.root, run=RunSettings(workers=1))
    assert hashes(layout.root) == before


def test_deaths_that_are_excused_accuse_nobody(shard):
    """As when Ray ends a worker to have memory for others, or a node goes, however often."""
    for _ in range(2 * MAX_DEATHS):
        assert attempt(shard, [["a"]], "a") is None
        Attempts(*shard).excuse()
    assert attempt(shard, [["a"]], None) == frozenset()


def test_unreadable_note(shard):
    layout, task = shard
    path = layout.attempts(task.split, task.index)
    path.parent.mkdir(exist_ok=True)
    path.write_text("{")
    assert attempt(shard, [["a"]], None) == frozenset()
    assert not path.exists()


# --- the process that reads ---

READ = ReadSettings(
    sample_rate=16000, channels="mean", chunk_seconds=1.0, timeout_seconds=60.0, memory_mb=1024
)


def wanted(path, seconds=None):
    return Request(audio=str(path), start=0.0, duration=None, seconds=seconds)


@pytest.fixture
def recordings(tmp_path, write_corpus):
    folder = write_corpus(tmp_path, {"a.wav": 0.5, "long.wav": 5.5, "b.wav": 0.7})
    return [folder / name for name in ("a.wav", "long.wav", "b.wav")]


def reading_processes():
    """Those that this process has started."""
    children = psutil.Process().children()
    return [child for child in children if "speechtok.engine.reader_process:serve" in child.cmdline()]


def has_read(files):
    """Return whether a process has read as much as all of these files."""
    size = sum(file.stat().st_size for file in files)
    return any(process.io_counters().read_chars >= size for process in reading_processes())


def samples_of(result):
    return np.concatenate(list(result)) if isinstance(result, LongRecording) else result.samples


def test_blocks_in_the_middle(recordings):
    """A long recording is known by its header where the plan does not know it; the others wait for it."""
    pool = ReaderPool()
    found = [samples_of(item) for item in pool.read([[wanted(path) for path in recordings]], READ, 60)]
    pool.close()
    for path, samples in zip(recordings, found, strict=True):
        assert np.array_equal(samples, soundfile.read(path, dtype="float32")[0])


@pytest.mark.parametrize("used", [0, 1, 3])
def test_blocks_left_out(recordings, used):
    pool = ReaderPool()
    for item in pool.read([[wanted(path) for path in recordings]], READ, 60):
        if isinstance(item, LongRecording):
            assert len([block for block, _ in zip(item, range(used), strict=False)]) == used
        else:
            last = item
    assert len(last.samples) == 11200
    pool.close()


def test_killed_while_reading_blocks(recordings):
    """Its successor goes on where it was."""
    pool = ReaderPool()
    for item in pool.read([[wanted(path) for path in recordings]], READ, 60):
        if isinstance(item, LongRecording):
            blocks = []
            for block in item:
                blocks.append(block)
                if len(blocks) == 3:
                    for process in reading_processes():
                        process.kill()
            assert np.array_equal(np.concatenate(blocks), soundfile.read(recordings[1], dtype="float32")[0])
    pool.close()


def test_more_than_a_pipe_holds(tmp_path, write_corpus):
    """What was asked for is read, however long nobody takes it."""
    names = {f"{n}.wav": seconds for n, seconds in enumerate([60.0, 0.5, 59.0, 58.0, 0.7, 57.0])}
    folder = write_corpus(tmp_path, names)
    pool = ReaderPool()
    requests = [wanted(folder / name, seconds) for name, seconds in names.items()]
    results = pool.read([requests], replace(READ, chunk_seconds=100.0), 1000.0)
    found = [next(results).samples]
    files = [folder / name for name in names]
    wait_until(lambda: has_read(files))
    found += [result.samples for result in results]
    pool.close()
    for name, samples in zip(names, found, strict=True):
        assert np.array_equal(samples, soundfile.read(folder / name, dtype="float32")[0])


def test_two_processes(recordings):
    pool = ReaderPool(2)
    requests = [[wanted(path)] for path in recordings]
    found = [len(samples_of(item)) for item in pool.read(requests, READ, 60)]
    assert found == [8000, 88000, 11200]
    pool.close()


def test_reading_ahead_is_bounded(recordings):
    asked = []

    def requests():
        for number in range(100):
            asked.append(number)
            yield [wanted(recordings[0], 0.5)]

    pool = ReaderPool()
    results = pool.read(requests(), READ, 3.0)
    next(results)
    assert len(asked) <= 3.0 / 0.5 + 2
    results.close()
    pool.close()


def test_what_was_not_received_is_forgotten(recordings):
    pool = ReaderPool()
    results = pool.read([[wanted(path) for path in recordings]], READ, 60)
    next(results)
    results.close()
    (again,) = pool.read([[wanted(recordings[2])]], READ, 60)
    assert len(again.samples) == 11200
    pool.close()


def test_the_process_ends_with_its_worker(recordings, run_python):
    """Even where nothing can be tidied up, and whatever it is doing."""
    script = """
import os, psutil, sys
from speechtok.engine.isolated import Reader, ReadSettings, Request
reader = Reader()
reader.begin(ReadSettings(sample_rate=16000, channels="mean", chunk_seconds=1.0, timeout_seconds=60.0, memory_mb=1024))
(number,) = reader.ask([Request(audio=sys.argv[1], start=0.0, duration=None, seconds=0.5)])
reader.answer(number)
print(*[process.pid for process in psutil.Process().children()], flush=True)
os._exit(0)
"""
    pid = int(run_python(script, recordings[0]))
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(timeout=120)


def test_a_recording_that_changes_is_read_anew(recordings, write_corpus):
    pool = ReaderPool()
    for seconds in (0.5, 0.9):
        write_corpus(recordings[0].parent, {"a.wav": seconds})
        (item,) = pool.read([[wanted(recordings[0])]], READ, 60)
        assert len(item.samples) == round(seconds * 16000)
    pool.close()
