"""What a figure was measured on (processor, versions, date), and where figures go."""

from __future__ import annotations

import json
import os
import platform
import resource
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any


def describe_machine() -> dict[str, Any]:
    """Return date, processor, cores and versions as plain values."""
    model = [line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    names = ("torch", "numpy", "pyarrow", "ray", "soundfile", "soxr")
    return {
        "date": date.today().isoformat(),
        "processor": model[0] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def peak_megabytes() -> float:
    """Return the peak resident memory of this process, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write_figures(figures: dict[str, Any], path: Path | None) -> None:
    """Write plain values as JSON; without a path, nothing."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
