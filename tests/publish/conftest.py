import pytest

from speechtok.commands.tokenize import tokenize_corpus
from speechtok.engine.settings import JobSettings, RunSettings


@pytest.fixture(scope="session")
def made(tmp_path_factory, write_corpus):
    """Two splits in four shards, one input in quarantine."""
    root = tmp_path_factory.mktemp("made")
    recordings = {f"train/{n}.wav": 0.4 + 0.1 * n for n in range(6)} | {
        "dev/a.wav": 0.5,
        "train/bad.wav": b"no",
    }
    corpus = write_corpus(root / "corpus", recordings)
    return make(root, corpus)


def make(root, corpus):
    rows = ["audio\tsplit\tspeaker\tlanguage\ttext"]
    rows += [
        f"{path.relative_to(corpus)}\t{path.parent.name}\ts{n % 2}\ten\t{'hello' if n else ''}"
        for n, path in enumerate(sorted(corpus.rglob("*.wav")))
    ]
    manifest = corpus / "corpus.tsv"
    manifest.write_text("\n".join(rows) + "\n")
    tokenize_corpus(
        manifest,
        root / "out",
        tokenizer="dmel_16k",
        settings=JobSettings(shard_seconds=1.5, file_mb=1e-6),
        run=RunSettings(workers=1),
    )
    return root / "out"
