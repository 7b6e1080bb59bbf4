"""How exact are pocketsphinx's boundaries? `python -m benchmarks.alignment MANIFEST SPEAKER [--output FILE]`.

They are held against a second aligner that shares nothing with it but the lexicon: hidden Markov models of single phones (three states, one Gaussian
of 13 MFCC with both differences each; one state of silence, optional between words), trained here from a flat start on the other recordings of the
speaker. The manifest has the columns `path`, `transcript`, `speaker` and `split`; models are trained on `train`, ten recordings of `dev` are
compared. Both aligners get the same phones, those that pocketsphinx heard. Differences are absolute, in milliseconds.

Source: Young et al. 2006, The HTK Book, section 3.2 (flat start), for the second aligner.
"""

from __future__ import annotations

import argparse
import csv
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import librosa
import numpy as np

from benchmarks.machine import describe_machine, write_figures
from speechtok.annotations import Row, load_annotation
from speechtok.audio.io import read_waveform
from speechtok.errors import AnnotationError

RATE, HOP, WINDOW = 16000, 160, 400
TRAINED, COMPARED, ITERATIONS, STATES = 400, 10, 12, 3
SILENCE = "SIL"
Array = np.ndarray[Any, np.dtype[np.float64]]


def row_of(path: Path, text: str) -> Row:
    """Return a recording as annotations see it, its text normalized."""
    waveform = read_waveform(path, sample_rate=RATE).samples.astype(np.float32)
    row = Row(id=path.name, duration=len(waveform) / RATE, text=text, waveform=waveform, sample_rate=RATE)
    spoken = load_annotation("text_normalized", language="en", years=True)(row)
    return replace(row, columns={"language": "en", **spoken})


def features_of(waveform: Any) -> Array:
    """Return `(frames, 39)`, of mean 0 and variance 1 in each recording."""
    plain = librosa.feature.mfcc(y=waveform, sr=RATE, n_mfcc=13, n_fft=512, win_length=WINDOW, hop_length=HOP)
    whole = np.concatenate([plain, librosa.feature.delta(plain), librosa.feature.delta(plain, order=2)]).T
    return np.asarray((whole - whole.mean(axis=0)) / (whole.std(axis=0) + 1e-6), dtype=np.float64)


def states_of(words: list[list[str]]) -> tuple[list[str], Array]:
    """Return the names of the states of words with silence around them, and which of them may be left out."""
    names, is_optional = [SILENCE], [True]
    for phones in words:
        names += [f"{phone}{state}" for phone in phones for state in range(STATES)] + [SILENCE]
        is_optional += [False] * STATES * len(phones) + [True]
    return names, np.array(is_optional)


def viterbi(scores: Array, is_optional: Array) -> list[int]:
    """Return the state of each frame: each state once, in order, but for optional ones."""
    frames, count = scores.shape
    skips = np.zeros(count, dtype=bool)
    skips[2:] = is_optional[1:-1]
    best = np.full(count, -np.inf)
    best[:2] = scores[0, :2]
    steps = np.zeros((frames, count), dtype=np.int8)
    for frame in range(1, frames):
        ways = np.full((3, count), -np.inf)
        ways[0], ways[1, 1:] = best, best[:-1]
        ways[2, 2:] = np.where(skips[2:], best[:-2], -np.inf)
        steps[frame] = ways.argmax(axis=0)
        best = ways.max(axis=0) + scores[frame]
    state = count - 1 - int(best[-1] < best[-2])
    path = []
    for frame in range(frames - 1, -1, -1):
        path.append(state)
        state -= int(steps[frame, state])
    return path[::-1]


def train(examples: list[tuple[Array, list[list[str]]]]) -> dict[str, tuple[Array, Array]]:
    """Return mean and variance of each state, from words of phones and features."""
    graphs = [states_of(words) for _, words in examples]
    paths = [
        np.linspace(0, len(names) - 0.001, len(frames)).astype(int)
        for (frames, _), (names, _) in zip(examples, graphs, strict=True)
    ]
    models: dict[str, tuple[Array, Array]] = {}
    for _ in range(ITERATIONS):
        gathered: dict[str, list[Array]] = {}
        for (frames, _), (names, _), path in zip(examples, graphs, paths, strict=True):
            for frame, state in zip(frames, path, strict=True):
                gathered.setdefault(names[state], []).append(frame)
        models = {
            name: (np.mean(items, axis=0), np.var(items, axis=0) + 0.05) for name, items in gathered.items()
        }
        paths = [
            np.array(viterbi(scores_of(models, frames, names), optional))
            for (frames, _), (names, optional) in zip(examples, graphs, strict=True)
        ]
    return models


