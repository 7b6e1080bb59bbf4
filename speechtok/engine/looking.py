"""What a corpus holds, slice by slice: its utterances with their lengths, and long ones in segments, in processes of their own.

A file that makes its decoder hang, crash or take all memory ends such a process and nothing else. The next one goes on behind what was
received and tells each utterance alone, so it is known which one ended it: one that does so again is planned with a fault where it was
to be segmented, and else with unknown length, which leaves the job to say what is wrong with it.
"""

from __future__ import annotations

import pickle
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection

import pyarrow as pa

from speechtok.audio.io import probe_audio
from speechtok.corpora import Corpus
from speechtok.corpora.corpus import checked, nothing_in
from speechtok.corpora.segments import WITHOUT_SPEECH, Segmenter, nobody_speaks
from speechtok.corpora.slices import Slice, Source
from speechtok.engine.child import (
    MAX_KILLS,
    Children,
    Deaths,
    Verdict,
    cause_of_death,
    limit_memory,
    set_alarm,
)
from speechtok.engine.executor import usable_cpus
from speechtok.engine.listing import from_bytes, rows_of, to_bytes
from speechtok.engine.settings import JobSettings, RunSettings
from speechtok.errors import DatasetError, JobError, StorageError
from speechtok.storage import join
from speechtok.utterances import Utterance

SLICE_SECONDS = 900.0
"""Speech in a slice that one process looks at, about."""
MAX_LOOKERS = 8
"""Processes that look at the same time."""
LONGEST_SECONDS = 1e9
"""Thirty years. A corpus that states more states nonsense, which the sums of a plan need not hold."""
HELD_SECONDS = 0.2
"""How long a process keeps what it has found before it tells."""
KNOWN_LENGTHS = 64
"""Recordings whose lengths are kept at hand, for lists with many segments of each."""
Found = tuple[list[int], bytes]
"""Of how many rows each utterance has become, and these rows, as `to_bytes` writes them."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What is asked of a process; travels pickled, between processes of ours alone."""

    source: bytes
    """The pickled `Source`."""
    place: str
    """What messages call it …"""
    name: str
    """… or its name alone."""
    part: Slice
    settings: JobSettings
    timeout_seconds: float
    memory_mb: int
    begin: int = 0
    """Utterances of the slice that are known already."""
    faults: dict[int, str] = field(default_factory=dict)
    """Why some are not to be looked at, by their numbers in the slice."""
    is_careful: bool = False
    """Whether each utterance is told before the next is looked at."""


def serve(connection: Connection) -> None:
    """Answer requests until the other end closes: each `Found`, then a `Counter` of what was left out, or an error."""
    known, source = b"", None
    while True:
        try:
            look: Look = connection.recv()
        except EOFError:
            return
        try:
            if source is None or look.source != known:
                # Safe because no file holds it: the process that started this one made it.
                known, source = look.source, pickle.loads(look.source)  # noqa: S301
            _answer(connection, look, source)
        except (BrokenPipeError, ConnectionResetError):
            return
        except (StorageError, DatasetError) as error:
            connection.send(error)
        except Exception as error:  # whatever a damaged container provokes is told
            connection.send(DatasetError(f"{look.place} cannot be read: {_sentence(error)}."))


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _answer(connection: Connection, look: Look, source: Source) -> None:
    limit_memory(look.memory_mb)
    source.ignored.clear()
    looker = _Looker(look, source, partial(set_alarm, look.timeout_seconds))
    held, since = list[list[Utterance]](), time.monotonic()
    taken = (pair for pair in source.read(look.part) if look.settings.is_taken(pair[0].id))
    for number, (utterance, place) in enumerate(islice(taken, look.settings.limit)):
        if number < look.begin:
            continue
        item = checked(utterance, f"{look.place} {place}")
        if number in look.faults:
            found = (
                [replace(item, fault=item.fault or look.faults[number])] if look.settings.segment else [item]
            )
        else:
            found = looker(item)
        set_alarm(0)
        held.append(found)
        if look.is_careful or time.monotonic() - since > HELD_SECONDS:
            connection.send(_told(look, held))
            held, since = [], time.monotonic()
    connection.send(_told(look, held))
    connection.send(+source.ignored)


