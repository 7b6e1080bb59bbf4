from dataclasses import dataclass, field
from html.parser import HTMLParser

import numpy as np
import pytest

from speechtok.commands.tokenize import tokenize_corpus
from speechtok.demo.demonstration import CORPUS
from speechtok.engine.settings import RunSettings
from speechtok.shards.schema import token_schema
from speechtok.shards.writer import ShardWriter
from speechtok.tokens import StreamInfo, TokenizerInfo

VOID = {"meta", "link", "br", "img", "input", "hr"}


@dataclass
class Page(HTMLParser):
    """A page taken apart: elements in order, their text, and whether all are closed in order."""

    elements: list = field(default_factory=list)
    words: list = field(default_factory=list)
    open: list = field(default_factory=list)

    def __post_init__(self):
        super().__init__()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, tag
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture
def read_page():
    def read(path):
        page = Page()
        page.feed(path.read_text(encoding="utf-8"))
        page.close()
        assert page.open == []
        return page

    return read


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "demo"
    tokenize_corpus(CORPUS, folder, run=RunSettings(workers=1))
    return folder


@pytest.fixture
def write_tokens(tmp_path):
    """Write a lone token file of random codes: streams as (name, codebooks, size)."""

    def write(streams, seconds, rows=None, name="random_16k"):
        info = TokenizerInfo(
            name=name,
            fingerprint="0" * 32,
            sample_rate=16000,
            streams=tuple(
                StreamInfo(
                    name=stream, num_codebooks=books, codebook_size=size, frame_rate=50.0, hop_length=320
                )
                for stream, books, size in streams
            ),
        )
        random = np.random.default_rng(0)
        path = tmp_path / "tokens.parquet"
        with ShardWriter(path, token_schema(info, {"name": name}, {}), info) as writer:
            for number, length in enumerate(seconds):
                codes = {
                    stream: (size * random.random((books, round(50 * length))) ** 2).astype(np.uint16)
                    for stream, books, size in streams
                }
                given = {
                    "id": f"row {number}",
                    "audio": f"{number}.wav",
                    **(rows or [{}] * len(seconds))[number],
                }
                writer.add(
                    {
                        "text": None,
                        "speaker": None,
                        "language": None,
                        "source_sample_rate": 16000,
                        **codes,
                        "num_samples": round(16000 * length),
                        "duration": length,
                        **given,
                    }
                )
        return path

    return write
