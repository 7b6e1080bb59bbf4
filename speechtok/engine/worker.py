"""Make one shard: let its recordings be read ahead, encode in batches, write, commit.

The rows of a shard depend on its task alone: batches are formed by the plan, so neither the number of
workers nor a crash in between changes a byte.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from speechtok.audio.info import Waveform
from speechtok.engine.attempts import Attempts
from speechtok.engine.batches import make_batches
from speechtok.engine.isolated import (
    MACHINE,
    LongRecording,
    ReaderPool,
    ReadError,
    ReadResult,
    ReadSettings,
    Request,
)
from speechtok.engine.observer import ENCODE, IDLE, READ, WRITE, Progress, WorkerStatus
from speechtok.engine.reader_process import STORAGE
from speechtok.engine.settings import JobSettings
from speechtok.errors import DatasetError, JobError, StorageError
from speechtok.loading import load_tokenizer
from speechtok.redaction import redact
from speechtok.shards.layout import Layout
from speechtok.shards.parquet import RowReader
from speechtok.shards.parts import Failure, PartRecord, commit, is_intact, part_record, read_part
from speechtok.shards.plan import ERROR, FAULT, PlanRows, ShardTask
from speechtok.shards.reader import TokenDataset
from speechtok.shards.rows import tokens_to_rows
from speechtok.shards.schema import token_schema
from speechtok.shards.verify import SECONDS_TOLERANCE
from speechtok.shards.writer import ShardWriter
from speechtok.storage import as_path, join
from speechtok.tokens import SpeechTokens, TokenizerInfo, with_codebooks
from speechtok.utterances import cut_at_end

if TYPE_CHECKING:
    from speechtok.tokenizers.base import SpeechTokenizer

BATCHES_AHEAD = 4
"""Batches that are read ahead of the tokenizer."""


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """What a worker needs to make any shard of a job; plain values, so it can travel."""

    tokenizer: str
    """Name, card path or folder for `load_tokenizer`."""
    checkpoint: str | None
    """Local folder with published files, or None."""
    device: str
    """Where the tokenizer runs."""
    output: str
    """The dataset."""
    corpus_root: str
    """Folder that relative audio paths start from."""
    info: TokenizerInfo
    """The tokenizer as planned."""
    card: dict[str, Any]
    """Its card, as plain values."""
    extra_types: dict[str, Any]
    """Arrow types of the corpus's own columns."""
    job: JobSettings
    """What decides the rows."""
    run_seconds: float | None = None
    """Length of runs, see `speechtok.engine.batches`."""
    annotated_types: Mapping[str, Any] = field(default_factory=dict)
    """Arrow types of the columns that annotations have added, which rows made anew lack."""
    timeout_seconds: float = 300.0
    """How long reading one recording, or one piece of a long one, may take."""
    memory_mb: int = 2048
    """Memory a process that reads may take, in MiB."""
    readers: int = 1
    """Processes that read for each worker."""
    retries: bool = False
    """Whether failures of parts that are there are tried again."""
    kept_from: str | None = None
    """A dataset that rows are taken over from, as the table of `Layout.kept` says; None makes all of them."""


