"""Small C kernels, compiled on first use where a C compiler is found; everything works without one.

Each kernel is one C file beside the module that uses it, which also holds the same computation in
plain torch. The compiled library is kept in the user's cache under a name made from the source, the
compiler and the processor, so that machines that share a home directory do not share machine code, and
from its own sha256, which is compared before it is loaded: a library that was cut or changed is compiled anew.

Only the user may write to the cache: one that is somebody else's, that others can write to or that is a link
is not used, and kernels are then compiled for the process alone. Likewise a library in it.

Environment: `SPEECHTOK_NATIVE=0` keeps to plain torch; `CC` names the compiler; `XDG_CACHE_HOME`
moves the cache. Compilers are looked for in absolute folders of `PATH` only.

Contents: `load_kernel`, `spread`, `available`.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)

_FLAGS = ("-O3", "-shared", "-fPIC", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math")
_TUNING = (("-march=native", "-mprefer-vector-width=512"), ("-march=native",), ("-mcpu=native",), ())
"""Tried in turn: the widest vectors of this processor first, portable code last."""
_COMPILE_SECONDS = 60


def available() -> bool:
    """Return whether kernels are wanted and a C compiler is found."""
    return os.environ.get("SPEECHTOK_NATIVE", "1") != "0" and _compiler() is not None


@functools.cache
def load_kernel(source: Path) -> ctypes.CDLL | None:
    """Return the compiled form of a C file, or None when it cannot be had; never raises for that.

    Args:
        source: The C file.

    Returns:
        The library, whose functions release Python's lock while they run.
    """
    if not available():
        return None
    try:
        with _folder() as folder:
            return ctypes.CDLL(str(_library(source, folder)))
    except (OSError, subprocess.SubprocessError) as error:
        logger.info("No native %s (%s); plain torch is used, which is slower.", source.name, error)
        return None


def spread(function: Callable[..., None], fixed: tuple[object, ...], blocks: int, threads: int) -> None:
    """Call `function(*fixed, first, stop)` for ranges that cover all blocks, each in a thread of its own.

    Args:
        function: From a library of `load_kernel`.
        fixed: The same for every range.
        blocks: Count of blocks, which are independent of each other.
        threads: At most this many; 1 runs in the caller's.
    """
    threads = min(threads, blocks)
    if threads <= 1:
        function(*fixed, 0, blocks)
        return
    bounds = [blocks * i // threads for i in range(threads + 1)]
    calls = [_pool(threads).submit(function, *fixed, bounds[i], bounds[i + 1]) for i in range(threads)]
    for call in calls:
        call.result()


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="kernel")


os.register_at_fork(after_in_child=_pool.cache_clear)  # its threads are the parent's


def _search_path() -> str:
    """Return `PATH` without what depends on the current folder."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(folder for folder in folders if Path(folder).is_absolute())


def _compiler() -> str | None:
    """Return the absolute path of the compiler."""
    for name in [os.environ["CC"]] if os.environ.get("CC") else ["cc", "gcc", "clang"]:
        found = shutil.which(name, path=_search_path())
        if found is not None and Path(found).is_absolute():
            return found
    return None


@contextmanager
def _folder() -> Iterator[Path]:
    """Yield where libraries lie: the cache, or a folder for this process alone where the cache is not safe."""
    try:
        place = _cache_folder()
        held = _open_private(place)
    except (OSError, RuntimeError) as error:  # the latter where there is no home
        logger.info("The kernel cache is not used (%s); kernels are compiled for this process.", error)
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    try:
        pinned = Path(f"/proc/self/fd/{held}")  # the folder that was looked at, whatever its name becomes
        yield pinned if pinned.exists() else place
    finally:
        os.close(held)


def _open_private(folder: Path) -> int:
    """Return a descriptor of a folder, made where there is none, that belongs to the user and to nobody else.

    Raises:
        OSError: when it is another user's, others may write to it, or it is no folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not _is_own(os.fstat(held)):
            raise PermissionError(f"'{folder}' is another user's, or others may write to it")
        os.fchmod(held, 0o700)
    except BaseException:
        os.close(held)
        raise
    return held


def _is_own(status: os.stat_result) -> bool:
    """Return whether a file or folder is the user's, and nobody else may write to it."""
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _library(source: Path, folder: Path) -> Path:
    """Return the path of the compiled library, compiling it unless the folder has it whole."""
    text = source.read_bytes()
    key = hashlib.sha256(b"\0".join([text, str(_compiler()).encode(), _processor(), repr(_FLAGS).encode()]))
    stem = f"{source.stem}-{key.hexdigest()[:16]}-"
    for path in sorted(folder.glob(f"{stem}*.so")):
        if _digest(path) == path.stem.removeprefix(stem):
            return path
    return _compile(source.absolute(), folder, stem)


def _digest(path: Path) -> str | None:
    """Return the sha256 of a library's content; None for one that somebody else may have put there."""
    try:
        held = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(held, "rb") as file:
        status = os.fstat(held)
        if not stat.S_ISREG(status.st_mode) or not _is_own(status):
            return None
        return hashlib.file_digest(file, "sha256").hexdigest()


def _compile(source: Path, folder: Path, stem: str) -> Path:
    """Write the library under a temporary name, then rename it: processes may race for it."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        built = Path(place) / "kernel.so"  # which the compiler finds in its current folder
        for tuning in _TUNING:
            command = [str(_compiler()), *_FLAGS, *tuning, "-o", built.name, str(source)]
            result = subprocess.run(  # noqa: S603 - fixed flags and our own source
                command,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_COMPILE_SECONDS,
                check=False,
                cwd=place,
                env={**os.environ, "PATH": _search_path()},
            )
            if result.returncode == 0:
                return _keep(built, folder, stem)
    raise OSError(f"the compiler failed: {result.stderr.strip()[:200]}")


def _keep(built: Path, folder: Path, stem: str) -> Path:
    """Give a library its name once its content is on the disk."""
    built.chmod(0o600)
    with built.open("rb") as file:
        target = folder / f"{stem}{hashlib.file_digest(file, 'sha256').hexdigest()}.so"
        os.fsync(file.fileno())
    return built.replace(target)


def _cache_folder() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "speechtok" / "native"


def _processor() -> bytes:
    """Return what tells processors apart, as far as machine code is concerned."""
    lines = [platform.machine(), platform.processor()]
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = ("flags", "Features", "model name", "CPU part")
        lines += sorted({line for line in info.read_text().splitlines() if line.startswith(names)})
    return "\n".join(lines).encode()
