"""Frames of our pitch tracker that differ from AMFM_decompy's over recorded speech: `python benchmarks/pitch.py FOLDER`.

AMFM_decompy is also compared with itself, after its samples were moved by a rounding error: paths of equal cost are told
apart by the last bit of a sum, and no tracker can be nearer to it than it is to itself.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from amfm_decompy.basic_tools import SignalObj
from amfm_decompy.pYAAPT import yaapt

from speechtok.audio.io import read_waveform
from speechtok.audio.pitch import track_pitch
from speechtok.errors import AudioError

Array = np.ndarray[Any, np.dtype[Any]]
OPTIONS = {"frame_length": 20, "frame_space": 5, "nccf_thresh1": 0.25, "tda_frame_length": 25}
SHORTEST, SILENT = 1600, 1e-4


def released_track(signal: Array) -> Array:
    contour: Array = yaapt(SignalObj(np.pad(signal, 160), 16000), **OPTIONS).samp_values
    return contour


def differing(one: Array, other: Array) -> int:
    return int((np.abs(one - other) > 1e-9).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    warnings.simplefilter("ignore")
    files = frames = ours = voicing = itself = 0
    for path in sorted(parser.parse_args().folder.rglob("*.*")):
        try:
            signal = read_waveform(path, sample_rate=16000).samples.astype(np.float64).reshape(-1)
        except AudioError:
            continue
        peak = np.abs(signal).max(initial=0.0)
        if len(signal) < SHORTEST or not SILENT < peak < np.inf:
            continue
        signal *= 0.95 / peak
        track, want = track_pitch(signal), released_track(signal)
        moved = signal * (1 + 2.2e-16 * np.random.default_rng(0).integers(-1, 2, len(signal)))
        files, frames = files + 1, frames + len(want)
        ours += differing(track, want)
        voicing += int(((track > 0) != (want > 0)).sum())
        itself += differing(released_track(moved), want)
    print(
        f"{files} recordings, {frames} frames: {ours} differ ({100 * ours / frames:.3f} %), {voicing} in voicing"
    )
    print(
        f"AMFM_decompy after a rounding error: {itself} differ from its own ({100 * itself / frames:.3f} %)"
    )


if __name__ == "__main__":
    main()
