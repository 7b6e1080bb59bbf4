"""Small C kernels, compiled on first use where a C compiler is found; everything works without one.

Each kernel is one C file beside the module that uses it, which also holds the same computation in
plain torch. The compiled library is kept in the user's cache under a name made from the source, the
compiler and the processor, so that machines that share a home directory do not share machine code.

Environment: `SPEECHTOK_NATIVE=0` keeps to plain torch; `CC` names the compiler; `XDG_CACHE_HOME`
moves the cache.

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
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
        return ctypes.CDLL(str(_library(source)))
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


def _compiler() -> str | None:
    wanted = os.environ.get("CC")
    return (
        shutil.which(wanted) if wanted else shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    )


def _library(source: Path) -> Path:
    """Return the path of the compiled library, compiling it unless the cache has it."""
    text = source.read_bytes()
    key = hashlib.sha256(b"\0".join([text, str(_compiler()).encode(), _processor(), repr(_FLAGS).encode()]))
    target = _cache_folder() / f"{source.stem}-{key.hexdigest()[:16]}.so"
    if not target.is_file():
        _compile(source, target)
    return target


def _compile(source: Path, target: Path) -> None:
    """Write the library under a temporary name, then rename it: processes may race for it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        built = Path(folder) / "kernel.so"
        for tuning in _TUNING:
            command = [str(_compiler()), *_FLAGS, *tuning, "-o", str(built), str(source)]
            result = subprocess.run(  # noqa: S603 - fixed flags and our own source
                command, capture_output=True, text=True, timeout=_COMPILE_SECONDS, check=False
            )
            if result.returncode == 0:
                built.replace(target)
                return
    raise OSError(f"the compiler failed: {result.stderr.strip()[:200]}")


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "speechtok" / "kernels"


def _processor() -> bytes:
    """Return what tells processors apart, as far as machine code is concerned."""
    lines = [platform.machine(), platform.processor()]
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = ("flags", "Features", "model name", "CPU part")
        lines += sorted({line for line in info.read_text().splitlines() if line.startswith(names)})
    return "\n".join(lines).encode()
