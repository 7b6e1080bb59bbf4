"""Make one shard: read ahead in threads, encode in batches, write, commit.

The rows of a shard depend on its task alone: batches are formed in plan order, so neither the
number of workers nor a crash in between changes a byte.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from speechtok.audio.io import Waveform, probe_audio, read_blocks, read_waveform
from speechtok.errors import AudioError, JobError, StorageError
from speechtok.jobs.settings import JobSettings, Progress
from speechtok.loading import load_tokenizer
from speechtok.shards.commit import commit
from speechtok.shards.layout import Layout
from speechtok.shards.plan import Failure, ShardRecord, ShardTask
from speechtok.shards.reader import tokens_to_rows
from speechtok.shards.schema import token_schema
from speechtok.shards.writer import ShardWriter
from speechtok.storage import AnyPath, as_path, file_sha256, join
from speechtok.tokens import SpeechTokens, TokenizerInfo

READ_THREADS = 2
"""Threads that read, decode and resample ahead of the tokenizer."""
READ_AHEAD = 16
"""Utterances read ahead; each is at most `chunk_seconds` long, which bounds the memory."""


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


@dataclass(frozen=True, kw_only=True)
class _Input:
    """One utterance, read or failed. Long ones are left on disk and streamed later."""

    row: dict[str, Any]
    waveform: Waveform | None = None
    failure: Failure | None = None

    @property
    def is_long(self) -> bool:
        return self.waveform is None and self.failure is None


class ShardWorker:
    """Makes shards one after the other with one tokenizer."""

    def __init__(self, settings: WorkerSettings) -> None:
        torch.set_num_threads(1)
        self._settings = settings
        self._layout = Layout(as_path(settings.output))
        self._schema = token_schema(settings.info, settings.card, settings.extra_types)
        self._tokenizer = load_tokenizer(
            settings.tokenizer,
            checkpoint=settings.checkpoint,
            device=settings.device,
            dtype=getattr(torch, settings.job.dtype),
        )
        if self._tokenizer.fingerprint != settings.info.fingerprint:
            raise JobError(
                f"This worker has a tokenizer '{self._tokenizer.name}' with fingerprint {self._tokenizer.fingerprint}, "
                f"but the plan needs {settings.info.fingerprint}; give every machine the same files and versions."
            )
        self._progress = Progress()

    def progress(self) -> Progress:
        """Return how far the current shard is; may be called from another thread."""
        return self._progress

    def make(self, task: ShardTask) -> ShardRecord:
        """Write and commit one shard.

        Raises:
            OSError: when the shard cannot be written.
            StorageError: when a store fails.
        """
        self._progress = Progress()
        path = self._layout.shard(task.split, task.index, task.count)
        rows, samples, failures = 0, 0, []
        with self._layout.temporary(path) as temporary:
            with ShardWriter(temporary, self._schema, self._settings.info) as writer:
                for result in self._results(task.rows.to_pylist()):
                    if isinstance(result, Failure):
                        failures.append(result)
                    else:
                        writer.add(result)
                        rows, samples = rows + 1, samples + result["num_samples"]
            record = ShardRecord(
                split=task.split,
                index=task.index,
                file=self._layout.relative(path),
                sha256=file_sha256(temporary),
                bytes=temporary.stat().st_size,
                rows=rows,
                seconds=samples / self._settings.info.sample_rate,
                quarantined=tuple(failures),
            )
            return commit(self._layout, temporary, record)

    def _results(self, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any] | Failure]:
        """Yield a token row or a failure for each planned row, in order."""
        batch: list[_Input] = []
        for item in self._read_ahead(rows):
            full = sum(len(other.waveform.samples) for other in batch if other.waveform) >= (
                self._settings.job.batch_seconds * self._settings.info.sample_rate
            )
            if batch and (full or item.waveform is None):
                yield from self._encode_batch(batch)
                batch = []
            if item.failure is not None:
                yield self._count(item.row, item.failure)
            elif item.is_long:
                yield self._encode_long(item.row)
            else:
                batch.append(item)
        if batch:
            yield from self._encode_batch(batch)

    def _read_ahead(self, rows: Iterable[dict[str, Any]]) -> Iterator[_Input]:
        waiting: deque[Future[_Input]] = deque()
        with ThreadPoolExecutor(READ_THREADS) as pool:
            for row in rows:
                waiting.append(pool.submit(self._read, row))
                if len(waiting) > READ_AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _read(self, row: dict[str, Any]) -> _Input:
        if (row["seconds"] or 0.0) > self._settings.job.chunk_seconds:
            return _Input(row=row)
        try:
            waveform = read_waveform(self._path(row), **self._reading(row))
        except StorageError:
            raise  # no fault of the recording
        except Exception as error:  # whatever a damaged file provokes belongs in quarantine
            return _Input(row=row, failure=self._failure(row, "read", error))
        return _Input(row=row, waveform=waveform)

    def _encode_batch(self, batch: list[_Input]) -> Iterator[dict[str, Any] | Failure]:
        waveforms = [item.waveform for item in batch if item.waveform is not None]
        try:
            tokens = self._encode([waveform.samples for waveform in waveforms])
        except Exception as error:  # alone, each utterance shows whether it was the cause
            if len(batch) > 1:
                for item in batch:
                    yield from self._encode_batch([item])
            else:
                yield self._count(batch[0].row, self._failure(batch[0].row, "encode", error))
            return
        for item, waveform, row in zip(batch, waveforms, tokens_to_rows(tokens), strict=True):
            yield self._count(item.row, self._whole_row(item.row, row, waveform.source_sample_rate))

    def _encode(self, samples: list[Any]) -> SpeechTokens:
        return self._tokenizer.encode(samples, **self._options())

    def _encode_long(self, row: dict[str, Any]) -> dict[str, Any] | Failure:
        """Encode a recording while it is being read, so that neither is ever held whole."""
        seconds = self._settings.job.chunk_seconds
        try:
            source_rate = probe_audio(self._path(row)).sample_rate
            blocks = read_blocks(self._path(row), block_seconds=seconds, **self._reading(row))
            tokens = self._tokenizer.encode_blocks(blocks, chunk_seconds=seconds, **self._options())
        except StorageError:
            raise  # no fault of the recording
        except Exception as error:  # whatever a damaged file provokes belongs in quarantine
            stage = "read" if isinstance(error, AudioError) else "encode"
            return self._count(row, self._failure(row, stage, error))
        return self._count(row, self._whole_row(row, tokens_to_rows(tokens)[0], source_rate))

    def _options(self) -> dict[str, Any]:
        wanted = self._settings.job.num_codebooks
        return {} if wanted is None else {"num_codebooks": wanted}

    def _reading(self, row: dict[str, Any]) -> dict[str, Any]:
        return {
            "sample_rate": self._settings.info.sample_rate,
            "start": row["start"],
            "duration": row["segment_seconds"],
            "channels": self._settings.job.channels,
        }

    def _whole_row(self, row: dict[str, Any], columns: dict[str, Any], source_rate: int) -> dict[str, Any]:
        """Return a planned row's columns with those of its tokens."""
        kept = {
            name: row[name]
            for name in ("id", "audio", "text", "speaker", "language", *self._settings.extra_types)
        }
        return {**kept, **columns, "source_sample_rate": source_rate}

    def _count(self, row: dict[str, Any], result: dict[str, Any] | Failure) -> dict[str, Any] | Failure:
        failed = int(isinstance(result, Failure))
        self._progress += Progress(seconds=row["seconds"] or 0.0, utterances=1, quarantined=failed)
        return result

    def _path(self, row: dict[str, Any]) -> AnyPath:
        return join(as_path(self._settings.corpus_root), row["audio"])

    def _failure(self, row: dict[str, Any], stage: str, error: Exception) -> Failure:
        """Return an error as a row; recordings are named as in the corpus, wherever that lies."""
        path, audio = str(self._path(row)), row["audio"]
        message = str(error).replace(path, audio).replace(repr(path)[1:-1], repr(audio)[1:-1])
        message = " ".join(message.split()) or type(error).__name__
        return Failure(
            id=row["id"], audio=row["audio"], stage=stage, error=type(error).__name__, message=message
        )
