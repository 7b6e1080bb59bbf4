"""The page about a training run: curves, code usage, and the same utterances before and after."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speechtok.report.listening import wav_uri
from speechtok.report.plots import QUIET_DB, plot_curve, plot_spectrogram, plot_usage, spectrogram_db
from speechtok.report.render import write_page
from speechtok.shards.statistics import StreamStatistics
from speechtok.wording import number_text

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, kw_only=True)
class Sound:
    """One utterance that is not trained on."""

    id: str
    """Its name."""
    sample_rate: int
    """Hz, of all its waveforms."""
    original: Array
    """`(samples,)`, the recording."""
    made: Mapping[str, Array]
    """Caption, such as "after 100 steps" → `(samples,)`, in the order they are shown."""


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """What a run has shown so far."""

    title: str
    """What is trained, and where."""
    step: int
    """Steps that were taken."""
    steps: int
    """Steps that are asked for."""
    settings: Mapping[str, Any]
    """What decides the run, plain."""
    history: Sequence[Mapping[str, Any]]
    """Points of the curves: `step`, `split` and values."""
    sounds: Sequence[Sound] = ()
    """Utterances to listen to."""
    usage: Sequence[StreamStatistics] = ()
    """How often each code occurred in the last validation, by stream."""


def write_training_report(run: TrainingRun, html: Path) -> None:
    """Write one self-contained HTML page about a training run.

    Raises:
        OSError: when the page cannot be written.
    """
    write_page(
        html,
        "training.html.j2",
        {
            "run": run,
            "figures": list(_figures(run)),
            "curves": [
                {
                    "title": name,
                    "split": split,
                    "plot": plot_curve(steps, values, name, f"curve-{split}-{number}"),
                }
                for number, ((split, name), (steps, values)) in enumerate(_curves(run.history).items())
            ],
            "sounds": [_shown(number, sound) for number, sound in enumerate(run.sounds)],
            "streams": [_usage(number, item) for number, item in enumerate(run.usage)],
            "settings": {name: str(value) for name, value in run.settings.items() if value not in (None, "")},
        },
    )


def _curves(history: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], tuple[list[int], list[float]]]:
    """Return split and name → steps and values; those of validation first."""
    found: dict[tuple[str, str], tuple[list[int], list[float]]] = {}
    for point in sorted(history, key=lambda point: str(point["split"]) != "validation"):
        for name, value in point.items():
            if name not in ("step", "split"):
                steps, values = found.setdefault((str(point["split"]), name), ([], []))
                steps.append(int(point["step"]))
                values.append(float(value))
    return found


def _figures(run: TrainingRun) -> list[dict[str, str]]:
    """Return the first and the last value of every measure of validation."""
    figures = []
    for (split, name), (steps, values) in _curves(run.history).items():
        if split == "validation":
            note = f"{number_text(values[0])} after step {steps[0]:,}"
            figures.append({"name": name, "value": number_text(values[-1]), "note": note})
    return figures


def _shown(number: int, sound: Sound) -> dict[str, Any]:
    waveforms = {"original": sound.original, **sound.made}
    levels = {
        of: spectrogram_db(samples.astype(np.float64), sound.sample_rate) for of, samples in waveforms.items()
    }
    loudest = max(QUIET_DB, float(levels["original"].max()))
    return {
        "id": sound.id,
        "seconds": len(sound.original) / sound.sample_rate,
        "sounds": [
            {
                "name": of,
                "uri": wav_uri(samples.astype(np.float64), sound.sample_rate),
                "picture": plot_spectrogram(
                    levels[of],
                    loudest,
                    len(samples) / sound.sample_rate,
                    sound.sample_rate,
                    f"sound-{number}-{place}",
                    of,
                ),
            }
            for place, (of, samples) in enumerate(waveforms.items())
        ],
    }


def _usage(number: int, item: StreamStatistics) -> dict[str, Any]:
    return {
        "name": item.stream.name,
        "used": float(item.used.mean()),
        "entropy": float(item.entropy.mean()),
        "perplexity": float(item.perplexity.mean()),
        "size": item.stream.codebook_size,
        "bound_bits": math.log2(item.stream.codebook_size),
        "plot": plot_usage(item, f"usage-{number}") if item.num_codes else None,
    }