def _told(look: Look, held: list[list[Utterance]]) -> Found:
    rows = rows_of([item for found in held for item in found], look.name, look.settings.split)
    return [len(found) for found in held], to_bytes(rows)


class _Looker:
    """Measures and segments utterances."""

    def __init__(self, look: Look, source: Source, on_block: Callable[[], None]) -> None:
        self._source, self._on_block = source, on_block
        self._lengths: dict[str, float | None] = {}
        way = look.settings.segment
        self._cut = Segmenter(source.root, way, look.settings.max_segment_seconds, on_block) if way else None

    def __call__(self, utterance: Utterance) -> list[Utterance]:
        self._on_block()
        found = [utterance]
        if self._cut is not None:
            try:
                found = self._cut(utterance)
            except StorageError:
                raise
            except Exception as error:
                return [replace(utterance, fault=f"Cannot segment {utterance.audio!r}: {_sentence(error)}.")]
            self._source.ignored[WITHOUT_SPEECH] += not found
        return [self._measured(item) for item in found]

    def _measured(self, item: Utterance) -> Utterance:
        if item.seconds is not None:
            return replace(item, seconds=min(item.seconds, LONGEST_SECONDS))
        if item.fault is not None:
            return item
        length = self._length(item.audio)
        if length is None or item.start >= length:
            return item
        rest = length - item.start
        return replace(
            item, seconds=rest if item.segment_seconds is None else min(rest, item.segment_seconds)
        )

    def _length(self, audio: str) -> float | None:
        if audio not in self._lengths:
            if len(self._lengths) >= KNOWN_LENGTHS:
                del self._lengths[next(iter(self._lengths))]
            try:
                self._lengths[audio] = probe_audio(join(self._source.root, audio)).duration
            except StorageError:
                raise
            except Exception:  # whatever its name or header provokes, the job will say in the quarantine
                self._lengths[audio] = None
        return self._lengths[audio]


