"""Corpus → frozen plan: which utterance goes into which shard. Needs no torch.

The plan is a function of the corpus and the settings alone, so it is the same on any machine.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from typing import Any

import pyarrow as pa

from speechtok.audio.io import probe_audio
from speechtok.audio.location import location_of
from speechtok.corpora import Corpus, segment_corpus
from speechtok.corpora.segments import SEGMENT_ID
from speechtok.errors import AudioError, DatasetError, JobError
from speechtok.jobs.settings import SPLIT_NAME, JobSettings
from speechtok.shards.plan import PLAN_COLUMNS, Plan
from speechtok.shards.schema import column_names
from speechtok.storage import join
from speechtok.tokens import TokenizerInfo
from speechtok.utterances import Utterance
from speechtok.version import __version__

MOST_SHARD_SECONDS = 3600.0
"""Shards hold an hour of audio when nothing else is asked for …"""
LEAST_SHARD_SECONDS = 120.0
"""… or less, down to this, so that a small corpus still has …"""
WANTED_SHARDS = 16
"""… this many shards to share among workers."""
PROBE_THREADS = 8
"""Headers are read in this many threads."""


def make_plan(
    corpus: Corpus,
    info: TokenizerInfo,
    card: dict[str, Any],
    settings: JobSettings,
    *,
    on_planning: Callable[[int], None] = lambda recordings: None,
    on_probe: Callable[[], None] = lambda: None,
) -> Plan:
    """Return the plan for tokenizing a corpus.

    Utterances are ordered by split and id, and cut into shards of about equal seconds. A recording
    whose header cannot be read is planned with unknown length; the job will quarantine it.

    Args:
        corpus: what to tokenize.
        info: the tokenizer, with the codebooks that are kept.
        card: its card, as plain values.
        settings: what decides the rows.
        on_planning: called with the number of recordings whose headers have to be read.
        on_probe: called after each of these was read.
    """
    utterances = in_order(corpus, settings)
    lengths = _probe(corpus, utterances, on_planning, on_probe)
    seconds = [
        item.seconds if item.seconds is not None else _seconds(item, lengths[item.audio])
        for item in utterances
    ]
    known = [value or 0.0 for value in seconds]
    target = settings.shard_seconds or min(
        MOST_SHARD_SECONDS, max(LEAST_SHARD_SECONDS, sum(known) / WANTED_SHARDS)
    )
    columns: dict[str, list[Any]] = {
        **_listing(utterances),
        "seconds": seconds,
        "shard": _shards([item.split or "" for item in utterances], known, target),
    }
    types = dict(PLAN_COLUMNS)
    arrays = {name: pa.array(columns[name], type=kind) for name, kind in types.items()}
    arrays |= {name: _array(name, values) for name, values in _extra(utterances, info).items()}
    return Plan(settings=plan_settings(corpus, info, card, settings), rows=pa.table(arrays))


def plan_settings(
    corpus: Corpus, info: TokenizerInfo, card: dict[str, Any], settings: JobSettings
) -> dict[str, Any]:
    """Return what a plan freezes besides the utterances."""
    return {
        "tokenizer": info.to_dict(),
        "card": card,
        "corpus": {"kind": corpus.kind, "name": corpus.name},
        "job": settings.to_dict(),
        "speechtok_version": __version__,
    }


def segmented(corpus: Corpus, settings: JobSettings, plan: Plan | None = None) -> Corpus:
    """Return the corpus as the job sees it: with long utterances in segments, if that was asked for.

    Args:
        corpus: what was read.
        settings: what decides the rows.
        plan: what was frozen; recordings that are in it are not looked at again.
    """
    if settings.segment is None:
        return corpus
    known = {} if plan is None else _planned_spans(plan)
    return segment_corpus(corpus, settings.segment, settings.max_segment_seconds, known=known)


def _planned_spans(plan: Plan) -> dict[str, tuple[tuple[int, int], ...]]:
    """Return the segments of each utterance in a plan, by its id; none for one that is whole."""
    known: dict[str, list[tuple[int, int]]] = {}
    for name in plan.rows["id"].to_pylist():
        found = re.fullmatch(SEGMENT_ID, name, re.DOTALL)
        known.setdefault(name, [])
        if found:
            known.setdefault(found[1], []).append((int(found[2]), int(found[3])))
    return {name: tuple(sorted(spans)) for name, spans in known.items()}


def check_same(
    plan: Plan, corpus: Corpus, info: TokenizerInfo, card: dict[str, Any], settings: JobSettings, output: str
) -> None:
    """Raise unless a frozen plan is the one that would be made now.

    Raises:
        JobError: naming the first difference: tokenizer, a setting, or the corpus.
    """
    frozen = plan.info
    if (frozen.name, frozen.fingerprint) != (info.name, info.fingerprint):
        raise JobError(
            f"{output} was begun with tokenizer '{frozen.name}' (fingerprint {frozen.fingerprint}), not with "
            f"'{info.name}' ({info.fingerprint}); use another output folder."
        )
    wanted = plan_settings(corpus, info, card, settings)
    for name, value in wanted["job"].items():
        if plan.settings["job"].get(name) != value:
            raise JobError(
                f"{output} was begun with {name}={plan.settings['job'].get(name)!r}, not {value!r}; "
                "repeat the first command, or use another output folder."
            )
    utterances = in_order(corpus, settings)
    extra = {name: _array(name, values).to_pylist() for name, values in _extra(utterances, info).items()}
    now: dict[str, list[Any]] = {**_listing(utterances), **extra}
    columns = [name for name in plan.rows.column_names if name not in ("seconds", "shard")]
    # compared as text, in which NaN equals NaN
    if columns != list(now) or any(repr(plan.rows[name].to_pylist()) != repr(now[name]) for name in columns):
        before, after = set(plan.rows["id"].to_pylist()), set(now["id"])
        new, gone = sorted(after - before), sorted(before - after)
        detail = f"new: {new[0]}" if new else f"gone: {gone[0]}" if gone else "some utterances changed"
        raise JobError(
            f"The corpus is not the one {output} was begun with ({len(new)} new, {len(gone)} gone; {detail}); "
            "restore it, or use another output folder."
        )


def in_order(corpus: Corpus, settings: JobSettings) -> list[Utterance]:
    """Return the utterances in the order of the dataset: by split, then by id.

    Raises:
        DatasetError: when the corpus names a split that file names and `datasets` cannot have.
    """
    placed = [replace(item, split=item.split or settings.split) for item in corpus.utterances]
    for split in dict.fromkeys(item.split or "" for item in placed):
        if not re.fullmatch(SPLIT_NAME, split):
            raise DatasetError(
                f"The corpus {corpus.name} has the split {split!r}; a split's name may hold letters, digits, "
                "underscores and single dots, such as 'train.clean.100'."
            )
    return sorted(placed, key=lambda item: (item.split or "", item.id))


def _listing(utterances: Iterable[Utterance]) -> dict[str, list[Any]]:
    names = ("id", "audio", "start", "segment_seconds", "split", "text", "speaker", "language")
    return {name: [getattr(item, name) for item in utterances] for name in names}


def _probe(
    corpus: Corpus,
    utterances: list[Utterance],
    on_planning: Callable[[int], None],
    on_probe: Callable[[], None],
) -> dict[str, float | None]:
    """Return the seconds of recordings by their headers, or None, where the corpus states no length.

    Each is read once, in the order in which they lie.
    """
    recordings = sorted({item.audio for item in utterances if item.seconds is None}, key=_place)
    on_planning(len(recordings))

    def length(audio: str) -> float | None:
        try:
            return probe_audio(join(corpus.root, audio)).duration
        except AudioError:
            return None

    lengths: dict[str, float | None] = {}
    with ThreadPoolExecutor(PROBE_THREADS) as pool:
        for audio, value in zip(recordings, pool.map(length, recordings), strict=True):
            lengths[audio] = value
            on_probe()
    return lengths


def _place(audio: str) -> tuple[str, int]:
    place = location_of(audio)
    return place.path, place.offset or place.row or 0


def _seconds(utterance: Utterance, recording: float | None) -> float | None:
    if recording is None or utterance.start >= recording:
        return None
    rest = recording - utterance.start
    return rest if utterance.segment_seconds is None else min(rest, utterance.segment_seconds)


def _shards(splits: list[str], seconds: list[float], target: float) -> list[int]:
    """Return the shard number of each utterance: equal spans of seconds, numbered within the split."""
    numbers: list[int] = []
    for split in dict.fromkeys(splits):
        lengths = [value for name, value in zip(splits, seconds, strict=True) if name == split]
        count = max(1, math.ceil(sum(lengths) / target))
        span = sum(lengths) / count or 1.0
        begun, previous, shard = 0.0, None, 0
        for value in lengths:
            if value:  # what has no known length joins its neighbours, and no shard holds nothing else
                place = min(int((begun + value / 2) / span), count - 1)
                shard += previous is not None and place > previous
                previous = place
            numbers.append(shard)
            begun += value
    return numbers


def _extra(utterances: list[Utterance], info: TokenizerInfo) -> dict[str, list[Any]]:
    """Return the corpus's own columns; a name that means something here gets the prefix `corpus_`."""
    taken = column_names(info) | {name for name, _ in PLAN_COLUMNS}
    names = dict.fromkeys(chain.from_iterable(item.extra for item in utterances))
    columns: dict[str, list[Any]] = {}
    for name in names:
        ours = name
        while ours in taken or (ours != name and ours in names):
            ours = f"corpus_{ours}"
        columns[ours] = [item.extra.get(name) for item in utterances]
    return columns


def _array(name: str, values: list[Any]) -> pa.Array:
    try:
        column = pa.array(values)
    except (pa.ArrowException, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise DatasetError(
            f"The manifest's column {name} mixes types or holds what Parquet cannot: {reason}."
        ) from error
    return column.cast(pa.string()) if pa.types.is_null(column.type) else column
