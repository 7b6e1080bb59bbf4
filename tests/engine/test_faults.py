"""The same bytes whatever happens: other workers, Ray or not, kill -9, Ctrl-C."""

import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest
import torch

from speechtok.cards import find_card
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.engine.observer import Observer
from speechtok.engine.settings import JobSettings, RunSettings
from speechtok.errors import JobError
from speechtok.shards.layout import Layout
from speechtok.shards.verify import verify
from tests.waiting import wait_until

SETTINGS = {"shard_seconds": 1.0, "file_mb": 1e-6, "batch_seconds": 0.5}
SHARDS = 36
SCRIPT = """
import json, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs in the background without
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.engine.settings import JobSettings, RunSettings
corpus, output, settings, run = sys.argv[1:]
settings, run = JobSettings(**json.loads(settings)), RunSettings(**json.loads(run))
tokenize_corpus(corpus, output, tokenizer="slow", settings=settings, run=run)
"""


@pytest.fixture(scope="module", autouse=True)
def slow_tokenizer(tmp_path_factory):
    """dMel with an analysis that takes long enough to be interrupted."""
    cards = tmp_path_factory.mktemp("cards")
    card = replace(find_card("dmel_16k")[0], name="slow", architecture={"fft_length": 1 << 16})
    card.write(cards / "slow.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPEECHTOK_CARDS", str(cards))
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, write_corpus, damaged):
    recordings = {f"{n:02d} ü.wav": 0.5 for n in range(2 * SHARDS)} | damaged
    return write_corpus(tmp_path_factory.mktemp("faults") / "a corpus", recordings)


def run(corpus, output, **options):
    return tokenize_corpus(corpus, output, tokenizer="slow", settings=JobSettings(**SETTINGS), **options)


@pytest.fixture(scope="module")
def reference(corpus, tmp_path_factory, hashes, account):
    """The hashes of an undisturbed run in one process."""
    output = tmp_path_factory.mktemp("reference") / "out"
    report = run(corpus, output, run=RunSettings(workers=1))
    assert report.shards == report.shards_made == SHARDS
    assert report.quarantined == 3
    account(output)
    return hashes(output)


@pytest.fixture
def start(corpus):
    """Start the job in a process of its own, which ends with the test."""
    processes = []

    def start(output, **options):
        arguments = [
            sys.executable,
            "-c",
            SCRIPT,
            corpus,
            output,
            json.dumps(SETTINGS),
            json.dumps(options),
        ]
        processes.append(
            subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, start_new_session=True)
        )
        return processes[-1]

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=300)


def records(output):
    return sorted((output / ".speechtok" / "parts").glob("*.json"))


def wait_for_records(output, count, process):
    wait_until(lambda: len(records(output)) >= count, alive=process)


def finish(process):
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    return stderr


def committed(output):
    """Parts that are there and proven: none of them may be made again."""
    found = {path.with_suffix(".parquet"): json.loads(path.read_text())["sha256"] for path in records(output)}
    for path, sha256 in found.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    return list(found)


def check_the_same(output, reference, hashes, account):
    assert hashes(output) == reference
    account(output)
    assert verify(Layout(output)).problems == ()


# --- without Ray ---


@pytest.mark.parametrize("seed", range(2))
def test_killed_process(corpus, reference, tmp_path, hashes, account, start, seed):
    """Killed at random moments, some between two shards and some within one."""
    output, chance = tmp_path / "out", random.Random(seed)
    for _ in range(2):
        process = start(output, workers=1)
        wait_for_records(output, len(records(output)) + chance.randint(0, 3), process)
        time.sleep(chance.uniform(0, 0.2))
        process.kill()
        process.wait(timeout=60)
    kept = committed(output)
    assert len(kept) < SHARDS
    report = run(corpus, output, run=RunSettings(workers=1))
    assert report.shards_made == SHARDS - len(kept)
    check_the_same(output, reference, hashes, account)


