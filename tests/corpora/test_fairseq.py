import os
import tracemalloc

import pytest

from speechtok.corpora import fairseq as fairseq_module
from speechtok.corpora import read_corpus
from speechtok.errors import DatasetError


def read(tmp_path, content):
    (tmp_path / "train.tsv").write_text(content, encoding="utf-8", newline="")
    return read_corpus(tmp_path / "train.tsv")


def test_absolute_root(tmp_path):
    corpus = read(tmp_path, "/data/speech\na/1.wav\t16000\nb c.wav\t 320 \n\n")
    assert corpus.kind == "fairseq"
    assert str(corpus.root) == "/data/speech"
    assert [(item.id, item.audio) for item in corpus.utterances] == [
        ("a/1.wav", "a/1.wav"),
        ("b c.wav", "b c.wav"),
    ]


def test_line_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(fairseq_module, "LINE_BYTES", 1 << 10)
    (tmp_path / "train.tsv").touch()
    os.truncate(tmp_path / "train.tsv", 1 << 30)
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError, match=r"train\.tsv line 1 is longer than 67\.1 MB"):
            list(read_corpus(tmp_path / "train.tsv").utterances)
        assert tracemalloc.get_traced_memory()[1] < 1 << 28
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("content", ["./wavs\na.wav\t10\n", "\ufeff./wavs\r\na.wav\t10\r\n"])
def test_relative_root(tmp_path, content):
    corpus = read(tmp_path, content)
    assert corpus.root == tmp_path / "wavs"
    assert [item.audio for item in corpus.utterances] == ["a.wav"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("/r\na.wav\n", r"line 2 must be 'path<TAB>number of samples', got 'a.wav'"),
        ("/r\na.wav\t10\nb.wav\tlong\n", r"line 3 must be 'path<TAB>number of samples', got 'b.wav\tlong'"),
        ("/r\n\t10\n", "line 2 must be 'path<TAB>number of samples'"),
        ("/r\na.wav\t1\na.wav\t1\n", "has the id 'a.wav' twice, at line 2 and at line 3"),
        ("/r\n", "train.tsv holds no utterance"),
        ("", "train.tsv holds no utterance"),
    ],
)
def test_errors(tmp_path, content, sentence):
    with pytest.raises(DatasetError, match=sentence):
        list(read(tmp_path, content).utterances)
