"""How fast do stored tokens reach a training loop?

One dataset of FACodec's shape (6 codebooks, 80 frames per second, lengths of a corpus or drawn like speech) is
written once and read in one run by:

- `pyarrow`: a plain loop over row groups in file order that turns every row into int64 arrays, unshuffled;
- `rows` and `batches`: our stream, shuffled, as single rows and as padded batches under a token budget;
- `mixture`: the same batches as a mixture of the dataset's shards, each a dataset of its own, as many as an epoch has;
- `datasets`: `load_dataset(…, streaming=True)`, shuffled with a buffer, in torch format;

all through a `DataLoader` with 1 and with 2 workers, and `pyarrow` without one as well. Figures are rows and codes per
second, and ours over those of `datasets`. Padding is that of the batches. `mixture_over_batches` is the mixture's rows per second of
processor time over those of the batches, without workers, in turns of a tenth of an epoch: what else the machine does moves it little.

    python benchmarks/readers.py [CORPUS/manifest.tsv] --json benchmarks/results/readers.json
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from machine import describe_machine, write_figures
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

import speechtok
from speechtok.shards.schema import token_schema
from speechtok.shards.writer import ShardWriter
from speechtok.tokens import StreamInfo, TokenizerInfo

SHARDS = 4
STREAMS = {"prosody": 1, "content": 2, "residual": 3}
INFO = TokenizerInfo(
    name="facodec_like",
    fingerprint="benchmark",
    sample_rate=16000,
    streams=tuple(
        StreamInfo(name=name, num_codebooks=books, codebook_size=1024, frame_rate=80.0, hop_length=200)
        for name, books in STREAMS.items()
    ),
    speaker_embedding_dim=256,
)


def lengths_of(manifest: Path | None) -> np.ndarray[Any, Any]:
    """Samples per row: those of a corpus, or 5,000 drawn from a gamma distribution with a mean of 4 s."""
    if manifest is None:
        return (np.random.default_rng(0).gamma(3.0, 4 / 3, 5000).clip(0.5, 30) * 16000).astype(np.int64)
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return np.array([round(float(row["seconds"]) * 16000) for row in rows])


def write_dataset(folder: Path, samples: np.ndarray[Any, Any]) -> int:
    """Write random codes, unigram entropy near FACodec's; return the number of codes."""
    random, codes = np.random.default_rng(1), 0
    (folder / "data").mkdir(parents=True)
    schema = token_schema(INFO, {"name": INFO.name}, {})
    for shard, part in enumerate(np.array_split(random.permutation(samples), SHARDS)):
        path = folder / "data" / f"train-{shard:05d}-of-{SHARDS:05d}.parquet"
        with ShardWriter(path, schema, INFO) as writer:
            for number, count in enumerate(part.tolist()):
                frames = -(-count // 200)
                row = {
                    name: (random.beta(1.0, 1.6, (books, frames)) * 1024).astype(np.uint16)
                    for name, books in STREAMS.items()
                }
                codes += sum(item.size for item in row.values())
                name = f"{shard}-{number:05d}"
                plain = {"text": f"what was said in {name}", "speaker": f"s{number % 50}", "language": "en"}
                writer.add(
                    {
                        **row,
                        **plain,
                        "id": name,
                        "speaker_embedding": random.standard_normal(256),
                        "num_samples": count,
                        "duration": count / 16000,
                        "audio": f"{name}.wav",
                        "source_sample_rate": 16000,
                    }
                )
    return codes


class PyarrowRows(IterableDataset[dict[str, Any]]):
    """Rows in file order, as dictionaries of int64 arrays; workers take row groups in turn."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted((folder / "data").glob("*.parquet"))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        number, count = (worker.id, worker.num_workers) if worker else (0, 1)
        readers = [pq.ParquetFile(path) for path in self.files]
        groups = [(reader, group) for reader in readers for group in range(reader.num_row_groups)]
        for reader, group in groups[number::count]:
            table = reader.read_row_group(group)
            for row in range(len(table)):
                yield {name: codes_of(table[name][row], books) for name, books in STREAMS.items()}


def codes_of(cell: Any, codebooks: int) -> np.ndarray[Any, Any]:
    """Return one value of a stream's column as `(codebooks, frames)`."""
    flat = cell.values if codebooks == 1 else cell.values.flatten()
    return flat.to_numpy().astype(np.int64).reshape(codebooks, -1)


def read_pyarrow(folder: Path, workers: int) -> int:
    rows = PyarrowRows(folder)
    if not workers:
        return drain(rows)
    return drain(DataLoader(rows, batch_size=None, num_workers=workers, collate_fn=as_it_is))


def as_it_is(item: Any) -> Any:
    return item


def read_ours(folder: Path, workers: int, **settings: Any) -> int:
    stream = speechtok.TokenDataset(folder).stream(**settings)
    return drain(stream.loader(num_workers=workers), batched=bool(settings))


def read_mixture(folder: Path, workers: int, **settings: Any) -> int:
    shards = {path.stem: speechtok.TokenDataset(path) for path in sorted((folder / "data").iterdir())}
    mixture = speechtok.TokenMixture(shards, **settings)
    count = sum(dataset.stream(**settings).count() for dataset in shards.values())
    return drain(mixture.loader(num_workers=workers), batched=True, limit=count)


def mixture_over_batches(folder: Path, max_tokens: int, epochs: int = 8) -> float:
    """Return rows per second of processor time of a mixture over those of a stream, which take turns ten times an epoch."""
    shards = {path.stem: speechtok.TokenDataset(path) for path in sorted((folder / "data").iterdir())}
    stream = speechtok.TokenDataset(folder).stream(max_tokens=max_tokens)
    batches: list[Iterator[Any]] = [
        chain.from_iterable(repeat(stream)),
        iter(speechtok.TokenMixture(shards, max_tokens=max_tokens)),
    ]
    turn = stream.count() // 10
    for source in batches:
        drain(source, limit=turn)
    rows, seconds = [0, 0], [0.0, 0.0]
    for _ in range(10 * epochs):
        for number, source in enumerate(batches):
            start = time.process_time()
            rows[number] += drain(source, batched=True, limit=turn)
            seconds[number] += time.process_time() - start
    return rows[1] / seconds[1] / (rows[0] / seconds[0])


def read_datasets(folder: Path, workers: int, limit: int) -> int:
    import datasets

    rows = datasets.load_dataset(
        "parquet", data_files=str(folder / "data" / "*.parquet"), split="train", streaming=True
    )
    rows = rows.shuffle(seed=0, buffer_size=1000).with_format("torch")
    return drain(DataLoader(rows, batch_size=None, num_workers=workers), limit=limit)


def drain(items: Iterable[Any], *, batched: bool = False, limit: int | None = None) -> int:
    return sum(len(item) if batched else 1 for item in islice(items, limit))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", nargs="?", type=Path)
    parser.add_argument("--max-tokens", type=int, default=8000, help="frames per batch, padding included")
    parser.add_argument("--limit", type=int, help="stop `datasets` after so many rows")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        samples = lengths_of(arguments.manifest)
        codes = write_dataset(folder, samples)
        stream = speechtok.TokenDataset(folder).stream(max_tokens=arguments.max_tokens)
        result: dict[str, Any] = {
            "machine": describe_machine() | {"datasets": version("datasets")},
            "load": os.getloadavg()[0],
            "rows": len(samples),
            "codes": codes,
            "megabytes": sum(path.stat().st_size for path in (folder / "data").iterdir()) / 1e6,
            "max_tokens": arguments.max_tokens,
            "batches": stream.count(),
            "padding": stream.padding(),
            "padding_without_buckets": speechtok.TokenDataset(folder).stream(batch_size=25).padding(),
            "mixture_over_batches": mixture_over_batches(folder, arguments.max_tokens),
            "readers": {},
        }
        runs: dict[str, Any] = {"pyarrow, 0 workers": lambda: read_pyarrow(folder, 0)}
        for workers in (1, 2):
            runs |= {
                f"pyarrow, {workers} workers": lambda n=workers: read_pyarrow(folder, n),
                f"rows, {workers} workers": lambda n=workers: read_ours(folder, n),
                f"batches, {workers} workers": lambda n=workers: read_ours(
                    folder, n, max_tokens=arguments.max_tokens
                ),
                f"mixture, {workers} workers": lambda n=workers: read_mixture(
                    folder, n, max_tokens=arguments.max_tokens
                ),
                f"datasets, {workers} workers": lambda n=workers: read_datasets(folder, n, arguments.limit),
            }
        for name, run in runs.items():
            start = time.perf_counter()
            rows = run()
            per_second = rows / (time.perf_counter() - start)
            result["readers"][name] = {
                "rows_per_second": per_second,
                "codes_per_second": per_second * codes / len(samples),
            }
        for workers in (1, 2):
            theirs = result["readers"][f"datasets, {workers} workers"]["rows_per_second"]
            for ours in ("rows", "batches", "mixture"):
                mine = result["readers"][f"{ours}, {workers} workers"]
                mine["over_datasets"] = mine["rows_per_second"] / theirs
    print(json.dumps(result, indent=1))
    write_figures(result, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
