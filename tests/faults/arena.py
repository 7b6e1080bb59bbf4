"""A place to break jobs: two Ray nodes on this machine, an S3 server behind a proxy, a small disk, a wrong clock.

A *trial* starts the command line against the cluster, lets faults happen at random moments, starts it again
until it ends well, and compares what is there with an undisturbed run: the same bytes, no temporary file, every
utterance in one place.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import soundfile

from speechtok.cards import find_card
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.engine.settings import JobSettings, RunSettings
from speechtok.shards.layout import Layout
from speechtok.shards.ledger import Ledger
from speechtok.shards.plan import read_plan
from speechtok.shards.verify import verify
from speechtok.storage import StorePath, as_path
from tests.everywhere import write_site
from tests.s3 import ENVIRONMENT, Proxy, create_bucket, s3_server

OPTIONS = ["--tokenizer", "slow", "--shard-seconds", "1.0", "--file-mb", "1e-6", "--batch-seconds", "0.5"]
SETTINGS = JobSettings(shard_seconds=1.0, file_mb=1e-6, batch_seconds=0.5)
COMMAND = [sys.executable, "-c", "from speechtok.cli.main import main; main()", "tokenize"]
LOCAL_FACTS = {".speechtok/job.json", ".speechtok/events.jsonl", ".speechtok/lock"}
MAX_STARTS = 12
MAX_REPEATS = 5
START_SECONDS = 600
CLOCK = """
import os, time
real = time.time
def jumping():
    try:
        with open(os.environ["CLOCK_JUMP"]) as file:
            return real() + float(file.read() or 0)
    except OSError:
        return real()
time.time = jumping
"""
"""Lets the clock of every Python process jump by the seconds that a file holds."""
PAUSE = """
import os, time
recorded = write_file_record
def write_file_record(layout, record):
    time.sleep(float(os.environ["JOIN_PAUSE"]))
    recorded(layout, record)
    time.sleep(float(os.environ["JOIN_PAUSE"]))
"""
"""Lets joining take so long that it can be killed."""
HIDE = """
import os, time
listed = listing
def listing(folder):
    try:
        with open(os.environ["HIDDEN_RECORD"]) as file:
            name, until = file.read().split()
    except (OSError, ValueError):
        return listed(folder)
    return [path for path in listed(folder) if path.name != name or time.monotonic() > float(until)]
"""
"""Lets a record be there without being listed for a while, as on a network file system."""
ANNOTATE = """
import os, time
annotated_row = Annotator._annotate
def _annotate(self, cells, recording):
    time.sleep(float(os.environ.get("ANNOTATE_PAUSE", 0)))
    return annotated_row(self, cells, recording)
Annotator._annotate = _annotate
"""
"""Lets annotating take so long that it can be killed, …"""
SETTLE = """
import os, time
flushed = flush
def flush(path):
    time.sleep(float(os.environ.get("SETTLE_PAUSE", 0)))
    flushed(path)
"""
"""… the move of new files to their places too, …"""
DERIVE = """
import os, time
SHARD_SECONDS = float(os.environ.get("DERIVED_SECONDS", SHARD_SECONDS))
written_part = _write_part
def _write_part(*arguments):
    time.sleep(float(os.environ.get("DERIVE_PAUSE", 0)))
    return written_part(*arguments)
