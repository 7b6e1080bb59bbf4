"""How much code does an utterance pass on its way from a corpus to its row? `python benchmarks/walk_of_an_utterance.py [--verbose] [--json FILE]`.

Every call of a function of speechtok is noted, in this process and in those that it starts, while a folder becomes a token dataset with
one worker. What an utterance passes are the functions that are called more often with each further utterance, here in shards of
their own: listing, measuring, planning, reading, encoding, writing, committing, joining. What a job does once is not counted. A
function is counted with those defined in it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile
from machine import describe_machine, write_figures

import speechtok
from speechtok.engine import executor
from speechtok.engine.settings import JobSettings, RunSettings

PACKAGE = Path(speechtok.__file__).parent
FEW, MANY = 2, 12
"""Utterances of the two jobs that are compared."""
NOTE = "SPEECHTOK_WALK"
"""Variable with the file that calls are noted in."""
HOOK = """
import os, sys, threading
if os.environ.get({variable!r}):
    file = os.open(os.environ[{variable!r}], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    def note(frame, event, argument, package={package!r}, file=file, write=os.write):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(package):
            write(file, f"{{code.co_filename[len(package):]}} {{code.co_qualname.split('.<locals>')[0]}}\\n".encode())
    threading.setprofile(note)
    sys.setprofile(note)
"""
"""What each process runs first."""


def calls(count: int) -> Counter[tuple[str, str]]:
    """Return how often each function is called in a job of so many utterances, by file and name."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "corpus").mkdir()
        for number in range(count):
            noise = np.random.default_rng(number).standard_normal(8000) * 0.1
            soundfile.write(folder / "corpus" / f"{number:02d}.wav", noise, 16000, subtype="PCM_16")
        hook = HOOK.format(variable=NOTE, package=f"{PACKAGE}/")
        (folder / "sitecustomize.py").write_text(hook)
        sys.path.insert(0, name)
        os.environ[NOTE] = str(folder / "calls")
        try:
            exec(hook, {})
            settings, run = JobSettings(shard_seconds=0.5), RunSettings(workers=1)
            report = speechtok.tokenize(folder / "corpus", folder / "out", settings=settings, run=run)
        finally:
            sys.setprofile(None)
            sys.path.remove(name)
            del os.environ[NOTE]
        assert report.rows == report.shards == count, report
        lines = (folder / "calls").read_text().splitlines()
    return Counter((file, function) for file, _, function in (line.partition(" ") for line in lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--verbose", action="store_true", help="name the functions")
    arguments = parser.parse_args()
    executor.STATUS_SECONDS = 3600.0  # what workers tell now and then would be counted or not by their speed
    calls(1)  # what is loaded or kept by the first job of a process is not counted
    few, many = calls(FEW), calls(MANY)
    passed = dict[str, list[str]]()
    for file, function in sorted(many):
        if many[file, function] - few[file, function] >= MANY - FEW:
            passed.setdefault(file, []).append(function)
    functions = sum(map(len, passed.values()))
    print(f"{len(passed)} files, {functions} functions")
    for file, names in passed.items():
        print(f"    {file}: {', '.join(names) if arguments.verbose else len(names)}")
    walk = {file: len(names) for file, names in passed.items()}
    figures = {"files": len(passed), "functions": functions, "walk": walk}
    write_figures({**describe_machine(), **figures}, arguments.json)


if __name__ == "__main__":
    main()
