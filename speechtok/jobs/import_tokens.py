"""Files of another toolkit → token dataset.

Contents: `import_tokens`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from speechtok.errors import DatasetError
from speechtok.formats.codecs_txt import read_codecs
from speechtok.formats.kaldi_matrix import read_ark, read_scp
from speechtok.formats.table import SAMPLES, SCALES, read_table
from speechtok.jobs.export_tokens import STREAM
from speechtok.jobs.run import claimed, finish
from speechtok.jobs.settings import JobSettings
from speechtok.loading import load_tokenizer
from speechtok.shards.commit import commit
from speechtok.shards.layout import Layout
from speechtok.shards.plan import PLAN_COLUMNS, Plan, ShardRecord, ShardTask, has_plan
from speechtok.shards.schema import token_schema
from speechtok.shards.writer import ShardWriter
from speechtok.storage import AnyPath, as_path, file_sha256
from speechtok.tokenizers.base import SpeechTokenizer
from speechtok.tokens import with_codebooks
from speechtok.version import __version__

SHARD_SECONDS = 3600.0
"""Audio per shard, in seconds."""
Codes = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, kw_only=True)
class _Listed:
    """What the first pass over a file learns of one utterance."""

    key: str
    samples: int
    codebooks: int
    scale: float | None


def import_tokens(
    source: str | Path,
    output: str | AnyPath,
    *,
    tokenizer: str,
    checkpoint: str | AnyPath | None = None,
    split: str = "train",
    on_row: Callable[[], None] | None = None,
) -> int:
    """Make a token dataset from FunCodec's files; returns the number of utterances.

    Lengths and levels come from `utt2num_samples` and `utt2scale` beside the source. Without the first
    an utterance is taken to fill its last frame; without the second the dataset has no `scale`, and
    decodes at about unit level.

    Args:
        source: `codecs.txt`, or `.scp` or `.ark` with one matrix (frames, codebooks) per utterance.
        output: folder of the dataset; new or empty.
        tokenizer: what made the codes: its fingerprint becomes theirs.
        checkpoint: local folder with its published files.
        split: split of the dataset.
        on_row: called after each utterance.

    Raises:
        DatasetError: naming the line of whatever cannot be read or does not fit the tokenizer.
        JobError: when the output is in use or cannot be written.
    """
    source = Path(source)
    loaded = load_tokenizer(tokenizer, checkpoint=checkpoint)
    if [stream.name for stream in loaded.streams] != [STREAM]:
        raise DatasetError(
            f"{source} holds FunCodec's stream '{STREAM}' alone, but tokenizer '{loaded.name}' has "
            f"{', '.join(stream.name for stream in loaded.streams)}."
        )
    scales = read_table(source.parent / SCALES, float)
    listed = _listed(source, loaded, read_table(source.parent / SAMPLES, int), scales)
    info = replace(with_codebooks(loaded.info, listed[0].codebooks), has_scale=bool(scales))
    layout = Layout(as_path(output))
    with claimed(layout):
        if has_plan(layout):
            raise DatasetError(f"{output} holds a token dataset already; import into another folder.")
        settings = {
            "tokenizer": info.to_dict(),
            "card": loaded.card.to_dict(),
            "corpus": {"kind": "funcodec", "name": source.name},
            "job": JobSettings(split=split, num_codebooks=info.streams[0].num_codebooks).to_dict(),
            "speechtok_version": __version__,
        }
        plan = Plan(settings=settings, rows=_plan_rows(listed, split, loaded.sample_rate))
        plan.write(layout)
        found, listing = _read(source), iter(listed)
        records = [_write_shard(layout, plan, task, found, listing, on_row) for task in plan.tasks]
        finish(layout, plan, records)
    return len(listed)


def _read(source: Path) -> Iterator[tuple[str, str, Codes]]:
    """Yield place, key and codes `(codebooks, frames)` of every utterance."""
    if source.suffix == ".scp":
        matrices = ((f"{source} line {number}", key, matrix) for number, key, matrix in read_scp(source))
    elif source.suffix == ".ark":
        matrices = (
            (f"{source} record {number}", key, matrix)
            for number, (key, matrix) in enumerate(read_ark(source), start=1)
        )
    else:
        for number, key, codes in read_codecs(source):
            yield f"{source} line {number}", key, codes
        return
    for place, key, matrix in matrices:
        codes = matrix.T.astype(np.int64)
        if not codes.size or not np.array_equal(codes, matrix.T):
            raise DatasetError(f"{place} ('{key}') must hold whole numbers of shape (frames, codebooks).")
        yield place, key, codes


def _listed(
    source: Path, tokenizer: SpeechTokenizer, samples: dict[str, int], scales: dict[str, float]
) -> list[_Listed]:
    """Check every utterance of the file and return what the plan needs of it."""
    stream, seen, listed = tokenizer.streams[0], dict[str, str](), list[_Listed]()
    for place, key, codes in _read(source):
        where = f"{place} ('{key}')"
        codebooks, frames = codes.shape
        if key in seen:
            raise DatasetError(f"{where} repeats the key of {seen[key]}; keys must be unique.")
        if codes.min() < 0 or codes.max() >= stream.codebook_size:
            raise DatasetError(
                f"{where} holds codes from {codes.min()} to {codes.max()}, outside [0, {stream.codebook_size})."
            )
        if codebooks > stream.num_codebooks or (listed and codebooks != listed[0].codebooks):
            wanted = (
                f"{listed[0].codebooks}, as the lines before it"
                if listed
                else f"at most {stream.num_codebooks}"
            )
            raise DatasetError(f"{where} has {codebooks} codebooks, but must have {wanted}.")
        length = samples.get(key, tokenizer.num_samples(frames, STREAM))
        if length < 1 or frames not in (
            tokenizer.num_frames(length, STREAM),
            -(-length // stream.hop_length),
        ):
            raise DatasetError(
                f"{where} has {frames} frames, which do not fit the {length} samples {SAMPLES} states."
            )
        if scales and key not in scales:
            raise DatasetError(f"{where} has no line in {source.parent / SCALES}.")
        seen[key] = place
        listed.append(_Listed(key=key, samples=length, codebooks=codebooks, scale=scales.get(key)))
    if not listed:
        raise DatasetError(f"{source} holds no utterance.")
    return listed


def _plan_rows(listed: Sequence[_Listed], split: str, sample_rate: int) -> pa.Table:
    seconds = np.array([item.samples / sample_rate for item in listed])
    columns: dict[str, Any] = {name: [None] * len(listed) for name, _ in PLAN_COLUMNS}
    columns |= {
        "id": [item.key for item in listed],
        "audio": [item.key for item in listed],
        "start": [0.0] * len(listed),
        "split": [split] * len(listed),
        "seconds": seconds.tolist(),
        "shard": _shards(seconds),
    }
    return pa.table({name: pa.array(columns[name], type=kind) for name, kind in PLAN_COLUMNS})


def _shards(seconds: np.ndarray[Any, Any]) -> list[int]:
    """Return the shard of each utterance: a new one whenever the last is full."""
    numbers = (np.cumsum(seconds) - seconds) // SHARD_SECONDS
    return [int(number) for number in np.unique(numbers, return_inverse=True)[1]]


def _write_shard(
    layout: Layout,
    plan: Plan,
    task: ShardTask,
    found: Iterator[tuple[str, str, Codes]],
    listing: Iterator[_Listed],
    on_row: Callable[[], None] | None,
) -> ShardRecord:
    path, rate = layout.shard(task.split, task.index, task.count), plan.info.sample_rate
    schema, seconds = token_schema(plan.info, plan.card, plan.extra_types), 0.0
    with layout.temporary(path) as temporary:
        with ShardWriter(temporary, schema, plan.info) as writer:
            for _ in range(len(task.rows)):
                (_, key, codes), item = next(found), next(listing)
                row = dict.fromkeys(schema.names) | {
                    "id": key,
                    STREAM: codes.astype(np.uint16),
                    "num_samples": item.samples,
                    "duration": item.samples / rate,
                    "audio": key,
                    "source_sample_rate": rate,
                }
                writer.add(row if item.scale is None else row | {"scale": item.scale})
                seconds += item.samples / rate
                if on_row is not None:
                    on_row()
        record = ShardRecord(
            split=task.split,
            index=task.index,
            file=layout.relative(path),
            sha256=file_sha256(temporary),
            bytes=temporary.stat().st_size,
            rows=len(task.rows),
            seconds=seconds,
        )
        return commit(layout, temporary, record)
