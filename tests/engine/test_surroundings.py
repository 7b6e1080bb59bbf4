"""What a job takes from the folder it is started in, and whom it listens to: nothing, and nobody else."""

import ipaddress
import json
import os
import subprocess
import sys

import pytest

NAMES = """
    abc aiohttp argparse array asyncio bisect click cloudpickle codecs collections colorama concurrent contextlib copy
    ctypes dataclasses datetime enum filelock fractions fsspec functools grpc hashlib heapq http importlib inspect io
    itertools jsonschema json linecache logging math matplotlib msgpack multiprocessing numpy os packaging pandas pathlib
    pickle platform psutil pyarrow queue random ray re requests resource rich scipy select setproctitle shutil signal
    sitecustomize socket soundfile soxr speechtok string struct subprocess tempfile threading time torch traceback types
    typing urllib usercustomize uuid warnings weakref yaml zipfile zlib
"""
"""What processes of a job import, and more."""

JOB = """
import sys
del sys.path[0]  # the working folder, which `python -c` adds and the command `speechtok` does not
import json, psutil
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.engine.observer import Observer
from speechtok.engine.settings import RunSettings

def listening():
    here = psutil.Process()
    for process in (here, *here.children(recursive=True)):
        for item in process.net_connections("inet"):
            if not item.raddr:
                print(json.dumps([process.name(), item.laddr.ip]))

tokenize_corpus(".", sys.argv[1], run=RunSettings(executor=sys.argv[2]), observer=Observer(ready=listening))
"""


@pytest.fixture(scope="module", params=["local", pytest.param("ray", marks=pytest.mark.ray)])
def run_among_modules(request, tmp_path_factory, write_corpus):
    """Run a job in a corpus full of modules; return which of them ran, and name and address of what listens."""
    folder = tmp_path_factory.mktemp("modules")
    corpus, ran = write_corpus(folder / "corpus", {"a.wav": 0.4, "b.wav": 0.4}), folder / "ran"
    for name in NAMES.split():
        (corpus / f"{name}.py").write_text(f"open({str(ran)!r}, 'a').write({name!r} + '\\n')\n")
    done = subprocess.run(
        [sys.executable, "-c", JOB, folder / "out", request.param],
        cwd=corpus,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return ran.read_text() if ran.exists() else "", [json.loads(line) for line in done.stdout.splitlines()]


def test_nothing_runs_from_the_working_folder(run_among_modules):
    ran, _ = run_among_modules
    assert ran == ""


def test_only_this_machine_is_listened_to(run_among_modules, request):
    _, listening = run_among_modules
    for name, address in listening:
        ip = ipaddress.ip_address(address)
        assert (getattr(ip, "ipv4_mapped", None) or ip).is_loopback, f"{name} listens on {address}"
    if "ray" in request.node.name:
        assert len(listening) >= 4  # among them the head, the raylet, a worker and the job itself


@pytest.mark.parametrize(
    ("named", "folder"), [("mine", "."), ("{}/mine", "."), ("{}/mine", "mine"), (".", "mine")]
)
def test_the_users_own_path_counts(tmp_path, run_python, named, folder):
    """Also where it names the working folder."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "own_module.py").write_text("")
    script = """
import os, subprocess, sys
from speechtok.processes import import_paths
environment = {**os.environ, "PYTHONPATH": import_paths()}
subprocess.run([sys.executable, "-P", "-c", "import own_module"], env=environment, cwd="/", check=True)
"""
    paths = os.pathsep.join([named.format(tmp_path), os.environ["PYTHONPATH"]])
    run_python(script, cwd=tmp_path / folder, env={**os.environ, "PYTHONPATH": paths})
