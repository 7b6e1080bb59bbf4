"""What stored codes cost over the least that uniformly random ones can, and how fast they are read.

One hour in rows of 10 s, for the codebooks of published tokenizers; the bound is log2(codebook_size) bits for each code.
`before` is how the same codes were stored until format version 1: a dictionary for any codebook, in row groups of 200 rows.

    python benchmarks/storage.py [--json FILE]
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import describe_machine, write_figures

from speechtok.shards.schema import token_schema
from speechtok.shards.writer import ShardWriter
from speechtok.tokens import StreamInfo, TokenizerInfo

STREAMS = {
    "dmel": (16, 80, 50.0),
    "encodec": (1024, 8, 75.0),
    "mimi": (2048, 8, 12.5),
    "s3": (6561, 1, 25.0),
    "xcodec2": (65536, 1, 50.0),
}
"""Codes per codebook, codebooks, frames per second."""
ROWS, SECONDS, TRIES = 360, 10, 7


def measure(size: int, books: int, rate: float, folder: Path) -> dict[str, Any]:
    hop, frames = round(48000 / rate), round(SECONDS * rate)
    stream = StreamInfo(name="x", num_codebooks=books, codebook_size=size, frame_rate=rate, hop_length=hop)
    info = TokenizerInfo(name="t", fingerprint="f", sample_rate=48000, streams=(stream,))
    random, schema = np.random.default_rng(0), token_schema(info, {}, {})
    plain = {"num_samples": 480_000, "duration": 10.0, "audio": "a.wav", "source_sample_rate": 48000}
    with ShardWriter(folder / "now", schema, info) as writer:
        for number in range(ROWS):
            codes = random.integers(0, size, (books, frames))
            writer.add({**dict.fromkeys(schema.names), **plain, "id": str(number), "x": codes})
    table = pa.Table.from_batches(pq.ParquetFile(folder / "now").iter_batches(ROWS)).combine_chunks()
    options: dict[str, Any] = {"compression": "zstd", "compression_level": 3, "row_group_size": 200}
    pq.write_table(table, folder / "before", **options)
    found: dict[str, Any] = {"codebook_size": size, "codebooks": books, "frame_rate": rate}
    for name in ("before", "now"):
        footer = pq.ParquetFile(folder / name).metadata
        stored = sum(
            footer.row_group(n).column(1).total_compressed_size for n in range(footer.num_row_groups)
        )
        found[f"{name}_over_bound"] = round(8 * stored / (ROWS * frames * books * math.log2(size)), 4)
        best = math.inf
        for _ in range(TRIES):
            begun = time.perf_counter()
            pq.ParquetFile(folder / name).read(use_threads=False)
            best = min(best, time.perf_counter() - begun)
        found[f"{name}_read_ns_per_code"] = round(best * 1e9 / (ROWS * frames * books), 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    rows = []
    for name, stream in STREAMS.items():
        with tempfile.TemporaryDirectory() as folder:
            rows.append({"stream": name, **measure(*stream, Path(folder))})
        print(rows[-1], flush=True)
    write_figures({**describe_machine(), "rows": rows}, arguments.json)


if __name__ == "__main__":
    main()