class ShardWorker:
    """Makes shards one after the other with one tokenizer; see `speechtok.engine.executor.Work`."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings

    def begin(self) -> None:
        """Load the tokenizer, and have processes that read."""
        import torch

        settings = self._settings
        self._stopwatch = Stopwatch()
        self._seconds, self._utterances, self._quarantined = 0.0, 0, 0
        self._audio_seconds = 0.0
        self._shard: str | None = None
        self._threads = torch.get_num_threads()
        torch.set_num_threads(1)
        self._layout = Layout(as_path(settings.output))
        types = {**settings.extra_types, **settings.annotated_types}
        self._schema = token_schema(settings.info, settings.card, types)
        self._plan_rows = PlanRows(self._layout.plan_rows)
        self._kept_rows = RowReader(self._layout.kept)
        self._old_rows: TokenDataset | None = None
        self._root = as_path(settings.corpus_root)
        self._row_names = ("id", "audio", "text", "speaker", "language", *settings.extra_types)
        self._readers = ReaderPool(settings.readers)  # which start while the tokenizer is loaded
        try:
            self._tokenizer = _load(settings)
        except BaseException:
            self.end()
            raise

    def status(self) -> WorkerStatus:
        """Return what the worker is doing; may be called from another thread."""
        return WorkerStatus(
            node=platform.node(),
            pid=os.getpid(),
            task=self._shard,
            progress=Progress(
                seconds=self._seconds, utterances=self._utterances, quarantined=self._quarantined
            ),
            audio_seconds=self._audio_seconds,
            stage=self._stopwatch.stage,
            stage_seconds=self._stopwatch.stage_seconds,
            spent=self._stopwatch.spent(),
        )

    def end(self) -> None:
        """Leave the processes that read to others."""
        import torch

        torch.set_num_threads(self._threads)
        self._readers.close()

    def excuse(self, task: ShardTask) -> None:
        """Note that a worker was lost on a shard for reasons that no input has; may be called anywhere."""
        Attempts(Layout(as_path(self._settings.output)), task).excuse()

    def __call__(self, task: ShardTask) -> PartRecord:
        """Write and commit one shard; of one that is done already, try the failures again.

        Raises:
            OSError: when the shard cannot be written.
            StorageError: when a store fails.
            JobError: when too many workers have died on it.
        """
        self._begin(task.name)
        attempts = Attempts(self._layout, task)
        try:
            with attempts.noted():
                return self._make(task, attempts)
        finally:
            self._begin(None)
            self._stopwatch.enter(IDLE)

    def _begin(self, shard: str | None) -> None:
        self._shard, self._seconds, self._utterances, self._quarantined = shard, 0.0, 0, 0

    def _make(self, task: ShardTask, attempts: Attempts) -> PartRecord:
        job = self._settings.job
        batches = make_batches(
            self._plan_rows.of(task).to_pylist(),
            batch_seconds=job.batch_seconds,
            chunk_seconds=job.chunk_seconds,
            run_seconds=self._settings.run_seconds,
        )
        if attempts.suspected_batch is not None and attempts.suspected_batch < len(batches):
            self._try_one_by_one(batches[attempts.suspected_batch], attempts)
        earlier = self._earlier(task)
        kept = self._taken_over(task) if earlier is None else self._kept(task)
        path = self._layout.part(task.number)
        rows, samples, failures = 0, 0, []
        with self._layout.temporary(path) as temporary:
            with ShardWriter(temporary, self._schema, self._settings.info) as writer:
                for result in self._results(batches, kept, attempts):
                    self._stopwatch.enter(WRITE)
                    if isinstance(result, Failure):
                        failures.append(result)
                    else:
                        writer.add(result)
                        rows, samples = rows + 1, samples + result["num_samples"]
            record = part_record(
                task.number,
                temporary,
                task.split,
                rows=rows,
                seconds=samples / self._settings.info.sample_rate,
                quarantined=tuple(failures),
            )
            return commit(self._layout, temporary, record, instead_of=earlier)

    def _results(
        self, batches: list[list[dict[str, Any]]], kept: Mapping[str, dict[str, Any]], attempts: Attempts
    ) -> Iterator[dict[str, Any] | Failure]:
        """Yield a token row or a failure for each planned row, in order."""
        pending = {
            number: [row for row in batch if row["id"] not in attempts.culprits and not row.get(FAULT)]
            for number, batch in enumerate(batches)
            if not all(row["id"] in kept or row.get(FAULT) for row in batch)
        }
        with closing(self._read(pending)) as results:
            for number, batch in enumerate(batches):
                made: dict[str, dict[str, Any] | Failure] = {}
                if number in pending:
                    attempts.enter(number)
                    made = self._make_batch(pending[number], results)
                for row in batch:
                    result = None if row.get(FAULT) else made.get(row["id"])
                    if not row.get(FAULT) and row["id"] in kept and not isinstance(result, dict):
                        result = self._whole_row(row, kept[row["id"]])  # what was good once is not lost
                    yield self._count(row, result or self._left_out(row))

    def _read(self, pending: Mapping[int, list[dict[str, Any]]]) -> Generator[ReadResult]:
        """Yield what was read for each row, in order."""
        job = self._settings.job
        settings = ReadSettings(
            sample_rate=self._settings.info.sample_rate,
            channels=job.channels,
            chunk_seconds=job.chunk_seconds,
            timeout_seconds=self._settings.timeout_seconds,
            memory_mb=self._settings.memory_mb,
        )
        batches = ([self._request(row) for row in rows] for rows in pending.values())
        return self._readers.read(batches, settings, BATCHES_AHEAD * job.batch_seconds)

    def _request(self, row: dict[str, Any]) -> Request:
        return Request(
            audio=self._path(row),
            start=row["start"],
            duration=cut_at_end(row["segment_seconds"], row["seconds"]),
            seconds=row["seconds"],
        )

    def _make_batch(
        self, batch: list[dict[str, Any]], results: Iterator[ReadResult]
    ) -> dict[str, dict[str, Any] | Failure]:
        """Return the token row or failure of each row of one batch, by id."""
        made: dict[str, dict[str, Any] | Failure] = {}
        read: list[tuple[dict[str, Any], Waveform]] = []
        for row in batch:
            self._stopwatch.enter(READ)
            result = next(results)
            self._stopwatch.enter(ENCODE)
            if isinstance(result, ReadError):
                made[row["id"]] = self._unread(row, result)
            elif isinstance(result, LongRecording):
                made[row["id"]] = self._encode_long(row, result)
            else:
                read.append((row, result))
        return made | self._encode_batch(read)

    def _encode_batch(
        self, batch: list[tuple[dict[str, Any], Waveform]]
    ) -> dict[str, dict[str, Any] | Failure]:
        if not batch:
            return {}
        try:
            tokens = self._encode([waveform.samples for _, waveform in batch])
        except Exception as error:  # alone, each utterance shows whether it was the cause
            if len(batch) == 1:
                row, _ = batch[0]
                return {row["id"]: self._failure(row, "encode", type(error).__name__, str(error))}
            return dict(chain.from_iterable(self._encode_batch([item]).items() for item in batch))
        return {
            row["id"]: self._made(row, {**columns, "source_sample_rate": waveform.source_sample_rate})
            for (row, waveform), columns in zip(batch, tokens_to_rows(tokens), strict=True)
        }

    def _encode(self, samples: list[Any]) -> SpeechTokens:
        return self._tokenizer.encode(samples, **self._options())

    def _encode_long(self, row: dict[str, Any], recording: LongRecording) -> dict[str, Any] | Failure:
        """Encode a recording while it is being read, so that neither is ever held whole."""
        seconds = self._settings.job.chunk_seconds
        try:
            tokens = self._tokenizer.encode_blocks(iter(recording), chunk_seconds=seconds, **self._options())
        except ReadError as error:
            return self._unread(row, error)
        except Exception as error:  # whatever the tokenizer does not like belongs in quarantine
            return self._failure(row, "encode", type(error).__name__, str(error))
        return self._made(
            row, {**tokens_to_rows(tokens)[0], "source_sample_rate": recording.source_sample_rate}
        )

    def _made(self, row: dict[str, Any], columns: dict[str, Any]) -> dict[str, Any] | Failure:
        """Return a token row, unless the recording is not as long as the one that was planned."""
        planned, seconds = row["seconds"], columns["num_samples"] / self._settings.info.sample_rate
        if planned is None or abs(planned - seconds) <= SECONDS_TOLERANCE:
            return self._whole_row(row, columns)
        message = (
            f"Cannot read {row['audio']!r}: it holds {seconds:.3f} s, but {planned:.3f} s were planned. It changed since, or its "
            "corpus states a wrong length; restore it, or tokenize the corpus as it is now into another folder."
        )
        return self._failure(row, "read", "AudioError", message)

    def _try_one_by_one(self, batch: list[dict[str, Any]], attempts: Attempts) -> None:
        """Encode the inputs of a batch in which a worker died alone, to see which of them ends this one too."""
        rows = {row["id"]: row for row in batch if not row.get(FAULT)}
        for name in attempts.one_by_one(rows):
            with closing(self._read({0: [rows[name]]})) as results:
                self._make_batch([rows[name]], results)

    def _kept(self, task: ShardTask) -> dict[str, dict[str, Any]]:
        """Return the token columns of a shard that is done already, by id: its failures are tried again."""
        path = self._layout.part(task.number)
        return {row["id"]: row for row in TokenDataset(path, columns=self._token_columns(task))}

    def _taken_over(self, task: ShardTask) -> dict[str, dict[str, Any]]:
        """Return the token columns of a shard that another dataset has, by id: those of whole batches."""
        if self._settings.kept_from is None:
            return {}
        tables = self._kept_rows.rows(task.first_row, task.first_row + task.num_rows)
        places = [place for table in tables for place in table["row"].to_pylist()]
        if self._old_rows is None:
            self._old_rows = TokenDataset(
                as_path(self._settings.kept_from), columns=self._token_columns(task)
            )
        names = self._plan_rows.of(task)["id"].to_pylist()
        found = {}
        for name, place in zip(names, places, strict=True):
            if place is not None:
                found[name] = self._old_rows[place]
                if found[name]["id"] != name:
                    raise DatasetError(
                        f"{self._settings.kept_from} has changed meanwhile; run the same command again."
                    )
        return found

    def _token_columns(self, task: ShardTask) -> list[str]:
        """Return the columns of rows that come from tokenizing, and their ids."""
        planned = {*self._plan_rows.of(task).column_names, "start", *self._settings.annotated_types}
        return [name for name in self._schema.names if name == "id" or name not in planned]

    def _earlier(self, task: ShardTask) -> PartRecord | None:
        """Return the record of a part that is there, and whose failures are to be tried again."""
        record = read_part(self._layout, task.number) if self._settings.retries else None
        if record is None or not is_intact(self._layout.part(task.number), record.bytes, record.sha256):
            return None
        return record

    def _options(self) -> dict[str, Any]:
        wanted = self._settings.job.num_codebooks
        return {} if wanted is None else {"num_codebooks": wanted}

    def _whole_row(self, row: dict[str, Any], columns: dict[str, Any]) -> dict[str, Any]:
        """Return a planned row's columns with those of its tokens."""
        planned = {name: row[name] for name in self._row_names}
        return {**dict.fromkeys(self._settings.annotated_types), **planned, **columns}

    def _count(self, row: dict[str, Any], result: dict[str, Any] | Failure) -> dict[str, Any] | Failure:
        seconds = row["seconds"] or 0.0
        self._seconds += seconds
        self._utterances += 1
        self._quarantined += isinstance(result, Failure)
        self._audio_seconds += seconds
        return result

    def _path(self, row: dict[str, Any]) -> str:
        return str(join(self._root, row["audio"]))

    def _unread(self, row: dict[str, Any], error: ReadError) -> Failure:
        if error.stage == STORAGE:
            raise StorageError(str(error))  # no fault of the recording
        if error.stage == MACHINE:
            raise JobError(str(error))
        return self._failure(row, error.stage, error.error, str(error))

    def _left_out(self, row: dict[str, Any]) -> Failure:
        """Return why a row was not even tried: its corpus shows it to be unreadable, or it has ended workers."""
        if fault := row.get(FAULT):
            return self._failure(row, "read", row.get(ERROR) or "DatasetError", fault)
        message = f"Tokenizing {row['audio']!r} ended its worker twice; convert it or leave it out."
        return self._failure(row, "crash", "WorkerDied", message)

    def _failure(self, row: dict[str, Any], stage: str, error: str, message: str) -> Failure:
        """Return an error as a row; recordings are named as in the corpus, wherever that lies."""
        path, audio = self._path(row), row["audio"]
        message = redact(message.replace(path, audio).replace(repr(path)[1:-1], repr(audio)[1:-1]))
        return Failure(
            id=row["id"], audio=audio, stage=stage, error=error, message=" ".join(message.split()) or error
        )


