"""Count the requests a job makes to an object store: `python -m benchmarks.store_requests`.

The store is a real S3 server on this machine behind a counting proxy. Jobs of two sizes are run, so that what
grows with the shards or the utterances can be told from what every run costs.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile

from speechtok.commands.tokenize import tokenize_corpus
from speechtok.engine.settings import JobSettings, RunSettings
from speechtok.shards.layout import Layout
from speechtok.shards.reader import TokenDataset
from speechtok.shards.verify import verify
from speechtok.storage import as_path
from tests.s3 import ENVIRONMENT, Proxy, create_bucket, operation, s3_server

SIZES = (10, 40)
"""Shards of the two jobs, of two utterances each."""


def write_corpus(folder: Path, utterances: int) -> Path:
    folder.mkdir()
    for number in range(utterances):
        noise = np.random.default_rng(number).standard_normal(8000) * 0.1
        soundfile.write(folder / f"{number:04d}.wav", noise, 16000, subtype="PCM_16")
    return folder


def counted(proxy: Proxy) -> Counter[str]:
    """Return the requests since the last call, by operation."""
    found = Counter(operation(*request) for request in proxy.requests)
    proxy.reset()
    return found


def measure(proxy: Proxy, folder: Path, shards: int) -> dict[str, Counter[str]]:
    corpus, remote = (
        write_corpus(folder / f"corpus{shards}", 2 * shards),
        as_path(f"s3://speech/corpus{shards}"),
    )
    for file in corpus.iterdir():
        (remote / file.name).put(file)  # type: ignore[union-attr]
    settings = JobSettings(shard_seconds=1.0)
    found = {}
    counted(proxy)

    def step(name: str) -> None:
        found[name] = counted(proxy)

    output = f"s3://speech/out{shards}"
    report = tokenize_corpus(corpus, output, settings=settings, run=RunSettings(workers=1))
    assert report.shards == shards, report
    step("write the dataset")
    tokenize_corpus(corpus, output, settings=settings, run=RunSettings(workers=1))
    step("run again, nothing to do")
    assert not verify(Layout(as_path(output))).problems
    step("verify")
    assert len(list(TokenDataset(output))) == 2 * shards
    step("read all rows")
    tokenize_corpus(remote, folder / f"out{shards}", settings=settings, run=RunSettings(workers=1))
    step("read the corpus")
    return found


def main() -> None:
    with s3_server() as server, tempfile.TemporaryDirectory() as name:
        os.environ |= ENVIRONMENT
        proxy = Proxy(server)
        os.environ["AWS_ENDPOINT_URL"] = proxy.address
        create_bucket(server, "speech")
        small, large = (measure(proxy, Path(name), size) for size in SIZES)
    more = SIZES[1] - SIZES[0]
    print("step | operation | per shard of two utterances | per run")
    for step, counts in large.items():
        for kind in sorted(counts):
            slope = (counts[kind] - small[step][kind]) / more
            print(f"{step} | {kind} | {slope:.2f} | {counts[kind] - slope * SIZES[1]:.1f}")


if __name__ == "__main__":
    main()