@pytest.mark.parametrize("workers", [1, 2])
def test_interrupted_process(corpus, reference, tmp_path, hashes, account, start, workers):
    process = start(tmp_path / "out", workers=workers)
    wait_for_records(tmp_path / "out", 2, process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode != 0
    assert stderr.rstrip().endswith("KeyboardInterrupt")
    assert not list(Layout(tmp_path / "out").tmp.glob("*"))
    run(corpus, tmp_path / "out", run=RunSettings(workers=1))
    check_the_same(tmp_path / "out", reference, hashes, account)


# --- in processes of this machine, and on Ray ---

SEVERAL = pytest.mark.parametrize("executor", ["local", pytest.param("ray", marks=pytest.mark.ray)])


@SEVERAL
def test_killed_worker(corpus, reference, tmp_path, hashes, account, executor):
    """Two workers, one of which is killed twice; its shard is made anew by the next."""
    workers, killed = [], []

    def event(kind, **fields):
        if kind == "worker":
            workers.append(fields["pid"])

    def kill(progress):
        if len(killed) < 2 and progress.utterances > 4 * len(killed) and set(workers) - set(killed):
            killed.append((set(workers) - set(killed)).pop())
            psutil.Process(killed[-1]).kill()

    watch = Observer(progressed=kill, event=event)
    report = run(corpus, tmp_path / "out", run=RunSettings(executor=executor, workers=2), observer=watch)
    assert len(set(killed)) == 2
    assert report.shards_made == SHARDS
    check_the_same(tmp_path / "out", reference, hashes, account)


@SEVERAL
def test_killed_and_interrupted_driver(corpus, reference, tmp_path, hashes, account, start, executor):
    """Two workers; kill -9 of the driver, Ctrl-C, then to the end."""
    output, chance = tmp_path / "out", random.Random(0)
    for end in (signal.SIGKILL, signal.SIGINT):
        process = start(output, executor=executor, workers=2)
        wait_for_records(output, len(records(output)) + chance.randint(1, 3), process)
        time.sleep(chance.uniform(0, 0.1))
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(end)
        process.communicate(timeout=300)
        assert process.returncode != 0
        kept = committed(output)
        assert len(kept) < SHARDS
    _, alive = psutil.wait_procs(children, timeout=120)
    assert not [child for child in alive if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert finish(start(output, executor=executor, workers=2)) == ""
    state = json.loads(Layout(output).job.read_text())
    assert state["made"]["shards"] == SHARDS - len(kept)
    check_the_same(output, reference, hashes, account)


@SEVERAL
def test_errors_on_workers(corpus, tmp_path, executor):
    """What a worker cannot write ends as a sentence."""
    output = tmp_path / "out"
    (output / ".speechtok").mkdir(parents=True)
    (output / ".speechtok" / "parts").write_text("in the way")
    with pytest.raises(JobError, match=r"parts.* cannot be written: .* Choose a folder you can write to"):
        run(corpus, output, run=RunSettings(executor=executor, workers=2))
    assert not list(Layout(output).tmp.glob("*"))


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_running_cluster(corpus, reference, tmp_path, hashes, account):
    """A cluster of one CPU, asked for three workers: those that find no place must not hold up the job."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": 100 * 1024 * 1024, "include_dashboard": False},
    )
    try:
        report = run(corpus, tmp_path / "out", run=RunSettings(workers=3, ray_address=cluster.address))
        assert report.shards_made == SHARDS
    finally:
        cluster.shutdown()
    check_the_same(tmp_path / "out", reference, hashes, account)


@pytest.mark.ray
def test_no_cluster_there(corpus, tmp_path):
    with pytest.raises(JobError, match=r"Ray could not be started or reached at 127\.0\.0\.1:1: "):
        run(corpus, tmp_path / "out", run=RunSettings(ray_address="127.0.0.1:1"))


RAYLET_DIES = """
import psutil, ray, sys
from speechtok.cli.main import main

def init(start=ray.init, **options):
    start(**options)
    for process in psutil.Process().children(recursive=True):
        if process.name() == "raylet":
            process.kill()

ray.init = init
main()
"""


@pytest.mark.ray
def test_ray_ends_before_a_worker_is_up(corpus, tmp_path):
    """Workers that cannot come are not waited for."""
    command = [
        sys.executable,
        "-c",
        RAYLET_DIES,
        "tokenize",
        str(corpus),
        str(tmp_path / "out"),
        "--executor",
        "ray",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert (
        "speechtok: Ray ended on this machine (its process raylet: SIGKILL), perhaps for lack" in done.stderr
    )


@pytest.mark.ray
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_no_gpu_there(corpus, reference, tmp_path, hashes):
    """Nobody waits for a GPU that cannot come; the job goes on where it can."""
    with pytest.raises(
        JobError, match=r"A worker takes 1 GPU\(s\), but Ray finds 0 on this machine; use --device cpu"
    ):
        run(corpus, tmp_path / "out", run=RunSettings(executor="ray", device="cuda"))
    with pytest.raises(ValueError, match="`device` 'cuda' cannot be used here"):
        run(corpus, tmp_path / "out", run=RunSettings(workers=1, device="cuda"))
    run(corpus, tmp_path / "out", run=RunSettings(workers=1))
    assert hashes(tmp_path / "out") == reference
