"""Measure decoded speech against its recordings: a token dataset, or pairs of files.

Every pair becomes a row of scores; what cannot be read or measured is a reason in that row, and the
rest goes on.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from speechtok.audio.io import read_waveform
from speechtok.commands.decode import choose_rows
from speechtok.corpora.originals import Originals, find_originals
from speechtok.corpora.pairs import PairOfFiles, read_pairs
from speechtok.errors import AudioError, JobError
from speechtok.loading import load_for_dataset
from speechtok.metrics.evaluation import Evaluation, EvaluationRow, summarize_rows
from speechtok.metrics.judges import Judges
from speechtok.metrics.measures import MEASURES, MODEL_MEASURES, Scores, check_installed, measure
from speechtok.processes import safe_path
from speechtok.shards.reader import TokenDataset
from speechtok.shards.statistics import compute_statistics
from speechtok.storage import AnyPath
from speechtok.tokenizers.base import SpeechTokenizer

Samples = np.ndarray[Any, np.dtype[np.float64]]

PENDING_PER_WORKER = 4
"""Pairs held in memory for each worker process."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """What is measured, and with what."""

    measures: tuple[str, ...] | None = None
    """Names of `MEASURES`; None takes all that need no model or whose model is named."""
    asr: str | None = None
    """Speech recogniser of transformers, for word and character error rate."""
    speaker_model: str | None = None
    """X-vector model of transformers, for speaker similarity."""
    device: str = "cpu"
    """Where tokenizer and models run."""
    workers: int = 1
    """Processes that measure; 1 measures in this one."""

    def names(self) -> tuple[str, ...]:
        """Return the measures, in the order of tables.

        Raises:
            ValueError: when one is not known, its package not installed or its model not named.
        """
        models = {"speaker_similarity": self.speaker_model, "wer": self.asr, "cer": self.asr}
        chosen = self.measures or tuple(name for name in MEASURES if models.get(name, name))
        check_installed(chosen)
        for name in chosen:
            if models.get(name, name) is None:
                option = "--speaker-model" if name == "speaker_similarity" else "--asr"
                raise ValueError(
                    f"The measure '{name}' needs a model of transformers; name one with {option}."
                )
        return tuple(name for name in MEASURES if name in chosen)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A recording and what was decoded."""

    id: str
    """Name of the row."""
    reference: Samples
    """`(samples,)`, the recording."""
    decoded: Samples
    """`(samples,)`."""
    sample_rate: int
    """Hz, of both."""
    text: str | None
    """Transcript."""


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A pair that cannot be read."""

    id: str
    """Name of the row."""
    reason: str
    """What the matter is."""


OnRow = Callable[[EvaluationRow], None]


def evaluate_dataset(
    dataset: AnyPath,
    *,
    corpus_root: AnyPath | None = None,
    folders: Iterable[AnyPath] = (),
    split: str | None = None,
    limit: int | None = None,
    tokenizer: str | None = None,
    checkpoint: str | AnyPath | None = None,
    speaker: str | None = None,
    allow_partial: bool = False,
    settings: EvaluationSettings | None = None,
    on_row: OnRow | None = None,
) -> Evaluation:
    """Decode the rows of a token dataset and measure them against their recordings.

    Args:
        dataset: a token dataset, or one Parquet file of tokens.
        corpus_root: folder that the recordings' paths start from, and below which alone they are opened.
        folders: further folders that they may lie below.
        split: only this split.
        limit: at most this many rows, spread evenly over the dataset; None takes all.
        tokenizer: name, card path or folder for `load_tokenizer`; None takes the name in the dataset.
        checkpoint: local folder with the tokenizer's published files.
        speaker: a voice of the decoder's table, by name or row; None gives each row its own speaker's.
        allow_partial: take what is there of an unfinished dataset.
        settings: what is measured.
        on_row: called with each row as it is done.

    Raises:
        ValueError: when a measure cannot be computed here at all, or the decoder has no voice of that name.
        DatasetError: when there is no token dataset, or nobody named the folder of its recordings.
        CardError, CheckpointError, HubError: when tokenizer or models cannot be loaded.
        TokensError: when the tokens were made by another tokenizer.
        JobError: when not a single pair could be measured.
    """
    settings = settings or EvaluationSettings()
    settings.names()
    rows = TokenDataset(dataset, split=split, allow_partial=allow_partial)
    originals = find_originals(dataset, corpus_root, folders)
    originals.check("--corpus")
    loaded = load_for_dataset(
        dataset, rows.info.name, tokenizer=tokenizer, checkpoint=checkpoint, device=settings.device
    )
    asked = None if speaker is None else loaded.find_voice(speaker)
    chosen = [index for index, _ in choose_rows(dataset, split=split, allow_partial=allow_partial)]
    if limit is not None and limit < len(chosen):
        chosen = [chosen[math.floor((place + 0.5) * len(chosen) / limit)] for place in range(limit)]
    decoder = _Decoder(rows, originals, loaded, asked)
    found = _evaluate(dataset.resolve().name, map(decoder.pair, chosen), settings, on_row)
    statistics = compute_statistics(dataset, allow_partial=allow_partial)
    return replace(found, statistics=statistics, decode_seconds=decoder.seconds)


class _Decoder:
    """Decodes rows and reads their recordings, and counts the seconds that decoding takes."""

    def __init__(
        self, rows: TokenDataset, originals: Originals, tokenizer: SpeechTokenizer, voice: str | int | None
    ) -> None:
        self._rows, self._originals, self._tokenizer, self._voice = rows, originals, tokenizer, voice
        self.seconds = 0.0

    def pair(self, index: int) -> Pair | Unreadable:
        """Return what becomes of a row."""
        row, tokenizer = self._rows[index], self._tokenizer
        voice = tokenizer.voice_options(row.get("speaker"), self._voice)
        if len(tokenizer.voices) > 1 and not voice:
            named = f"speaker '{row['speaker']}'" if row.get("speaker") else "speaker: none is named"
            reason = f"The table of '{tokenizer.name}' has no voice for the row's {named}; --speaker chooses one for all."
            return Unreadable(id=row["id"], reason=reason)
        begun = time.perf_counter()
        decoded = tokenizer.decode(self._rows.tokens(index), **voice)[0].double().cpu().numpy()
        self.seconds += time.perf_counter() - begun
        rate = tokenizer.output_sample_rate
        try:
            reference = self._originals.read(row["id"], row["audio"], rate, len(decoded))
        except AudioError as error:
            return Unreadable(id=row["id"], reason=str(error))
        return Pair(
            id=row["id"], reference=reference, decoded=decoded, sample_rate=rate, text=row.get("text")
        )


def evaluate_pairs(
    table: Path,
    *,
    limit: int | None = None,
    settings: EvaluationSettings | None = None,
    on_row: OnRow | None = None,
) -> Evaluation:
    """Measure pairs of audio files that a table lists, see `speechtok.corpora.pairs`.

    Raises:
        ValueError: when a measure cannot be computed here at all.
        DatasetError: when the table cannot be read.
        HubError: when a model cannot be loaded.
        JobError: when not a single pair could be measured.
    """
    pairs = (_read(item) for item in islice(read_pairs(table), limit))
    return _evaluate(table.name, pairs, settings or EvaluationSettings(), on_row)


def _read(item: PairOfFiles) -> Pair | Unreadable:
    try:
        reference = read_waveform(item.reference)
        decoded = read_waveform(item.decoded, sample_rate=reference.sample_rate)
    except AudioError as error:
        return Unreadable(id=item.id, reason=str(error))
    return Pair(
        id=item.id,
        reference=reference.samples.astype(np.float64),
        decoded=decoded.samples.astype(np.float64),
        sample_rate=reference.sample_rate,
        text=item.text,
    )


def _evaluate(
    name: str, pairs: Iterable[Pair | Unreadable], settings: EvaluationSettings, on_row: OnRow | None
) -> Evaluation:
    names = settings.names()
    rows = []
    for row in _rows(pairs, names, settings):
        rows.append(row)
        if on_row is not None:
            on_row(row)
    if not any(row.scores.values for row in rows):
        reason = next((text for row in rows for text in row.scores.failures.values()), "It holds no row.")
        raise JobError(f"Nothing in {name} could be measured. {reason}")
    return Evaluation(name=name, rows=tuple(rows), summaries=summarize_rows(names, rows))


def _rows(
    pairs: Iterable[Pair | Unreadable], names: tuple[str, ...], settings: EvaluationSettings
) -> Iterator[EvaluationRow]:
    """Yield rows in the order of the pairs; models judge here, everything else is measured in the workers."""
    plain = [name for name in names if name not in MODEL_MEASURES]
    judges = Judges(names, asr=settings.asr, speaker_model=settings.speaker_model, device=settings.device)
    waiting: deque[tuple[EvaluationRow, Future[Scores] | None]] = deque()
    with _pool(settings.workers) as pool:
        for pair in pairs:
            if isinstance(pair, Unreadable):
                scores = Scores(failures=dict.fromkeys(names, pair.reason))
                waiting.append((EvaluationRow(id=pair.id, seconds=None, scores=scores), None))
            else:
                seconds = len(pair.reference) / pair.sample_rate
                judged = judges(pair.reference, pair.decoded, pair.sample_rate, pair.text)
                row = EvaluationRow(id=pair.id, seconds=seconds, text=pair.text, scores=judged)
                arguments = (pair.reference, pair.decoded, pair.sample_rate, plain)
                if pool is None:
                    waiting.append((_joined(row, measure(*arguments)), None))
                else:
                    waiting.append((row, pool.submit(measure, *arguments)))
            while len(waiting) > (0 if pool is None else PENDING_PER_WORKER * settings.workers):
                yield _done(*waiting.popleft())
        while waiting:
            yield _done(*waiting.popleft())


def _done(row: EvaluationRow, measured: Future[Scores] | None) -> EvaluationRow:
    return row if measured is None else _joined(row, measured.result())


def _joined(row: EvaluationRow, scores: Scores) -> EvaluationRow:
    return replace(row, scores=scores | row.scores)


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor | None]:
    if workers == 1:
        yield None
        return
    context = get_context("spawn")
    with safe_path(), ProcessPoolExecutor(workers, context, initializer=_one_thread) as pool:
        yield pool


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