def scores_of(models: dict[str, tuple[Array, Array]], frames: Array, names: list[str]) -> Array:
    """Return the log-likelihood of each frame in each state, `(frames, states)`."""
    unseen = (np.zeros(frames.shape[1]), np.ones(frames.shape[1]))
    each = {}
    for name in set(names):
        mean, variance = models.get(name, unseen)
        each[name] = -0.5 * (((frames - mean) ** 2 / variance).sum(axis=1) + np.log(variance).sum())
    return np.stack([each[name] for name in names], axis=1)


def words_of(found: dict[str, Any]) -> list[list[str]]:
    """Return the phones of each word that pocketsphinx heard."""
    spoken = [item for item in zip(found["phone"], found["phone_start"], strict=True) if item[0] != SILENCE]
    return [
        [phone for phone, start in spoken if begin <= start < end]
        for begin, end in zip(found["word_start"], found["word_end"], strict=True)
    ]


def compare(
    models: dict[str, tuple[Array, Array]], row: Row, found: dict[str, Any]
) -> tuple[list[float], list[float]]:
    """Return the differences at the beginnings and ends of words, and at the beginnings of phones, in milliseconds."""
    words = words_of(found)
    frames = features_of(row.waveform)
    names, optional = states_of(words)
    path = np.array(viterbi(scores_of(models, frames, names), optional))
    first = [
        (float(np.flatnonzero(path == state)[0]) - 0.5) * HOP / RATE
        for state, name in enumerate(names)
        if name.endswith("0")
    ]
    sizes = np.cumsum([0, *map(len, words)])
    last = [
        (float(np.flatnonzero(path == state)[-1]) + 0.5) * HOP / RATE
        for state, name in enumerate(names)
        if name.endswith("2")
    ]
    starts = [
        start for phone, start in zip(found["phone"], found["phone_start"], strict=True) if phone != SILENCE
    ]
    of_phones = np.abs(np.array(first) - starts)
    of_words = np.abs(
        np.concatenate(
            [
                np.array(first)[sizes[:-1]] - found["word_start"],
                np.array(last)[sizes[1:] - 1] - found["word_end"],
            ]
        )
    )
    return (1000 * of_words).tolist(), (1000 * of_phones).tolist()


def summary(differences: list[float]) -> dict[str, float]:
    found = np.array(differences)
    shares = {f"within_{limit}_ms": round(float((found <= limit).mean()), 3) for limit in (20, 50, 100)}
    return {
        "boundaries": len(found),
        "median_ms": round(float(np.median(found)), 1),
        "mean_ms": round(float(found.mean()), 1),
        "p90_ms": round(float(np.quantile(found, 0.9)), 1),
        **shares,
    }


def examples_of(root: Path, rows: list[dict[str, str]]) -> list[tuple[Array, list[list[str]]]]:
    """Return features, and the phones of each word as the lexicon has them."""
    lexicon, examples = load_annotation("phones"), []
    for row in rows:
        try:
            made = row_of(root / row["path"], row["transcript"])
            spoken = made.columns["text_normalized"].split()
            words = [lexicon(replace(made, columns={"text_normalized": word}))["phones"] for word in spoken]
        except AnnotationError:
            continue
        examples.append((features_of(made.waveform), words))
    return examples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("speaker")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    root = given.manifest.parent
    with given.manifest.open(encoding="utf-8", newline="") as file:
        listed = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        rows = [row for row in listed if row["transcript"] and row["speaker"] == given.speaker]
    examples = examples_of(root, [row for row in rows if row["split"] == "train"][:TRAINED])
    models = train(examples)
    of_words: list[float] = []
    of_phones: list[float] = []
    seconds = spent = 0.0
    refused: list[str] = []
    names: list[str] = []
    for row in [row for row in rows if row["split"] == "dev"]:
        if len(names) == COMPARED:
            break
        try:
            made = row_of(root / row["path"], row["transcript"])
            began = time.process_time()
            found = dict(load_annotation("alignment")(made))
        except AnnotationError as error:
            refused.append(f"{row['path']}: {error}")
            continue
        spent, seconds = spent + time.process_time() - began, seconds + made.duration
        word, phone = compare(models, made, found)
        of_words, of_phones, names = of_words + word, of_phones + phone, [*names, row["path"]]
    figures = {
        "machine": describe_machine(),
        "trained_on": len(examples),
        "compared": names,
        "refused": refused,
        "word_boundaries": summary(of_words),
        "phone_starts": summary(of_phones),
        "pocketsphinx_times_real_time_of_a_core": round(seconds / spent, 1),
    }
    write_figures(figures, given.output)


if __name__ == "__main__":
    main()
