"""DNSMOS: what listeners would say of a recording's quality, by the networks that come with the package speechmos.

Conventions: opinions go from 1 (bad) to 5 (excellent); they are means over windows of 9.01 s. A row that is shorter is repeated until
a window is full, as in the published script.

Source: Reddy, Gopal & Cutler 2022, DNSMOS P.835, arXiv:2110.01763; Reddy, Gopal & Cutler 2021, DNSMOS (P.808), arXiv:2010.15258.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechtok.annotations.base import Annotation, Row
from speechtok.annotations.packages import check_packages
from speechtok.shards.annotated import Column
from speechtok.storage import file_sha256
from speechtok.tokens import StreamInfo

MODEL_RATE = 16000
"""Hz of the audio that the networks take."""
WINDOW = 144160
"""Samples of a window: 9.01 s."""
MODELS = ("sig_bak_ovr.onnx", "model_v8.onnx")
"""Files of the networks, in the package."""
NAMES = {
    "ovrl_mos": "dnsmos",
    "sig_mos": "dnsmos_signal",
    "bak_mos": "dnsmos_background",
    "p808_mos": "dnsmos_p808",
}
"""Column for each opinion, by the package's name for it."""


@dataclass(frozen=True, kw_only=True)
class Dnsmos(Annotation):
    """Opinions on the whole, the speech and the background (P.835), and on the whole as in P.808."""

    name, version, needs = "dnsmos", 1, frozenset({"audio"})

    hop_seconds: float = 1.0
    """From one window to the next, as published; 9.01 looks at everything once, in a ninth of the time for long rows."""

    def __post_init__(self) -> None:
        if not self.hop_seconds >= 0.1:
            raise ValueError(f"`hop_seconds` must be at least 0.1, got {self.hop_seconds:g}.")

    def columns(self, streams: Sequence[StreamInfo]) -> tuple[Column, ...]:
        def column(name: str, description: str, source: str = "DNSMOS P.835, arXiv:2110.01763") -> Column:
            return Column(
                name=name, type="float32", description=description, unit="MOS, 1 to 5", source=source
            )

        return (
            column("dnsmos", "overall quality that listeners would state"),
            column("dnsmos_signal", "quality of the speech itself"),
            column("dnsmos_background", "quality of the background: how little it disturbs"),
            column("dnsmos_p808", "overall quality in a test of one question", "DNSMOS, arXiv:2010.15258"),
        )

    def files(self) -> Mapping[str, str]:
        check_packages(self.name, ("speechmos", "onnxruntime", "librosa"))
        return dict(_files())

    def __call__(self, row: Row) -> Mapping[str, Any]:
        from speechmos import dnsmos

        samples = np.clip(row.at(MODEL_RATE), -1, 1)
        found = [dnsmos.run(window, MODEL_RATE, return_df=False) for window in self._windows(samples)]
        return {column: float(np.mean([item[name] for item in found])) for name, column in NAMES.items()}

    def _windows(self, samples: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        if len(samples) < WINDOW:
            samples = np.resize(samples, WINDOW)
        for start in range(0, len(samples) - WINDOW + 1, round(self.hop_seconds * MODEL_RATE)):
            yield samples[start : start + WINDOW]


@cache
def _files() -> tuple[tuple[str, str], ...]:
    """Return the sha256 of each network's file."""
    place = find_spec("speechmos")
    folder = Path(str(place.origin)).parent / "dnsmos_models" if place else Path()
    return tuple((name, file_sha256(folder / name)) for name in MODELS)
