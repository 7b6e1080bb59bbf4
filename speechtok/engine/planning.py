"""Corpus → frozen plan: which utterance goes into which shard. Needs no torch.

The plan is a function of the corpus and the settings alone, so it is the same on any machine.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice, zip_longest
from typing import Any

import pyarrow as pa

from speechtok.audio.io import probe_audio
from speechtok.audio.location import location_of
from speechtok.corpora import Corpus, segment_corpus
from speechtok.corpora.segments import SEGMENT_ID
from speechtok.engine.listing import Listing
from speechtok.engine.settings import JobSettings
from speechtok.errors import JobError, StorageError
from speechtok.shards.plan import Plan
from speechtok.shards.writer import evenly
from speechtok.storage import join
from speechtok.tokens import TokenizerInfo
from speechtok.utterances import Utterance
from speechtok.version import __version__

MAX_SHARD_SECONDS = 3600.0
"""Shards hold an hour of audio when nothing else is asked for …"""
MIN_SHARD_SECONDS = 120.0
"""… or less, down to this, so that a small corpus still has …"""
WANTED_SHARDS = 16
"""… this many shards to share among workers."""
LONGEST_SECONDS = 1e9
"""Thirty years. A corpus that states more states nonsense, which the sums of a plan need not hold."""
PROBE_THREADS = 8
"""Headers that have to be waited for are read in this many threads."""
PROBES_HERE, PROBES_IN_THREADS = 16, 1024
"""Headers read one by one, to see whether they have to be waited for, and then in threads if so."""
COMPARED_ROWS = 20_000
"""Utterances of a frozen plan and of the corpus that are compared at once."""


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
        on_planning: called with the number of recordings whose headers have to be read, as far as is known.
        on_probe: called after each of these was read.
    """
    listing = Listing(corpus, info, settings, _Prober(corpus, on_planning, on_probe))
    totals = dict[str, float]()
    for rows in listing.batches():
        for split, value in zip(rows["split"].to_pylist(), rows["seconds"].to_pylist(), strict=True):
            totals[split] = totals.get(split, 0.0) + (value or 0.0)
    target = settings.shard_seconds or min(
        MAX_SHARD_SECONDS, max(MIN_SHARD_SECONDS, sum(totals.values()) / WANTED_SHARDS)
    )
    cutters = {split: _Cutter(total, target) for split, total in totals.items()}

    def placed() -> Iterator[pa.Table]:
        for rows in listing.batches():
            splits, seconds = rows["split"].to_pylist(), rows["seconds"].to_pylist()
            shards = [
                cutters[split].place(value or 0.0) for split, value in zip(splits, seconds, strict=True)
            ]
            column = pa.array(shards, type=pa.int32())
            yield rows.set_column(rows.schema.get_field_index("shard"), "shard", column)

    return Plan.of_tables(plan_settings(corpus, info, card, settings), listing.schema, placed())


class _Cutter:
    """Gives the utterances of one split, in order, the numbers of their shards: equal spans of seconds.

    Args:
        total: seconds of the split.
        target: seconds wanted in a shard.
    """

    def __init__(self, total: float, target: float) -> None:
        self._count = max(1, math.ceil(total / target))
        self._span = total / self._count or 1.0
        self._begun, self._shard = 0.0, 0
        self._previous: int | None = None

    def place(self, seconds: float) -> int:
        """Return the shard of the next utterance.

        What has no known length joins its neighbours, and no shard holds nothing else.
        """
        if seconds:
            place = min(int((self._begun + seconds / 2) / self._span), self._count - 1)
            self._shard += self._previous is not None and place > self._previous
            self._previous = place
            self._begun += seconds
        return self._shard


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


def segmented(
    corpus: Corpus,
    settings: JobSettings,
    plan: Plan | None = None,
    *,
    on_planning: Callable[[int], None] = lambda recordings: None,
    on_probe: Callable[[], None] = lambda: None,
) -> Corpus:
    """Return the corpus as the job sees it: with long utterances in segments, if that was asked for.

    Args:
        corpus: what was read.
        settings: what decides the rows.
        plan: what was frozen; recordings that are in it are not looked at again.
        on_planning: called with the number of recordings that have to be looked at, as far as is known.
        on_probe: called after each of these was looked at.
    """
    if settings.segment is None:
        return corpus
    known = {} if plan is None else _planned_spans(plan)
    return segment_corpus(
        corpus,
        settings.segment,
        settings.max_segment_seconds,
        known=known,
        on_planning=on_planning,
        on_probe=on_probe,
    )


