"""Runs of any trainer in two processes: `python -m tests.training.processes MODULE FOLDER ARGUMENT…` is one of them.

The module is `package.module:function`, and the function trains when it is called with the folder and the arguments.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

SECONDS = 240


def in_two_processes(module: str, folder: Path, *arguments: str) -> None:
    """Train in two processes that share each batch, and wait for them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "tests.training.processes", module, str(folder), *arguments]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            words,
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for rank in range(2)
    ]
    try:
        for process in started:
            told, _ = process.communicate(timeout=SECONDS)
            assert process.returncode == 0, told.decode()[-3000:]
    finally:
        for process in started:
            process.kill()
            process.wait()


@contextmanager
def float64() -> Iterator[None]:
    """Have trainers compute in float64: networks that are made, and examples that are drawn."""
    import torch

    from speechtok.training.batches import Batches

    def doubled(batches: Batches, step: int) -> Any:
        parts, unusable = drawn(batches, step)
        for part in parts:
            part.update({name: value.double() for name, value in part.items() if value.is_floating_point()})
        return parts, unusable

    drawn = Batches.__getitem__
    Batches.__getitem__ = doubled  # type: ignore[method-assign, assignment]
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        Batches.__getitem__ = drawn  # type: ignore[method-assign]


def main() -> None:
    import torch

    torch.set_num_threads(1)
    module, folder, *arguments = sys.argv[1:]
    with float64():
        name, _, function = module.partition(":")
        getattr(import_module(name), function)(Path(folder), *arguments)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
