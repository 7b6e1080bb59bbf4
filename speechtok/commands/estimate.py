"""What a job would do, before it does it: shards, hours, bytes and what they cost.

Nothing is written. With a stated speed only the card of the tokenizer is needed; without one the
tokenizer is loaded and tried on a few utterances.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch

from speechtok.audio.io import read_waveform
from speechtok.cards import find_card
from speechtok.corpora import Corpus, read_corpus
from speechtok.engine.executor import usable_cpus
from speechtok.engine.looking import Lookers
from speechtok.engine.planning import make_plan
from speechtok.engine.settings import JobSettings
from speechtok.errors import AudioError, JobError
from speechtok.loading import load_tokenizer
from speechtok.shards.plan import ERROR, Plan
from speechtok.storage import AnyPath, join
from speechtok.tokenizers.base import SpeechTokenizer
from speechtok.tokens import TokenizerInfo, with_codebooks

TRIED_UTTERANCES = 5
"""Utterances that the speed is measured on, spread over the corpus …"""
TRIED_SECONDS = 15.0
"""… and how much of each is encoded, at most."""


@dataclass(frozen=True, kw_only=True)
class SplitEstimate:
    """What one split would hold."""

    utterances: int
    """Utterances planned."""
    seconds: float
    """Seconds of audio."""
    shards: int
    """Shards they go into."""


@dataclass(frozen=True, kw_only=True)
class JobEstimate:
    """What a job would do and take."""

    corpus_kind: str
    """Format of the corpus."""
    tokenizer: str
    """Name of the tokenizer."""
    utterances: int
    """Utterances planned."""
    labels: Mapping[str, int]
    """How many of them have a text, a speaker and a language."""
    unknown_length: int
    """Those whose headers cannot be read; they will go to quarantine."""
    duplicate_ids: int
    """Those with the id of one before them; they will go to quarantine too, and are not counted in seconds."""
    left_out: Mapping[str, int]
    """Files that are no utterances, counted by what they are."""
    seconds: float
    """Seconds of audio."""
    shards: int
    """Shards of the dataset."""
    shard_seconds: float
    """Audio of the longest shard, in seconds."""
    splits: Mapping[str, SplitEstimate]
    """What each split would hold."""
    token_bytes: float
    """Size of codes and speaker vectors, as their bits say: stored shards differ by some per cent."""
    speed: float
    """Seconds of audio that one worker tokenizes in a second."""
    speed_from: str
    """Where that figure comes from: "given", or "measured"."""
    measured_seconds: float
    """Audio that it was measured on; 0 when it was given."""
    workers: int
    """Workers assumed."""
    worker_hours: float
    """Hours that one worker would take."""
    wall_hours: float
    """Hours that these workers take, if each always has a shard."""
    cost: float | None
    """Price of the worker hours, or None without a price."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self)


def estimate_job(
    corpus: str | AnyPath,
    *,
    tokenizer: str = "dmel_16k",
    checkpoint: str | AnyPath | None = None,
    device: str = "cpu",
    settings: JobSettings | None = None,
    workers: int | None = None,
    speed: float | None = None,
    price: float | None = None,
) -> JobEstimate:
    """Return what `tokenize_corpus` would do with the same arguments.

    Args:
        corpus: see `speechtok.corpora.read_corpus`.
        tokenizer: name, card path or folder for `load_tokenizer`.
        checkpoint: local folder with the published files; needed only to measure.
        device: where the speed is measured.
        settings: what decides the rows.
        workers: workers assumed; None takes one per CPU, as a job does, but not more than there are shards.
        speed: seconds of audio that one worker tokenizes in a second; None measures it here.
        price: of an hour of one worker, in any currency.

    Raises:
        CardError, CheckpointError, HubError: when the tokenizer is not known, or cannot be loaded.
        DatasetError: when the corpus is malformed.
        JobError: when the speed is to be measured and no utterance can be read.
        ValueError: when `speed` or `price` is out of range.
    """
    settings = settings or JobSettings()
    if speed is not None and not speed > 0:
        raise ValueError(f"`speed` must be more than 0, got {speed}.")
    if price is not None and not price >= 0:
        raise ValueError(f"`price` must be at least 0, got {price}.")
    loaded = None if speed is not None else load_tokenizer(tokenizer, checkpoint=checkpoint, device=device)
    if loaded is None:
        card, _ = find_card(tokenizer)
        full = card.info("unknown")
    else:
        card, full = loaded.card, loaded.info
    info = with_codebooks(full, settings.num_codebooks)
    found = read_corpus(corpus, columns=settings.columns, corpus_format=settings.corpus_format)
    with Lookers() as lookers:
        plan = make_plan(found, info, card.to_dict(), settings, lookers)
    measured = 0.0
    if loaded is not None:
        speed, measured = _measured(loaded, found, plan, settings)
    return _estimate(found, info, plan, workers, float(speed or 0), measured, price)


