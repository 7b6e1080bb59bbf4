"""Corpus → frozen plan: which utterance goes into which shard. Needs no torch.

The plan is a function of the corpus and the settings alone, so it is the same on any machine.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pyarrow as pa

from speechtok.audio.location import location_of
from speechtok.corpora import Corpus
from speechtok.corpora.folder import TRANSCRIPTS
from speechtok.corpora.slices import File, Slice, Source
from speechtok.engine.batches import begins_run, run_length
from speechtok.engine.listing import Listing
from speechtok.engine.looking import SLICE_SECONDS, Lookers
from speechtok.engine.settings import JobSettings
from speechtok.errors import JobError
from speechtok.shards.plan import Plan
from speechtok.tokens import TokenizerInfo
from speechtok.version import __version__

SHARD_SECONDS = (120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0)
"""Shards hold an hour of audio when nothing else is asked for, or the least of these …"""
WANTED_SHARDS = 16
"""… that leaves no more than this many shards to share among workers: so a corpus may grow a while until all are others."""


@dataclass(kw_only=True)
class Listed:
    """The files of a corpus, as one listing tells them: by these a corpus is known again."""

    files: int = 0
    """How many."""
    bytes: int = 0
    """Their size."""
    digest: Any = field(default_factory=hashlib.sha256)
    """Of their names, sizes and versions."""
    signs: array[int] = field(default_factory=partial(array, "q"))
    """Of each, a hash of 8 bytes of the same."""

    @classmethod
    def of(cls, source: Source) -> Listed:
        """Return the files of a corpus."""
        found = cls()
        for _ in found.noting(source.files()):
            pass
        return found

    def noting(self, files: Iterable[File]) -> Iterator[File]:
        """Yield files, each of which is counted."""
        for file in files:
            self.files, self.bytes = self.files + 1, self.bytes + file.size
            self.digest.update(_facts(file))
            self.signs.append(sign_of(file))
            yield file

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {"files": self.files, "bytes": self.bytes, "sha256": self.digest.hexdigest()}


def sign_of(file: File) -> int:
    """Return a hash of all that tells a file of a corpus from others, and from what it was before."""
    return int.from_bytes(hashlib.blake2b(_facts(file), digest_size=8).digest(), signed=True)


def _facts(file: File) -> bytes:
    return f"{file.name}\0{file.size}\0{file.version}\n".encode(errors="surrogatepass")


def make_plan(
    corpus: Corpus,
    info: TokenizerInfo,
    card: dict[str, Any],
    settings: JobSettings,
    lookers: Lookers,
    *,
    on_planning: Callable[[int], None] = lambda utterances: None,
    on_probe: Callable[[], None] = lambda: None,
) -> Plan:
    """Return the plan for tokenizing a corpus.

    Utterances are ordered by split, and within one as in the corpus, and cut into shards of about equal seconds. A
    recording whose header cannot be read is planned with unknown length; the job will quarantine it, and so it will an utterance
    with the id of one before it.

    Args:
        corpus: what to tokenize.
        info: the tokenizer, with the codebooks that are kept.
        card: its card, as plain values.
        settings: what decides the rows.
        lookers: look at its slices.
        on_planning: called with the number of utterances found, as far as is known.
        on_probe: called for each.
    """
    source = source_of(corpus)
    listed = Listed()

    def parts() -> Iterator[Slice]:
        source.ignored.clear()
        return source.slices(listed.noting(source.files()), SLICE_SECONDS)

    rows = lookers.rows(corpus, parts, settings, on_planning=on_planning, on_probe=on_probe)
    listing = Listing(rows, info, advice=source.advice)
    plan = plan_of(listing, settings, plan_settings(corpus, listed, info, card, settings))
    return replace(plan, listing=listed.signs)


def plan_of(listing: Listing, settings: JobSettings, frozen: Mapping[str, Any]) -> Plan:
    """Return the plan of listed utterances.

    Args:
        listing: the utterances.
        settings: of which the length of shards counts here.
        frozen: what the plan freezes besides.
    """
    totals = dict[str, float]()
    for rows in listing.batches():
        for split, value in zip(rows["split"].to_pylist(), rows["seconds"].to_pylist(), strict=True):
            totals[split] = totals.get(split, 0.0) + (value or 0.0)
    wanted = sum(totals.values()) / WANTED_SHARDS
    target = settings.shard_seconds or next(
        (length for length in SHARD_SECONDS if length >= wanted), SHARD_SECONDS[-1]
    )
    runs = run_length(target, settings.batch_seconds)
    cutters = {split: Cutter(total, target, runs) for split, total in totals.items()}

    def placed() -> Iterator[pa.Table]:
        for rows in listing.batches():
            facts = zip(*(rows[name].to_pylist() for name in ("split", "id", "seconds")), strict=True)
            shards = [cutters[split].place(name, value or 0.0) for split, name, value in facts]
            column = pa.array(shards, type=pa.int32())
            yield rows.set_column(rows.schema.get_field_index("shard"), "shard", column)

    return Plan.of_tables({**frozen, "run_seconds": runs}, listing.schema, placed())


class Cutter:
    """Gives the utterances of one split, in order, the numbers of their shards: about equal spans of seconds, of whole runs.

    Args:
        total: seconds of the split.
        target: seconds wanted in a shard.
        run_seconds: length of runs, see `speechtok.engine.batches`; None lets shards end anywhere.
    """

    def __init__(self, total: float, target: float, run_seconds: float | None = None) -> None:
        self._count = max(1, math.ceil(total / target))
        self._span = total / self._count or 1.0
        self._run_seconds = run_seconds
        self._begun, self._shard, self._is_full = 0.0, 0, False
        self._previous: int | None = None

    def place(self, name: str, seconds: float) -> int:
        """Return the shard of the next utterance.

        What has no known length joins its neighbours, and no shard holds nothing else.
        """
        if seconds:
            place = min(int((self._begun + seconds / 2) / self._span), self._count - 1)
            self._is_full |= self._previous is not None and place > self._previous
            if self._is_full and (self._run_seconds is None or begins_run(name, seconds, self._run_seconds)):
                self._shard, self._is_full = self._shard + 1, False
            self._previous = place
            self._begun += seconds
        return self._shard


def plan_settings(
    corpus: Corpus, listed: Listed, info: TokenizerInfo, card: dict[str, Any], settings: JobSettings
) -> dict[str, Any]:
    """Return what a plan freezes besides the utterances."""
    return {
        "tokenizer": info.to_dict(),
        "card": card,
        "corpus": {"kind": corpus.kind, "name": corpus.name},
        "listing": listed.to_dict(),
        "job": settings.to_dict(),
        "speechtok_version": __version__,
    }


def source_of(corpus: Corpus) -> Source:
    """Return what gives the slices of a corpus."""
    if corpus.source is None:
        raise ValueError("a corpus in memory has no slices; write its list to a file and read that")
    return corpus.source


def check_same(
    plan: Plan, corpus: Corpus, info: TokenizerInfo, card: dict[str, Any], settings: JobSettings, output: str
) -> None:
    """Raise unless a frozen plan is the one that would be made now: the corpus is known by its listing, none of its audio is read.

    Raises:
        JobError: naming the first difference: tokenizer, a setting, or the corpus.
    """
    frozen = plan.info
    if (frozen.name, frozen.fingerprint) != (info.name, info.fingerprint):
        raise JobError(
            f"{output} was begun with tokenizer '{frozen.name}' (fingerprint {frozen.fingerprint}), not with "
            f"'{info.name}' ({info.fingerprint}); use another output folder."
        )
    for name, value in settings.to_dict().items():
        if plan.settings["job"].get(name) != value:
            raise JobError(
                f"{output} was begun with {name}={plan.settings['job'].get(name)!r}, not {value!r}; "
                "repeat the first command, or use another output folder."
            )
    source = source_of(corpus)
    source.ignored.clear()
    before, now = plan.settings.get("listing"), Listed.of(source).to_dict()
    if before == now:
        return
    if not isinstance(before, dict) or set(before) != set(now):
        raise JobError(
            f"{output} was begun by an older speechtok, which knew a corpus by other signs; finish it with that version, or use "
            "another output folder."
        )
    raise JobError(
        f"The corpus is not the one {output} was begun with ({_difference(plan, source)}); restore it, or use another output folder."
    )


def _difference(plan: Plan, source: Source) -> str:
    """Return what is new or gone among the files of a corpus, as far as its utterances name them."""
    now = {file.name for file in source.files() if not file.name.endswith(TRANSCRIPTS)}
    then = {
        location_of(audio).path for rows in plan.batches(["audio"]) for audio in rows["audio"].to_pylist()
    }
    if not now & then:
        return "a list changed"
    new, gone = sorted(now - then), sorted(then - now)
    detail = f"new: {new[0]}" if new else f"gone: {gone[0]}" if gone else "some files changed"
    return f"{len(new)} new, {len(gone)} gone; {detail}"
