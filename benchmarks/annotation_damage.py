"""How often damage moves the column that should tell of it: `python benchmarks/annotation_damage.py FOLDER… [--output FILE]`.

Each recording is damaged in four ways, and annotated before and after: white noise 10 dB below the speech, clipping at a quarter of the peak,
a band limit of 4 kHz (to 8 kHz and back), 12 dB less level. For every damage the expected columns and their directions are fixed
below, the one that should tell of it first; columns that a softer recording should leave alone are given too, with how far they move.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe_machine, write_figures
from speechtok.annotations import Annotation, Row, load_annotation
from speechtok.audio.io import read_waveform
from speechtok.audio.resample import resample
from speechtok.errors import AnnotationError, AudioError

Samples = np.ndarray[Any, np.dtype[np.float32]]
MANY, SHORTEST, LONGEST, LOWEST_RATE = 50, 1.0, 10.0, 16000


def stored(samples: Samples) -> Samples:
    """Return samples as a file of 16 bits holds them."""
    return (np.clip(np.rint(samples * 32768), -32768, 32767) / 32768).astype(np.float32)


def noisy(samples: Samples, rate: int) -> Samples:
    noise = np.random.default_rng(len(samples)).standard_normal(len(samples))
    return samples + (noise * np.sqrt((samples**2).mean() / 10)).astype(np.float32)


def clipped(samples: Samples, rate: int) -> Samples:
    top = np.abs(samples).max() / 4
    return np.clip(samples, -top, top)


def band_limited(samples: Samples, rate: int) -> Samples:
    return resample(resample(samples, rate, 8000), 8000, rate)[: len(samples)]


def softer(samples: Samples, rate: int) -> Samples:
    return samples * np.float32(10 ** (-12 / 20))


DAMAGES: dict[str, tuple[Callable[[Samples, int], Samples], dict[str, int]]] = {
    "noise, SNR 10 dB": (noisy, {"snr_db": -1, "silence_share": -1, "dnsmos_background": -1, "dnsmos": -1}),
    "clipping at a quarter of the peak": (
        clipped,
        {"clipping_share": 1, "peak_dbfs": -1, "dnsmos_signal": -1},
    ),
    "band limit of 4 kHz": (band_limited, {"bandwidth_hz": -1}),
    "12 dB softer": (softer, {"loudness_lufs": -1, "peak_dbfs": -1}),
}
STEADY = ("snr_db", "bandwidth_hz", "clipping_share", "silence_share", "speech_share")
"""Columns that a softer recording leaves alone."""


def recordings(folders: list[Path]) -> list[tuple[str, Samples, int]]:
    """Return the first recordings of the folders, taken in turn, each name once."""
    listed = [sorted(path for path in folder.rglob("*") if path.is_file()) for folder in folders]
    found: dict[str, tuple[str, Samples, int]] = {}
    for turn in range(max(map(len, listed))):
        for paths in listed:
            if turn >= len(paths) or len(found) == MANY or paths[turn].stem in found:
                continue
            try:
                waveform = read_waveform(paths[turn])
            except AudioError:
                continue
            if (
                waveform.sample_rate >= LOWEST_RATE
                and waveform.duration >= SHORTEST
                and waveform.samples.any()
            ):
                samples = stored(waveform.samples[: round(LONGEST * waveform.sample_rate)])
                found[paths[turn].stem] = paths[turn].name, samples, waveform.sample_rate
    return list(found.values())


def measured(annotations: list[Annotation], name: str, samples: Samples, rate: int) -> dict[str, Any]:
    row = Row(id=name, duration=len(samples) / rate, waveform=samples, sample_rate=rate)
    values: dict[str, Any] = {}
    for annotation in annotations:
        with suppress(AnnotationError):
            values |= annotation(row)
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    annotations = [load_annotation("quality"), load_annotation("dnsmos", hop_seconds=9.01)]
    clips = recordings(arguments.folders)
    whole = {name: measured(annotations, name, samples, rate) for name, samples, rate in clips}
    figures: dict[str, Any] = {}
    for damage, (make, directions) in DAMAGES.items():
        after = {
            name: measured(annotations, name, stored(make(samples, rate)), rate)
            for name, samples, rate in clips
        }
        moved = {}
        for column, direction in directions.items():
            pairs = [(whole[name].get(column), after[name].get(column)) for name in whole]
            known = [(one, other) for one, other in pairs if one is not None and other is not None]
            right = sum(direction * (other - one) > 0 for one, other in known)
            median = float(np.median([other - one for one, other in known]))
            wrong = [
                name for name in whole if not direction * (after[name][column] - whole[name][column]) > 0
            ]
            moved[column] = {
                "direction": direction,
                "of": len(known),
                "right": right,
                "median": median,
                "wrong": wrong,
            }
            print(
                f"{damage}: {column} {'falls' if direction < 0 else 'rises'} in {right} of {len(known)}, median {median:+.3f}"
            )
        figures[damage] = moved
        if damage == "12 dB softer":
            moves = {
                column: [abs(after[name][column] - whole[name][column]) for name in whole]
                for column in STEADY
            }
            figures["12 dB softer, columns that stay"] = {
                column: {"median": float(np.median(items)), "most": max(items)}
                for column, items in moves.items()
            }
    print(figures["12 dB softer, columns that stay"])
    write_figures(
        {"machine": describe_machine(), "recordings": list(whole), "damages": figures}, arguments.output
    )


if __name__ == "__main__":
    main()