def _estimate(
    corpus: Corpus,
    info: TokenizerInfo,
    plan: Plan,
    workers: int | None,
    speed: float,
    measured: float,
    price: float | None,
) -> JobEstimate:
    tasks, seconds = plan.tasks, plan.seconds
    count = min(workers or usable_cpus(), len(tasks))
    splits = {
        split: SplitEstimate(
            utterances=sum(task.num_rows for task in tasks if task.split == split),
            seconds=sum(task.seconds for task in tasks if task.split == split),
            shards=sum(task.split == split for task in tasks),
        )
        for split in plan.splits
    }
    duplicates = sum(
        pc.sum(pc.is_valid(rows[ERROR])).as_py() for rows in plan.batches([ERROR]) if rows.column_names
    )
    hours = seconds / speed / 3600
    vector_bytes = 4 * ((info.speaker_embedding_dim or 0) + int(info.has_scale))
    return JobEstimate(
        corpus_kind=corpus.kind,
        tokenizer=info.name,
        utterances=plan.num_rows,
        labels=plan.labels,
        unknown_length=sum(rows["seconds"].null_count for rows in plan.batches(["seconds"])) - duplicates,
        duplicate_ids=duplicates,
        left_out=dict(Counter(corpus.ignored)),
        seconds=seconds,
        shards=len(tasks),
        shard_seconds=max(task.seconds for task in tasks),
        splits=splits,
        token_bytes=info.bitrate_bps * seconds / 8 + vector_bytes * plan.num_rows,
        speed=speed,
        speed_from="measured" if measured else "given",
        measured_seconds=measured,
        workers=count,
        worker_hours=hours,
        wall_hours=hours / count,
        cost=None if price is None else price * hours,
    )


def _measured(
    tokenizer: SpeechTokenizer, corpus: Corpus, plan: Plan, settings: JobSettings
) -> tuple[float, float]:
    """Return how many times faster than real time one worker reads and encodes, and what that was tried on."""
    tasks = plan.tasks
    places = sorted({len(tasks) * number // TRIED_UTTERANCES for number in range(TRIED_UTTERANCES)})
    chosen = [row for place in places for row in _spread(tasks[place].rows, TRIED_UTTERANCES // len(places))]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker
    try:
        for _ in range(2):  # the first time is slower than those in a long job
            tried = [_try(tokenizer, corpus, row, settings) for row in chosen]
    finally:
        torch.set_num_threads(threads)
    audio, wall = sum(item[0] for item in tried), sum(item[1] for item in tried)
    if not audio:
        raise JobError(
            f"No utterance of {corpus.name} that was tried can be tokenized, so the speed cannot be measured; state it "
            "with --speed."
        )
    return audio / wall, audio


def _spread(rows: pa.Table, count: int) -> list[dict[str, Any]]:
    """Return `count` of the utterances whose length is known, spread over all."""
    known = rows.filter(pc.is_valid(rows["seconds"]))
    places = sorted({len(known) * number // count for number in range(count)}) if len(known) else []
    return list(known.take(pa.array(places, pa.int64())).to_pylist())


def _try(
    tokenizer: SpeechTokenizer, corpus: Corpus, row: Mapping[str, Any], settings: JobSettings
) -> tuple[float, float]:
    """Return the seconds of audio, and those it took to read and encode them; 0 for what cannot be read."""
    begun = time.perf_counter()
    options: dict[str, Any] = (
        {} if settings.num_codebooks is None else {"num_codebooks": settings.num_codebooks}
    )
    try:
        waveform = read_waveform(
            join(corpus.root, row["audio"]),
            sample_rate=tokenizer.sample_rate,
            start=row["start"],
            duration=min(row["seconds"], TRIED_SECONDS),
            channels=settings.channels,
        )
        tokenizer.encode(waveform.samples, **options)
    except (AudioError, ValueError):
        return 0.0, 0.0
    return waveform.duration, time.perf_counter() - begun
