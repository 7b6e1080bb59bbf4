"""Numbers about a token dataset: how much, whose, and how the codes are used.

Conventions: entropy is in bits per code, of the code's frequency in its codebook over the whole
dataset; the bound is `log2(codebook_size)`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from speechtok.errors import DatasetError
from speechtok.parquet_footer import column_chunks
from speechtok.shards.layout import Layout
from speechtok.shards.plan import has_plan, read_plan
from speechtok.shards.reader import TokenDataset
from speechtok.storage import AnyPath
from speechtok.tokens import StreamInfo

Counts = np.ndarray[Any, np.dtype[np.int64]]

MOST_CODES = 1 << 26
"""Different codes of all codebooks together; the counts of more take half a gigabyte."""
COUNTED_AT_ONCE = 1 << 22
"""Codes of a row that are counted together, so that a long row takes no more memory than a short one."""


@dataclass(frozen=True, kw_only=True)
class StreamStatistics:
    """Code usage of one stream."""

    stream: StreamInfo
    """The stream."""
    counts: Counts
    """`(codebooks, codebook_size)`, int64: how often each code occurs."""
    stored_bytes: int
    """Compressed size of the stream's column."""

    @property
    def num_codes(self) -> int:
        """Codes stored."""
        return int(self.counts.sum())

    @property
    def stored_bits_per_code(self) -> float:
        """Bits each code takes on disk; the bound is `log2(codebook_size)`."""
        return 8 * self.stored_bytes / self.num_codes if self.num_codes else 0.0

    @property
    def entropy(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """`(codebooks,)`, bits per code."""
        share = self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1)
        logs = np.log2(share, out=np.zeros_like(share), where=share > 0)
        return np.asarray(np.abs(-(share * logs).sum(axis=1)))

    @property
    def perplexity(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """`(codebooks,)`, codes that would give this entropy if all were as frequent; at most `codebook_size`."""
        return np.asarray(np.exp2(self.entropy))

    @property
    def used(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """`(codebooks,)`, share of the codebook that occurs at all."""
        return np.asarray((self.counts > 0).mean(axis=1))


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Numbers about a token dataset."""

    rows: int
    """Token rows."""
    seconds: float
    """Seconds of audio."""
    bytes: int
    """Size of the token shards."""
    splits: dict[str, int]
    """Rows by split."""
    speakers: dict[str, int]
    """Rows by speaker label; rows without one are left out."""
    languages: dict[str, int]
    """Rows by language; rows without one are left out."""
    texts: int
    """Rows with a text."""
    corpus_kind: str | None
    """Format of the corpus that the dataset was made of; None where nothing says so."""
    durations: np.ndarray[Any, np.dtype[np.float64]] = field(repr=False)
    """`(rows,)`, seconds."""
    streams: tuple[StreamStatistics, ...] = field(repr=False)
    """Code usage by stream."""

    @property
    def labels(self) -> dict[str, int]:
        """Rows with a text, a speaker and a language."""
        return {
            "text": self.texts,
            "speaker": sum(self.speakers.values()),
            "language": sum(self.languages.values()),
        }

    @property
    def hours(self) -> float:
        """Hours of audio."""
        return self.seconds / 3600

    @property
    def stored_bps(self) -> float:
        """Bits that one second of audio takes on disk, all columns together."""
        return 8 * self.bytes / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "rows": self.rows,
            "seconds": self.seconds,
            "bytes": self.bytes,
            "stored_bps": self.stored_bps,
            "splits": self.splits,
            "speakers": len(self.speakers),
            "languages": self.languages,
            "texts": self.texts,
            "labels": self.labels,
            "corpus_kind": self.corpus_kind,
            "streams": {
                item.stream.name: {
                    "codes": item.num_codes,
                    "bitrate_bps": item.stream.bitrate_bps,
                    "stored_bits_per_code": item.stored_bits_per_code,
                    "bound_bits_per_code": math.log2(item.stream.codebook_size),
                    "entropy_bits": [round(float(value), 4) for value in item.entropy],
                    "perplexity": [round(float(value), 2) for value in item.perplexity],
                    "used_share": [round(float(value), 4) for value in item.used],
                }
                for item in self.streams
            },
        }


def compute_statistics(
    path: AnyPath, *, on_rows: Callable[[int], None] | None = None, allow_partial: bool = False
) -> Statistics:
    """Return the statistics of a token dataset or token file, reading it once.

    Args:
        path: a token dataset, or one Parquet file of tokens.
        on_rows: called with the number of rows read so far, for a progress display.
        allow_partial: take what is there of an unfinished dataset.

    Raises:
        DatasetError: when there is no token dataset, or it is damaged or unfinished.
    """
    dataset = TokenDataset(path, allow_partial=allow_partial)
    sizes = {item.name: (item.num_codebooks, item.codebook_size) for item in dataset.info.streams}
    if sum(books * size for books, size in sizes.values()) > MOST_CODES:
        raise DatasetError(f"{path} is of a tokenizer with more codes than are counted, {MOST_CODES:,}.")
    counts = {name: np.zeros(size, dtype=np.int64) for name, size in sizes.items()}
    labels = [name for name in ("speaker", "language", "text") if name in dataset.columns]
    durations, speakers, languages, texts = list[float](), Counter[str](), Counter[str](), 0
    for group in range(len(dataset.group_rows)):
        rows = dataset.read_group(group, [*sizes, "id", "num_samples", *labels])
        for position, samples in enumerate(rows.num_samples):
            durations.append(samples / dataset.info.sample_rate)
            speaker, language, text = (
                rows.values[name][position] if name in labels else None
                for name in ("speaker", "language", "text")
            )
            speakers.update([speaker] if speaker else [])
            languages.update([language] if language else [])
            texts += bool(text)
            for name, table in counts.items():
                count_codes(table, rows.codes[name][position])
            if on_rows is not None:
                on_rows(len(durations))
    splits = Counter[str]()
    footers = [dataset.footer(number) for number in range(len(dataset.files))]
    for split, footer in zip(dataset.file_splits, footers, strict=True):
        splits[split] += footer.num_rows
    return Statistics(
        rows=len(durations),
        seconds=float(sum(durations)),
        bytes=sum(file.stat().st_size for file in dataset.files),
        splits=dict(splits),
        speakers=dict(speakers.most_common()),
        languages=dict(languages.most_common()),
        texts=texts,
        corpus_kind=_corpus_kind(path),
        durations=np.asarray(durations, dtype=np.float64),
        streams=tuple(
            StreamStatistics(
                stream=item, counts=counts[item.name], stored_bytes=_stored_bytes(footers, item.name)
            )
            for item in dataset.info.streams
        ),
    )


def _corpus_kind(path: AnyPath) -> str | None:
    layout = Layout(path)
    try:
        return str(read_plan(layout).settings["corpus"]["kind"]) if has_plan(layout) else None
    except (DatasetError, KeyError, TypeError):  # which `verify` explains
        return None


def count_codes(table: Counts, codes: np.ndarray[Any, Any]) -> None:
    """Add `(codebooks, frames)` codes to `(codebooks, codebook_size)` counts."""
    codebooks, size = codes.shape[0], table.shape[1]
    step = max(1, COUNTED_AT_ONCE // max(1, codebooks))
    for start in range(0, codes.shape[1], step):
        flat = codes[:, start : start + step] + size * np.arange(codebooks)[:, None]
        table[:codebooks] += np.bincount(flat.ravel(), minlength=codebooks * size).reshape(codebooks, size)


def _stored_bytes(footers: list[Any], column: str) -> int:
    return sum(
        chunk.stored_bytes
        for metadata in footers
        for group in column_chunks(metadata)
        for chunk in group
        if chunk.path.split(".")[0] == column
    )
