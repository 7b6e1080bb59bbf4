"""Faults while a dataset is annotated on two Ray nodes, and while one is filtered: the same bytes in the end, readable at any moment."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

from speechtok import TokenDataset
from speechtok.shards.verify import verify
from tests.faults.arena import (
    COMMAND,
    MAX_REPEATS,
    MAX_STARTS,
    START_SECONDS,
    Arena,
    content_of,
    kill,
    workers,
)

KINDS = (
    "annotate kill worker",
    "annotate kill driver",
    "annotate kill moving",
    "annotate lose node",
    "filter kill driver",
)
ANNOTATIONS = ("quality", "pitch", "speaking_rate")
PAUSES = {"ANNOTATE_PAUSE": "0.1", "SETTLE_PAUSE": "0.1", "DERIVE_PAUSE": "0.3", "DERIVED_SECONDS": "1.0"}
"""What makes the work long enough to be disturbed, see `CHANGES` of the arena."""


class Annotating:
    """Trials in an arena.

    Args:
        arena: two nodes, and a dataset.
    """

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._codes = _codes(arena.folder / "reference")
        self._references: dict[str, dict[str, str]] = {}
        for what in ("annotate", "filter"):
            output = self._prepare(what, f"{what} reference")
            assert self._run(what, "", output, 0, random.Random(0)) == (0, [])
            self._references[what] = content_of(output)

    def trial(self, kind: str, seed: int) -> dict[str, object]:
        """Break one job; return what happened. Raises `AssertionError` when the result is not what it must be."""
        chance, begun = random.Random(f"{kind} {seed}"), time.monotonic()
        what = kind.split()[0]
        output = self._prepare(what, f"{kind} {seed}".replace(" ", "-"))
        injected: list[str] = []
        codes: list[int] = []
        wanted = chance.randint(1, 3)
        while not codes or codes[-1] != 0:
            assert len(codes) < MAX_STARTS, f"{codes} after {injected}"
            left = min(wanted - len(injected), 1) if "worker" not in kind else wanted - len(injected)
            code, done = self._run(what, kind, output, left, chance)
            codes.append(code)
            injected += done
            if what == "annotate":
                assert _codes(output) == self._codes
        self._arena.restore_nodes()
        found, reference = content_of(output), self._references[what]
        assert found == reference, sorted(set(found.items()) ^ set(reference.items()))
        assert verify(output).problems == ()
        if not injected:  # the job was faster; once more, at other moments
            assert seed < MAX_REPEATS * 1000, f"{kind}: nothing was injected into {MAX_REPEATS} jobs"
            return self.trial(kind, seed + 1000)
        seconds = round(time.monotonic() - begun, 1)
        return {"kind": kind, "seed": seed, "injected": injected, "exit_codes": codes, "seconds": seconds}

    def _prepare(self, what: str, name: str) -> Path:
        """Return where the work goes on: a dataset to annotate, or an empty place."""
        output = self._arena.folder / name
        if what == "annotate":
            shutil.copytree(self._arena.folder / "reference", output)
        return output

    def _command(self, what: str, output: Path) -> list[str]:
        begin = [*COMMAND[:-1], what]
        if what == "filter":
            return [
                *begin,
                str(self._arena.folder / "annotate reference"),
                str(output),
                "--keep",
                "peak_dbfs < -6.022",
            ]
        corpus = ["--corpus", str(self._arena.corpus)]
        return [*begin, str(output), *ANNOTATIONS, *corpus, "--ray", self._arena.cluster.address]

    def _run(
        self, what: str, kind: str, output: Path, left: int, chance: random.Random
    ) -> tuple[int, list[str]]:
        log = self._arena.folder / "driver.log"
        with log.open("w") as file:
            driver = subprocess.Popen(
                self._command(what, output),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | PAUSES,
            )
        done: list[str] = []
        deadline = time.monotonic() + START_SECONDS
        try:
            while driver.poll() is None:
                assert time.monotonic() < deadline, f"{kind}: no end after {done}: {log.read_text()[-2000:]}"
                if len(done) < left and self._has_begun(kind, output):
                    time.sleep(chance.uniform(0.0, 1.0 if kind != "annotate kill moving" else 0.5))
                    if (told := self._inject(kind, driver, chance)) is not None:
                        done.append(told)
                time.sleep(0.02)
        finally:
            if driver.poll() is None:
                driver.kill()
            driver.wait(timeout=60)
        assert driver.returncode in (0, -signal.SIGKILL), f"{driver.returncode}: {log.read_text()[-3000:]}"
        return driver.returncode, done

    def _has_begun(self, kind: str, output: Path) -> bool:
        state = output / ".speechtok"
        if kind == "annotate kill moving":
            return (state / "annotated").is_dir()
        if kind == "filter kill driver":
            return (state / "plan.json").is_file()
        return (state / "annotating").is_dir() and bool(workers())

    def _inject(self, kind: str, driver: subprocess.Popen[bytes], chance: random.Random) -> str | None:
        if kind == "annotate kill worker":
            there = workers()
            return kill(chance.choice(there), "worker") if there else None
        if kind == "annotate lose node":
            return self._arena.change_nodes()
        if driver.poll() is not None:
            return None
        driver.kill()
        return {
            "annotate kill moving": "kill -9 driver while files are moved",
            "annotate kill driver": "kill -9 driver",
            "filter kill driver": "kill -9 driver",
        }[kind]


def _codes(dataset: Path) -> list[tuple[str, bytes]]:
    return [(row["id"], row["mel"].tobytes()) for row in TokenDataset(dataset)]
