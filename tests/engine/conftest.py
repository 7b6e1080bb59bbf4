import hashlib
import os
from collections import Counter

import pyarrow.parquet as pq
import pytest

from speechtok.shards.joining import restore_parts
from speechtok.shards.layout import Layout
from speechtok.shards.ledger import Ledger
from speechtok.shards.plan import read_plan


@pytest.fixture(scope="session")
def hashes():
    """Return the sha256 of every file that belongs to a dataset: all but local facts about the last run."""

    def collect(output):
        local = {f".speechtok/{name}" for name in ("job.json", "events.jsonl", "lock")}
        files = (path for path in output.rglob("*") if path.is_file())
        found = {path.relative_to(output).as_posix(): path for path in files}
        return {
            name: hashlib.sha256(path.read_bytes()).hexdigest()
            for name, path in found.items()
            if name not in local
        }

    return collect


@pytest.fixture(scope="session")
def account():
    """Check that every planned utterance is in exactly one place; return ids of rows and of failures."""

    def check(output):
        layout = Layout(output)
        plan = read_plan(layout)
        rows = [
            name for path in sorted(layout.data.glob("*")) for name in pq.read_table(path)["id"].to_pylist()
        ]
        failed = [
            name
            for split in plan.splits
            for name in pq.read_table(layout.quarantine(split))["id"].to_pylist()
        ]
        assert Counter(rows + failed) == Counter(plan.rows["id"].to_pylist())
        assert len(set(rows + failed)) == len(rows) + len(failed)
        ledger = Ledger.read(layout, plan)
        assert [failure.id for split in plan.splits for failure in ledger.failures(split)] == failed
        assert len(ledger.parts) == len(plan.tasks)
        assert {file.file for file in ledger.files.values()} == {
            layout.relative(path) for path in layout.data.iterdir()
        }
        assert not layout.parts.exists()
        assert not layout.tmp.exists()
        return rows, failed

    return check


@pytest.fixture(scope="session")
def unjoined():
    """Return a function that takes a finished dataset back to what it was when all its parts were made."""

    def take_apart(output):
        layout = Layout(output)
        plan = read_plan(layout)
        ledger = Ledger.read(layout, plan)
        restore_parts(layout, plan, ledger, list(ledger.files.values()))
        layout.manifest.unlink()
        layout.parts_table.unlink()
        return layout

    return take_apart


@pytest.fixture(scope="session")
def damaged():
    """Recordings that cannot be read, by name."""
    return {"bad/empty.wav": b"", "bad/text.wav": b"not audio at all, but words", "bad/cut.flac": b"fLaC\x00"}


POISON = """
import importlib.abc, importlib.machinery, os, sys, time

def trouble(name):
    if "explode" in name:
        bytearray(8 << 30)
    if "hang" in name:
        import ctypes
        ctypes.PyDLL(None).sleep(60)  # as a decoder that never comes back, with the interpreter's lock
    if "segfault" in name:
        os.kill(os.getpid(), 11)
    for word, times in (("once", 1), ("thrice", 3)):  # as when the system is short of memory
        if word in name:
            mark = os.path.join(os.environ["POISON_MARKS"], os.path.basename(name))
            with open(mark, "a+") as file:
                file.seek(0)
                if len(file.read()) < times:
                    file.write("x")
                    file.flush()
                    os.kill(os.getpid(), 9)

def poison_audio(module):
    read, stream = module.AudioReader.read_waveform, module.open_source
    def read_waveform(self, path, **options):
        trouble(os.path.basename(str(path)))
        return read(self, path, **options)
    module.AudioReader.read_waveform = read_waveform

def poison_segments(module):
    blocks = module.read_blocks
    def read_blocks(path, **options):
        trouble(os.path.basename(str(path)))
        return blocks(path, **options)
    module.read_blocks = read_blocks

def poison_tokenizer(module):
    encode = module.DMelTokenizer.encode
    def poisoned(self, samples, *others, **options):
        if any(len(item) == 12345 for item in samples):  # a length that ends whoever encodes it
            os.kill(os.getpid(), 9)
        return encode(self, samples, *others, **options)
    module.DMelTokenizer.encode = poisoned

TROUBLES = {
    "speechtok.audio.io": poison_audio,
    "speechtok.corpora.segments": poison_segments,
    "speechtok.tokenizers.dmel.tokenizer": poison_tokenizer,
}

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in TROUBLES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module
        def exec_module(module):
            execute(module)
            TROUBLES[name](module)
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""
"""Makes processes that are started find trouble in recordings whose name or length asks for it."""


@pytest.fixture
def poison(tmp_path_factory, monkeypatch):
    """Let every Python process started from here on find trouble where a recording asks for it."""
    folder = tmp_path_factory.mktemp("poison")
    (folder / "sitecustomize.py").write_text(POISON)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ["PYTHONPATH"]]))
    monkeypatch.setenv("POISON_MARKS", str(folder))