"""
"""… and the parts of datasets that are made of others."""
HIDDEN_SECONDS = 10.0
CHANGES = {
    "speechtok.storage.stores": "READ_SECONDS = 2",  # a store that says nothing counts as failed soon
    "speechtok.shards.joining": PAUSE,
    "speechtok.shards.ledger": HIDE,
    "speechtok.commands.annotation_work": ANNOTATE,
    "speechtok.shards.annotated": SETTLE,
    "speechtok.commands.derived": DERIVE,
}
KINDS = (
    "kill worker",
    "kill reader",
    "lose node",
    "kill driver",
    "stop driver",
    "kill joining",
    "hide record",
    "fill disk",
    "jump clock",
    "s3",
    "s3 kill worker",
)
KILLS_DRIVER = ("kill driver", "stop driver", "kill joining", "hide record")


class Arena:
    """Two nodes and what there is to break; close it at the end."""

    def __init__(self, folder: Path, *, recordings: int = 14) -> None:
        self.folder = folder
        self._stack = contextlib.ExitStack()
        self._jump = folder / "jump"
        self._hidden = folder / "hidden"
        try:
            self._build(recordings)
        except BaseException:
            self.close()
            raise

    def _build(self, recordings: int) -> None:
        folder = self.folder
        self._environment(folder)
        server = self._stack.enter_context(s3_server())
        self.proxy = Proxy(server)
        self._stack.callback(self.proxy.close)
        os.environ["AWS_ENDPOINT_URL"] = self.proxy.address
        create_bucket(server, "arena")
        self.disk = self._small_disk(folder / "disk")
        self.corpus = self._write_corpus(folder / "corpus", recordings)
        tokenize_corpus(
            self.corpus, folder / "reference", tokenizer="slow", settings=SETTINGS, run=RunSettings(workers=1)
        )
        self.reference = content_of(folder / "reference")
        self._start_cluster()

    def close(self) -> None:
        self._stack.close()

    def trial(self, kind: str, seed: int) -> dict[str, object]:
        """Break one job; return what happened. Raises `AssertionError` when the result is not what it must be."""
        chance, begun = random.Random(f"{kind} {seed}"), time.monotonic()
        output = self._output(kind, seed)
        injected: list[str] = []
        codes: list[int] = []
        wanted = chance.randint(1, 3)
        if kind == "s3":
            self.proxy.reset()
            self.proxy.fault = _s3_fault(chance)
        try:
            while not codes or codes[-1] != 0:
                assert len(codes) < MAX_STARTS, f"{codes} after {injected}"
                left = wanted - len(injected) if kind != "s3" else 0
                if kind in KILLS_DRIVER:
                    left = min(left, 1)  # one that is ending already is left alone
                code, done = self._run(output, kind, left, chance)
                codes.append(code)
                injected += done
            if self._hidden.exists():  # what reappears at the end is tidied up by the same command
                time.sleep(HIDDEN_SECONDS)
                self._hidden.unlink()
                codes.append(self._run(output, kind, 0, chance)[0])
        finally:
            faults = dict(self.proxy.counts) if kind == "s3" else {}
            self.proxy.fault = lambda number, method, path: None
            self._jump.write_text("0")
            self.restore_nodes()
        self._check(output)
        if not injected and not faults.keys() - {"passed"}:  # the job was faster; once more, at other moments
            assert seed < MAX_REPEATS * 1000, f"{kind}: nothing was injected into {MAX_REPEATS} jobs"
            return self.trial(kind, seed + 1000)
        return {
            "kind": kind,
            "seed": seed,
            "injected": injected or faults,
            "exit_codes": codes,
            "seconds": round(time.monotonic() - begun, 1),
        }

    # --- surroundings ---

    def _environment(self, folder: Path) -> None:
        site = write_site(folder / "site", CHANGES, prelude=CLOCK)
        self._jump.write_text("0")
        root = Path(__file__).parents[2]
        cards = folder / "cards"
        cards.mkdir()
        card = replace(find_card("dmel_16k")[0], name="slow", architecture={"fft_length": 1 << 16})
        card.write(cards / "slow.yaml")
        before = dict(os.environ)
        os.environ |= ENVIRONMENT | {
            "CLOCK_JUMP": str(self._jump),
            "HIDDEN_RECORD": str(self._hidden),
            "JOIN_PAUSE": "0",
            "PYTHONPATH": os.pathsep.join([str(site), str(root)]),
            "SPEECHTOK_CARDS": str(cards),
            "SPEECHTOK_CACHE": str(folder / "cache"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            "OMP_NUM_THREADS": "1",
        }
        self._stack.callback(lambda: (os.environ.clear(), os.environ.update(before)))

    def _write_corpus(self, folder: Path, recordings: int) -> Path:
        folder.mkdir()
        generator = np.random.default_rng(0)
        for number in range(recordings):
            soundfile.write(folder / f"{number:02d} ü.wav", generator.uniform(-0.5, 0.5, 8000), 16000)
        (folder / "bad.wav").write_bytes(b"not audio at all, but words")
        return folder

    def _small_disk(self, folder: Path) -> Path | None:
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
        if (
            os.geteuid()
            or shutil.which("mount") is None
            or subprocess.run(mount, capture_output=True, timeout=300).returncode
        ):
            return None
        self._stack.callback(subprocess.run, ["umount", "-l", str(folder)], check=False)
        return folder

    def _start_cluster(self) -> None:
        from ray.cluster_utils import Cluster

        store = 80 * 1024 * 1024
        self._node = {"num_cpus": 1, "object_store_memory": store}
        self.cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 1, "object_store_memory": store, "include_dashboard": False},
        )
        self._stack.callback(self.cluster.shutdown)
        self.second = None
        self.restore_nodes()

    def restore_nodes(self) -> None:
        """Add the second node where it is missing; a machine that is busy may need several tries."""
        for last in (False, False, True):
            if self.second is not None:
                return
            try:
                self.second = self.cluster.add_node(**self._node)
            except Exception:  # Ray gives up after 30 s
                if last:
                    raise

    def change_nodes(self) -> str:
        """Lose the second node, or add it where it is missing."""
        if self.second is None:
            self.restore_nodes()
            return "node added"
        self.cluster.remove_node(self.second, allow_graceful=False)
        self.second = None
        return "node lost"

    def _output(self, kind: str, seed: int) -> Path | StorePath:
        name = f"{kind.replace(' ', '-')}-{seed}"
        if kind.startswith("s3"):
            return as_path(f"s3://arena/{name}")
        if kind == "fill disk":
            assert self.disk is not None
            for path in self.disk.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            return self.disk / name
        return self.folder / name

    # --- one start of the command, and what is done to it ---

    def _run(self, output: object, kind: str, left: int, chance: random.Random) -> tuple[int, list[str]]:
        log = self.folder / "driver.log"
        with log.open("w") as file:
            driver = subprocess.Popen(
                [*COMMAND, str(self.corpus), str(output), *OPTIONS, "--ray", self.cluster.address],
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "JOIN_PAUSE": "0.2" if kind == "kill joining" else "0"},
            )
        done: list[str] = []
        deadline = time.monotonic() + START_SECONDS
        has_begun = False
        try:
            while driver.poll() is None:
                assert time.monotonic() < deadline, f"{kind}: no end after {done}: {log.read_text()[-2000:]}"
                has_begun = has_begun or bool(workers())
                if has_begun and len(done) < left:
                    time.sleep(chance.uniform(0.0, 1.5))
                    if (what := self._inject(kind, driver, output, chance)) is not None:
                        done.append(what)
                time.sleep(0.05)
        finally:
            if driver.poll() is None:
                driver.kill()
            driver.wait(timeout=60)
        ballast = self.disk / "ballast" if self.disk else None
        if ballast is not None:
            ballast.unlink(missing_ok=True)
        expected = {0}
        if kind in KILLS_DRIVER and kind != "stop driver":
            expected.add(-signal.SIGKILL)
        if kind == "stop driver":  # SIGTERM ends a process at once while Python itself starts or ends
            expected |= {143, -signal.SIGTERM}
        if kind in ("fill disk", "s3"):
            expected.add(1)
        assert driver.returncode in expected, f"{driver.returncode}: {log.read_text()[-3000:]}"
        return driver.returncode, done

    def _inject(
        self, kind: str, driver: subprocess.Popen[bytes], output: object, chance: random.Random
    ) -> str | None:
        if kind.endswith("kill worker") and (found := workers()):
            return kill(chance.choice(found), "worker")
        if kind == "kill reader" and (readers := workers("reader_process")):
            return kill(chance.choice(readers), "reader")
        if kind == "kill driver" or (kind == "kill joining" and _is_joining(output)):
            driver.kill()
            return f"kill -9 {'driver' if kind == 'kill driver' else 'driver while it joins'}"
        if kind == "hide record" and (records := _records(output)):
            name = chance.choice(records).name
            self._hidden.write_text(f"{name} {time.monotonic() + HIDDEN_SECONDS}")
            driver.kill()
            return f"{name} hidden for {HIDDEN_SECONDS:g} s and driver killed"
        if kind == "stop driver":
            driver.send_signal(signal.SIGTERM)
            return "SIGTERM driver"
        if kind == "jump clock":
            seconds = chance.choice([-86400, -3600, 3600, 864000])
            self._jump.write_text(str(seconds))
            return f"clock jumps by {seconds} s"
        if kind == "lose node":
            return self.change_nodes()
        if kind == "fill disk" and self.disk is not None:
            free = shutil.disk_usage(self.disk).free - chance.randint(0, 8) * 1024
            with contextlib.suppress(OSError):  # full already: the job has written meanwhile
                (self.disk / "ballast").write_bytes(bytes(max(free, 0)))
            return "disk full"
        return None

    def _check(self, output: Path | StorePath) -> None:
        found = content_of(output)
        assert found == self.reference, sorted(set(found.items()) ^ set(self.reference.items()))
        layout = Layout(output)
        assert verify(layout).problems == ()
        plan = read_plan(layout)
        totals = Ledger.read(layout, plan).totals
        assert totals.rows + totals.quarantined == len(plan.rows)


def content_of(output: Path | StorePath) -> dict[str, str]:
    """Return the sha256 of every file of a dataset but the local facts; temporary files would show here."""
    if isinstance(output, StorePath):
        paths = list(output.files())
    else:
        paths = [path for path in output.rglob("*") if path.is_file()]
    found = {path.relative_to(output).as_posix(): path for path in paths}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in found.items()
        if name not in LOCAL_FACTS
    }


def _is_joining(output: Path | StorePath) -> bool:
    """Return whether files are being made of parts."""
    return (output / "data").is_dir() and not (output / "manifest.parquet").exists()


def _records(output: Path | StorePath) -> list[Path]:
    return sorted(Path(str(output), ".speechtok", "parts").glob("*.json"))


def workers(name: str = "_RayWorker") -> list[psutil.Process]:
    """Return processes of that name that descend from this one."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if name in " ".join(process.cmdline() or [process.name()]):
                found.append(process)
    return found


def kill(process: psutil.Process, what: str) -> str | None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()
        return f"kill -9 {what}"
    return None


def _s3_fault(chance: random.Random):
    share = chance.uniform(0.02, 0.12)
    kinds = ("500", "503", "slow", "reset", "lost", "hang")
    return lambda number, method, path: chance.choice(kinds) if chance.random() < share else None
