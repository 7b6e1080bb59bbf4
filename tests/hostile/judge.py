"""Run commands of speechtok on hostile inputs, each in a process of its own, and look at what they did.

The process that imports this has torch and pyarrow ready, and forks for each command, so that a trial costs no
start. A trial may take 20 s, and no process of it more than 2 GB of memory.
"""

from __future__ import annotations

import base64
import ctypes
import os
import re
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from io import BytesIO
from pathlib import Path

import pyarrow.parquet
import soundfile
import torch

import speechtok.commands.decode
import speechtok.commands.tokenize
import speechtok.engine.executor
import speechtok.report
import speechtok.shards.statistics
from speechtok.cli import main
from speechtok.errors import SpeechtokError

SECONDS = 20.0
"""How long a trial may take: of processor time, and of time by the clock as far as the machine is free."""
BYTES = 2 << 30
"""Memory a process of a trial may take."""
SECRET = "hf_q7CanaryW2xKzTokenOfNobody0"
"""What must appear nowhere; of even length, so that it survives as 16-bit samples."""
VIOLATIONS = (
    "code executed",
    "written outside",
    "secret told",
    "raw escape",
    "traceback",
    "died",
    "too slow",
    "too much memory",
    "wrong usage",
)
"""What no trial may do; "wrong usage" is the exit code 2 for what was no fault of the command line."""
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xaa-\xae]|\xe2\x81[\xa6-\xa9]")
_FORGED = {
    "report.html": re.compile(rb"<script>FORGED|<img src=x onerror|\x1b"),
    "README.md": re.compile(rb"<script>FORGED|<img src=x onerror|^## FORGED|^forged:|\x1b", re.MULTILINE),
}
_QUOTED = re.compile(rb"(?<!`)(`+)(?!`)[^\n]*?(?<!`)\1(?!`)|\\[!-/:-@\[-`{-~]")
"""What Markdown shows as it stands: code within a line, and signs behind a backslash."""
_TRACE = re.compile(rb"Traceback \(most recent call last\)|^Exception ignored in|panicked at", re.MULTILINE)
_RUNNING = ("--workers", "1", "--timeout-seconds", "5", "--memory-mb", "512")


@dataclass(frozen=True)
class Place:
    """The folders of one trial; whatever is written elsewhere below `root` is written outside."""

    root: Path

    @property
    def inside(self) -> Path:
        """The hostile input: `corpus…`, `dataset`, `checkpoint`, `tokenizer`."""
        return self.root / "a" / "b" / "in"

    @property
    def out(self) -> Path:
        """Where commands are told to write."""
        return self.root / "a" / "b" / "out"

    @property
    def outside(self) -> Path:
        """Files that nobody asked for: secrets, and what an attacker would like to have changed."""
        return self.root / "outside"

    @property
    def trap(self) -> Path:
        """A file that exists once code of an input has run."""
        return self.root / "trap"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What one command did with one input."""

    case: str
    kind: str
    command: str
    exit: int | None
    """Exit code, that of a signal negative; None when it had to be stopped."""
    seconds: float
    """By the clock."""
    processor_seconds: float
    """Of its processes together."""
    peak_mb: int
    """The most memory that one of its processes took."""
    said: str
    """The last line it wrote, shortened."""
    violations: list[str] = field(default_factory=list)


def arguments_of(command: str, place: Place, corpus: str, tokenizer: str) -> list[str]:
    """Return the command line of a trial."""
    tokenizer = tokenizer or str(place.inside / "tokenizer")
    dataset, out = str(place.inside / "dataset"), place.out
    folder = place.inside / "checkpoint"
    checkpoint = ["--checkpoint", str(folder)] if folder.exists() else []
    return {
        "tokenize": ["tokenize", str(place.inside / corpus), str(out / "tokens"), *_RUNNING],
        "retry": ["retry", dataset, *_RUNNING],
        "stats": ["stats", dataset, "--html", str(out / "report.html")],
        "decode": ["decode", dataset, str(out / "wav")],
        "verify": ["verify", dataset],
        "load": ["load", tokenizer, *checkpoint],
        "check": ["check", tokenizer, *checkpoint],
        "run": [
            "run",
            str(place.inside / "recipe.yaml"),
            "--corpus",
            str(place.inside / corpus),
            "--output",
            str(out / "tokens"),
        ],
        "import": ["import", str(place.inside / corpus), str(out / "tokens"), "--tokenizer", tokenizer],
    }[command]


def attempt(case: str, kind: str, command: str, place: Place, arguments: list[str]) -> Trial:
    """Run a command line in a process of its own, stop it beyond the bounds, and look at what it did."""
    shutil.rmtree(place.out, ignore_errors=True)
    for folder in (place.out, place.root / "home", place.root / "tmp", place.root / "cwd"):
        folder.mkdir(parents=True, exist_ok=True)
    ours = {place.out, place.root / "home", place.root / "tmp"}
    if command == "retry":
        ours.add(place.inside / "dataset")
    before = _listing(place.root, ours)
    log = place.root / "tmp" / f"{command}.log"
    log.touch()
    begun = log.stat().st_ctime_ns
    patience = SECONDS * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    exit_code, seconds, processor, peak = _watched(_fork(arguments, place, log), patience)
    told = log.read_bytes()
    log.unlink()
    lines = told.decode(errors="replace").strip().splitlines() or [""]
    wrong = list(_looked_at(place, told, before, ours, begun))
    if seconds > patience or processor > SECONDS:
        wrong.append("too slow")
    if peak > BYTES:
        wrong.append("too much memory")
    if exit_code is not None and exit_code < 0 and processor <= SECONDS:
        wrong.append("died")
    if exit_code == 2 and command != "run":  # a recipe is a request in writing
        wrong.append("wrong usage")
    return Trial(
        case=case,
        kind=kind,
        command=command,
        exit=exit_code,
        seconds=round(seconds, 2),
        processor_seconds=round(processor, 2),
        peak_mb=peak >> 20,
        said=ascii(lines[-1][:300].replace(str(place.root), "…"))[1:-1],
        violations=wrong,
    )


def _fork(arguments: list[str], place: Place, log: Path) -> int:
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT)
        for number in (1, 2):
            os.dup2(output, number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(place.root / "cwd")
        home = {"HOME": "home", "TMPDIR": "tmp", "XDG_CACHE_HOME": "home/.cache", "HF_HOME": "home/hub"}
        os.environ.update({name: str(place.root / folder) for name, folder in home.items()})
        os.environ.update({"HF_TOKEN": SECRET, "AWS_SECRET_ACCESS_KEY": SECRET})
        space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (space + 4 * BYTES, space + 4 * BYTES))  # spares the machine
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (int(SECONDS) + 1, int(SECONDS) + 5))
        code = _load(arguments[1:]) if arguments[0] == "load" else main.run(arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _load(arguments: list[str]) -> int:
    """Call `load_tokenizer` as a user's own program does."""
    name, *option = arguments
    try:
        speechtok.load_tokenizer(name, checkpoint=option[1] if option else None)
    except (SpeechtokError, ValueError) as error:
        sys.stderr.write(f"{type(error).__name__}: {str(error)!a}\n")
        return 1
    return 0