class Lookers:
    """Processes that look at slices; a context manager, with which they end.

    Args:
        run: how long looking may take, and how much memory.
        count: how many processes; None takes one per CPU that may be used.
    """

    def __init__(self, run: RunSettings | None = None, count: int | None = None) -> None:
        self._run = run or RunSettings()
        self._count = min(MAX_LOOKERS, count or usable_cpus())
        first = _Child()  # which starts at once; the others when there are slices for them
        self._idle, self._all_children = deque([first]), {first}
        self._is_over = False

    def __enter__(self) -> Lookers:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        for child in list(self._all_children):
            child.end()

    def rows(
        self,
        corpus: Corpus,
        parts: Callable[[], Iterator[Slice]],
        settings: JobSettings,
        *,
        on_planning: Callable[[int], None] = lambda utterances: None,
        on_probe: Callable[[], None] = lambda: None,
    ) -> Iterator[pa.Table]:
        """Yield the utterances of slices as rows, in order, with their lengths as far as these can be told.

        Args:
            corpus: what the slices belong to; what is left out is counted in its `ignored`.
            parts: gives the slices.
            settings: which utterances are taken, and whether and how long ones are segmented.
            on_planning: called with the number of utterances found, as far as is known.
            on_probe: called for each.

        Raises:
            DatasetError: when a slice cannot be read or listed, there is no utterance, or nobody speaks.
            StorageError: when a store fails.
        """
        source = corpus.source
        if source is None:
            raise ValueError("a corpus in memory has no slices")
        if settings.segment == "vad":
            Segmenter(
                corpus.root, "vad", settings.max_segment_seconds
            )  # says here that the detector is missing
        asked = Look(
            source=pickle.dumps(source),
            place=str(source.place),
            name=corpus.name,
            part=Slice(),
            settings=settings,
            timeout_seconds=self._run.timeout_seconds,
            memory_mb=self._run.memory_mb,
        )

        told = 0
        for counts, content in self._all(corpus, asked, parts()):
            wanted = counts if settings.limit is None else counts[: settings.limit - told]
            told += len(wanted)
            on_planning(told)
            for _ in wanted:
                on_probe()
            yield from_bytes(content).slice(0, sum(wanted))
            if told == settings.limit:
                break
        if not told:
            raise DatasetError(
                nothing_in(str(source.place))
                if settings.sample is None
                else f"No utterance of {source.place} is in a sample of {settings.sample:g}; take a larger share."
            )
        if corpus.ignored[WITHOUT_SPEECH] == told:
            raise DatasetError(nobody_speaks(corpus))

    def _all(self, corpus: Corpus, asked: Look, parts: Iterator[Slice]) -> Iterator[Found]:
        waiting, is_more = deque[Future[tuple[list[Found], Counter[str]]]](), True
        pool = ThreadPoolExecutor(self._count)
        try:
            while is_more or waiting:
                while is_more and len(waiting) < 2 * self._count:
                    part = next(parts, None)
                    is_more = part is not None
                    if part is not None:
                        waiting.append(pool.submit(self._look, replace(asked, part=part, faults={})))
                if waiting:
                    found, left_out = waiting.popleft().result()
                    corpus.ignored.update(left_out)
                    yield from found
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _look(self, look: Look) -> tuple[list[Found], Counter[str]]:
        """Return what is in a slice, whatever its recordings do to the processes that look at them."""
        found, deaths = list[Found](), defaultdict[int, Deaths](Deaths)
        while True:
            child = self._child()
            try:
                left_out = child.ask(replace(look, begin=_utterances(found)), found)
            except _Died as death:
                self._all_children.discard(child)
                if self._is_over:
                    raise
                if look.is_careful:
                    number = _utterances(found)
                    _judge(look, number, deaths[number].judge(death.code), cause_of_death(death.code))
                look = replace(look, is_careful=True)
                continue
            finally:
                if child in self._all_children:
                    self._idle.append(child)
            return found, left_out

    def _child(self) -> _Child:
        try:
            return self._idle.popleft()
        except IndexError:
            child = _Child()
            self._all_children.add(child)
            return child


def _utterances(found: list[Found]) -> int:
    return sum(len(counts) for counts, _ in found)


def _judge(look: Look, number: int, verdict: Verdict | None, cause: str) -> None:
    """Note the fault of an utterance that has had its tries."""
    container = look.part.container or look.part.names[0]
    if verdict is None:
        return
    if verdict is Verdict.MACHINE:
        raise JobError(
            f"The process that looks at {container} of {look.place} was ended from outside {MAX_KILLS} times ({cause}), perhaps for "
            "lack of memory; free some and run the same command again."
        )
    if number in look.faults:  # it was not even looked at
        raise DatasetError(
            f"{look.place} cannot be read: reading {container} ended its process again and again ({cause})."
        )
    look.faults[number] = (
        f"Looking for its segments took longer than {look.timeout_seconds:g} s; allow more with --timeout-seconds and tokenize "
        "into another folder, or leave it out."
        if verdict is Verdict.LATE
        else f"Looking for its segments ended the process twice ({cause}); convert it or leave it out."
    )


class _Died(Exception):  # noqa: N818
    """A process is gone."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Child:
    def __init__(self) -> None:
        self._children = Children(f"{__name__}:serve")
        (self._connection,) = self._children.connections

    def ask(self, look: Look, found: list[Found]) -> Counter[str]:
        """Add what is found to `found`, and return what was left out.

        Raises:
            _Died: when the process ended.
        """
        try:
            self._connection.send(look)
            while isinstance(answer := self._connection.recv(), tuple):
                found.append(answer)
        except (EOFError, OSError):
            raise _Died(self.end()) from None
        if isinstance(answer, Exception):
            raise answer
        left_out: Counter[str] = answer
        return left_out

    def end(self) -> int:
        """End the process, and return its exit code."""
        self._connection.close()
        return self._children.kill()