def _planned_spans(plan: Plan) -> dict[str, tuple[tuple[int, int], ...]]:
    """Return the segments of each utterance in a plan, by its id; none for one that is whole."""
    known: dict[str, list[tuple[int, int]]] = {}
    for name in chain.from_iterable(rows["id"].to_pylist() for rows in plan.batches(["id"])):
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
    listing = Listing(corpus, info, settings, lambda utterances: [None] * len(utterances))
    names = [name for name in plan.schema.names if name not in ("seconds", "shard")]
    now = [name for name in listing.schema.names if name not in ("seconds", "shard")]
    before, after = evenly(plan.batches(names), COMPARED_ROWS), evenly(listing.batches(), COMPARED_ROWS)
    if names == now and all(_is_same(one, other, names) for one, other in zip_longest(before, after)):
        return
    new, gone, first = _differences(plan, listing)
    detail = f"new: {first}" if new else f"gone: {first}" if gone else "some utterances changed"
    raise JobError(
        f"The corpus is not the one {output} was begun with ({new} new, {gone} gone; {detail}); "
        "restore it, or use another output folder."
    )


def _is_same(one: pa.Table | None, other: pa.Table | None, names: Sequence[str]) -> bool:
    """Return whether two parts of a plan say the same; as text where they differ, in which NaN equals NaN."""
    if one is None or other is None:
        return False
    return all(
        one[name].equals(other[name]) or repr(one[name].to_pylist()) == repr(other[name].to_pylist())
        for name in names
    )


def _differences(plan: Plan, listing: Listing) -> tuple[int, int, str]:
    """Return how many ids are new, how many are gone, and the first of those that are new, else gone."""

    def keys(tables: Iterable[pa.Table]) -> Iterator[tuple[str, str]]:
        for rows in tables:
            yield from zip(rows["split"].to_pylist(), rows["id"].to_pylist(), strict=True)

    before, after = keys(plan.batches(["id", "split"])), keys(listing.batches())
    old, fresh = next(before, None), next(after, None)
    new, gone = list[str](), list[str]()
    counts = [0, 0]
    while old is not None or fresh is not None:
        if old == fresh:
            old, fresh = next(before, None), next(after, None)
        elif old is None or (fresh is not None and fresh < old):
            counts[0] += 1
            new = new or [fresh[1] if fresh else ""]
            fresh = next(after, None)
        else:
            counts[1] += 1
            gone = gone or [old[1]]
            old = next(before, None)
    return counts[0], counts[1], (new or gone or [""])[0]


class _Prober:
    """Tells how long utterances are: as the corpus states, else by the headers of their recordings.

    A recording is read once for all utterances of it that follow each other, in the order in which they lie.
    """

    def __init__(
        self, corpus: Corpus, on_planning: Callable[[int], None], on_probe: Callable[[], None]
    ) -> None:
        self._root, self._on_planning, self._on_probe = corpus.root, on_planning, on_probe
        self._pool = ThreadPoolExecutor(PROBE_THREADS)
        self._known: dict[str, float | None] = {}
        self._asked = 0

    def __call__(self, utterances: Sequence[Utterance]) -> list[float | None]:
        """Return the seconds of each utterance, None where a header cannot be read."""
        recordings = {item.audio for item in utterances if item.seconds is None and item.fault is None}
        self._known = {audio: value for audio, value in self._known.items() if audio in recordings}
        missing = sorted(recordings - set(self._known), key=_place)
        self._asked += len(missing)
        if missing:
            self._on_planning(self._asked)
        for audio, value in zip(missing, self._lengths(missing), strict=True):
            self._known[audio] = value
            self._on_probe()
        return [
            min(item.seconds, LONGEST_SECONDS)
            if item.seconds is not None
            else _seconds(item, self._known.get(item.audio))
            for item in utterances
        ]

    def _lengths(self, recordings: Sequence[str]) -> Iterator[float | None]:
        """Yield the seconds of each recording.

        Threads gain where a disk or a store takes its time; for files in memory they take three times as long as one.
        """
        rest = iter(recordings)
        while few := list(islice(rest, PROBES_HERE)):
            begun, worked = time.perf_counter(), time.thread_time()
            found = [self._length(audio) for audio in few]
            is_waiting = time.thread_time() - worked < (time.perf_counter() - begun) / 2
            yield from found
            if is_waiting:
                yield from self._pool.map(self._length, islice(rest, PROBES_IN_THREADS))

    def _length(self, audio: str) -> float | None:
        try:
            return probe_audio(join(self._root, audio)).duration
        except StorageError:
            raise
        except Exception:  # whatever its name or header provokes, the job will say in the quarantine
            return None


def _place(audio: str) -> tuple[str, int]:
    place = location_of(audio)
    return place.path, place.offset or place.row or 0


def _seconds(utterance: Utterance, recording: float | None) -> float | None:
    if recording is None or utterance.start >= recording:
        return None
    rest = recording - utterance.start
    return rest if utterance.segment_seconds is None else min(rest, utterance.segment_seconds)