def _watched(child: int, patience: float) -> tuple[int | None, float, float, int]:
    """Wait for a process, and end it beyond a time or the bound on memory.

    Returns:
        Its exit code, the seconds it took by the clock and of the processor, and the most memory of a process.
    """
    begun, before, most, status = time.monotonic(), _processor_seconds(), 0, None
    while status is None:
        done, found, usage = os.wait4(child, os.WNOHANG)
        if done:
            status, most = found, max(most, usage.ru_maxrss << 10)
            break
        most = max([most, *map(_memory, _family(child))])
        if time.monotonic() - begun > patience or most > BYTES:
            break
        time.sleep(0.02)
    seconds = time.monotonic() - begun
    for process in _family(os.getpid())[1:]:
        os.kill(process, signal.SIGKILL)
    while True:  # those of the child too, which are ours once it is dead
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break
    code = None if status is None else os.waitstatus_to_exitcode(status)
    return code, seconds, _processor_seconds() - before, most


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _family(process: int) -> list[int]:
    try:
        text = Path(f"/proc/{process}/task/{process}/children").read_text()
    except OSError:
        return [process]
    return [process, *(other for child in text.split() for other in _family(int(child)))]


def _memory(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        return 0


def _listing(root: Path, ours: set[Path]) -> dict[str, tuple[int, ...]]:
    """Return all that lies below a folder, but for the places that a command may write to."""
    found = {}
    pending = [root]
    while pending:
        folder = pending.pop()
        for entry in os.scandir(folder):
            if Path(entry.path) in ours:
                continue
            about = entry.stat(follow_symlinks=False)
            is_folder = entry.is_dir(follow_symlinks=False)
            found[entry.path] = (
                (about.st_mode, about.st_ino)
                if is_folder
                else (about.st_mode, about.st_ino, about.st_size, about.st_mtime_ns)
            )
            if is_folder:
                pending.append(Path(entry.path))
    return found


def _looked_at(
    place: Place, told: bytes, before: dict[str, tuple[int, ...]], ours: set[Path], begun: int
) -> Iterator[str]:
    if place.trap.exists():
        place.trap.unlink()
        yield "code executed"
    if {name for name in _listing(place.root, ours).items() if not name[0].endswith("/trap")} != set(
        before.items()
    ):
        yield "written outside"
    if _CONTROL.search(told):
        yield "raw escape"
    if _TRACE.search(told):
        yield "traceback"
    secret = SECRET.encode()
    written = [
        path for folder in ours for path in folder.rglob("*") if path.is_file() and not path.is_symlink()
    ]
    changed = {path: found for path in written if (found := path.stat()).st_ctime_ns >= begun}
    contents = {path: path.read_bytes() for path, found in changed.items() if found.st_size < 64 << 20}
    if secret in told or any(secret in content for content in contents.values()):
        yield "secret told"
    for path, content in contents.items():
        if path.suffix == ".md":
            content = _QUOTED.sub(b"", content)
        if path.name in _FORGED and _FORGED[path.name].search(content):
            yield "raw escape"
        if path.suffix == ".html" and any(secret in samples for samples in _sounds(content)):
            yield "secret told"


def _sounds(page: bytes) -> Iterator[bytes]:
    """Yield the samples of the sounds in a page."""
    for data in re.findall(rb"data:audio/[^;]*;base64,([A-Za-z0-9+/=]+)", page):
        try:
            samples, _ = soundfile.read(BytesIO(base64.b64decode(data)), dtype="int16")
        except soundfile.LibsndfileError:
            continue
        yield samples.tobytes()


def prepare() -> None:
    """Be ready to fork: one thread, and what trials leave behind is ours to end."""
    os.environ.update({"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"})
    for name in ("datasets", "jinja2", "matplotlib.font_manager", "speechtok.report.page", "transformers"):
        import_module(name)  # which take seconds, some of them in a new home
    torch.set_num_threads(1)
    pyarrow.set_cpu_count(1)
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