class Stopwatch:
    """Adds up the time spent in each stage."""

    def __init__(self) -> None:
        self._spent = dict.fromkeys((READ, ENCODE, WRITE, IDLE), 0.0)
        self._stage, self._since = IDLE, time.monotonic()

    def enter(self, stage: str) -> None:
        """Go on to another stage."""
        now = time.monotonic()
        self._spent[self._stage] += now - self._since
        self._stage, self._since = stage, now

    @property
    def stage(self) -> str:
        """The stage that was entered last."""
        return self._stage

    @property
    def stage_seconds(self) -> float:
        """How long that is ago."""
        return time.monotonic() - self._since

    def spent(self) -> dict[str, float]:
        """Return the seconds of each stage, the present one included."""
        spent = dict(self._spent)
        spent[self._stage] += self.stage_seconds
        return spent


def describe_tokenizer(
    name: str, checkpoint: str | None, device: str, num_codebooks: int | None
) -> tuple[TokenizerInfo, dict[str, Any]]:
    """Return the tokenizer of a job, with the codebooks that are kept, and its card as plain values."""
    from speechtok.nets.devices import usable_device

    usable_device(device)
    tokenizer = load_tokenizer(name, checkpoint=checkpoint)
    if num_codebooks is not None:
        tokenizer.check_codebooks(num_codebooks)
    return with_codebooks(tokenizer.info, num_codebooks), tokenizer.card.to_dict()


def _load(settings: WorkerSettings) -> SpeechTokenizer:
    """Return the tokenizer that the plan needs."""
    import torch

    tokenizer = load_tokenizer(
        settings.tokenizer,
        checkpoint=settings.checkpoint,
        device=settings.device,
        dtype=getattr(torch, settings.job.dtype),
    )
    if tokenizer.fingerprint != settings.info.fingerprint:
        raise JobError(
            f"This worker has a tokenizer '{tokenizer.name}' with fingerprint {tokenizer.fingerprint}, "
            f"but the plan needs {settings.info.fingerprint}; give every machine the same files and versions."
        )
    return tokenizer
