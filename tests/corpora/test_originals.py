"""A row of a dataset may name any file; opened are recordings below the folder that the user named, and nothing else."""

import json
import os

import numpy as np
import pytest

from speechtok.audio.io import write_wav
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.corpora.originals import Originals, corpus_folders, find_originals
from speechtok.engine.settings import RunSettings
from speechtok.errors import AudioError, DatasetError


@pytest.fixture
def places(tmp_path):
    """A corpus with a recording and links, and a secret beside it."""
    corpus = tmp_path / "corpus"
    (corpus / "deep").mkdir(parents=True)
    write_wav(corpus / "deep/a.wav", np.full(1600, 0.5), 16000)
    write_wav(tmp_path / "secret.wav", np.full(1600, 0.5), 16000)
    (tmp_path / "secret.txt").write_bytes(b"password" * 100)
    (corpus / "notes.txt").write_bytes(b"password" * 100)
    (corpus / "link.wav").symlink_to(tmp_path / "secret.wav")
    (corpus / "up").symlink_to(tmp_path)
    (corpus / "circle.wav").symlink_to("circle.wav")
    (corpus / "inner.wav").symlink_to("deep/a.wav")
    os.mkfifo(corpus / "pipe.wav")
    return corpus


@pytest.mark.parametrize(
    "audio",
    ["deep/a.wav", "deep/../deep/a.wav", "inner.wav", "{corpus}/deep/a.wav", "file://{corpus}/deep/a.wav"],
)
def test_what_lies_below(places, audio):
    samples = Originals(root=places).read("a", audio.format(corpus=places), 16000, 1600)
    assert samples.shape == (1600,)


@pytest.mark.parametrize(
    ("audio", "sentence"),
    [
        ("{corpus}/../secret.wav", "does not lie below"),
        ("../secret.wav", "does not lie below"),
        ("deep/../../secret.wav", "does not lie below"),
        ("/etc/passwd", "does not lie below"),
        ("/etc/passwd#rate=16000", "states no rates of recordings"),
        ("../secret.txt#rate=16000", "states no rates of recordings"),
        ("notes.txt#rate=16000", "states no rates of recordings"),
        ("../secret.wav#offset=0", "does not lie below"),
        ("../corpus-2/a.parquet#row=0&column=audio", "does not lie below"),
        ("link.wav", "does not lie below"),
        ("up/secret.wav", "does not lie below"),
        ("file:///etc/passwd", "does not lie below"),
        ("s3://bucket/a.wav", "does not lie below"),
        ("hf://datasets/a/b/a.wav", "does not lie below"),
        ("http://host/a.wav", "is no place of a recording"),
        ("s3://key:secret@bucket/a.wav", "is no place of a recording"),
        ("s3://", "is no place of a recording"),
        ("circle.wav", "is no place of a recording|does not lie below|there is no"),
        ("pipe.wav", "is not where it was"),
        ("deep", "is not where it was"),
        ("a\0b.wav", "is no place of a recording"),
        ("x" * 5000, "is no place of a recording|is not where it was"),
        ("", "is not where it was"),
    ],
)  # fmt: skip
def test_what_does_not(places, audio, sentence):
    with pytest.raises(AudioError, match=sentence):
        Originals(root=places).read("a", audio.format(corpus=places), 16000, 1600)


def test_rates_where_the_corpus_states_them(places):
    """And then still below the folder alone."""
    originals = Originals(root=places, has_rates=True)
    assert originals.read("a", "notes.txt#rate=16000", 16000, 400).shape == (400,)
    with pytest.raises(AudioError, match="does not lie below"):
        originals.read("a", "../secret.txt#rate=16000", 16000, 400)


def test_what_the_last_run_says_opens_nothing(tmp_path, speech):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    write_wav(corpus / "a.wav", speech(0.5), 16000)
    tokenize_corpus(corpus, tmp_path / "out", run=RunSettings(workers=1))
    originals = find_originals(tmp_path / "out")
    with pytest.raises(AudioError, match="only below a folder that you name"):
        originals.read("a.wav", "a.wav", 16000, 100)
    with pytest.raises(DatasetError, match="give it with --corpus FOLDER"):
        originals.check("--corpus")
    find_originals(tmp_path / "out", corpus).check("--corpus")


def test_folders_of_a_corpus_that_names_recordings_elsewhere(places, tmp_path):
    (tmp_path / "lists").mkdir()
    rows = [{"audio": str(places / "deep/a.wav")}, {"audio": "../secret.wav"}]
    (tmp_path / "lists/all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    root, folders = corpus_folders(tmp_path / "lists/all.jsonl")
    assert folders == [tmp_path, places / "deep"]
    originals = Originals(root=root, folders=tuple(folders))
    for row in rows:
        assert originals.read("a", row["audio"], 16000, 1600).shape == (1600,)
